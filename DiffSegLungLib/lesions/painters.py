"""Painters of every kind of lesion that this room makes."""

from __future__ import annotations

from . import airspace, emphysema, interstitial
from .patterns import Painters

PAINTERS: Painters = {
    "ground_glass": airspace.ground_glass,
    "crazy_paving": airspace.crazy_paving,
    "part_solid": airspace.part_solid,
    "organising_pneumonia": airspace.organising_pneumonia,
    "consolidation": airspace.consolidation,
    "septal_lines": interstitial.septal_lines,
    "reticulation": interstitial.reticulation,
    "honeycombing": interstitial.honeycombing,
    "centrilobular_emphysema": emphysema.centrilobular_emphysema,
    "confluent_emphysema": emphysema.confluent_emphysema,
    "panlobular_emphysema": emphysema.panlobular_emphysema,
    "paraseptal_emphysema": emphysema.paraseptal_emphysema,
    "bulla": emphysema.bulla,
    "cavity": airspace.cavity,
}
"""One painter a kind."""
