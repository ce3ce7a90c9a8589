"""The tables of the ablations, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from ...classes import BY_KEY
from ..bootstrap import Estimate
from ..markdown import markdown_table
from ..suite_results import DISEASES, MEAN, TISSUES, SuiteResults
from .bench import Switch
from .short_trainings import REFERENCE, Trained

_CLASSES = (*TISSUES, "cavity")


def inference_table(results: SuiteResults, switches: Sequence[Switch], model: str) -> str:
    """Every inference switch with its effect."""
    texts = {switch.key: switch.text for switch in switches}
    rows = []
    for switch in switches:
        effect = difference(results, switch.key, switch.against) if switch.against else None
        against = texts.get(switch.against, "").split(":")[0].replace("*", "")
        rows.append(
            [
                switch.text,
                _percent(results.dice(switch.key, MEAN)),
                _effect(effect),
                against,
                *(_short(results.dice(switch.key, key)) for key in _CLASSES),
                _border(results, switch.key),
                f"{results.of_cases(switch.key, 'false_pathology_percent').value:.2f}",
                f"{results.of_cases(switch.key, 'auroc').value:.3f}",
            ]
        )
    head = ["switch", "mean Dice of four", "effect, points", "compared with"]
    head += [BY_KEY[key].name for key in _CLASSES]
    head += ["HD95, mm: median (matched)", "false pathology, %", "AUROC"]
    return (
        f"**Inference switches, model {model}**: {_extent(results)}; pooled Dice in %. The effect is the "
        "difference of the mean Dice to the line it is compared with, with its 95 % interval (paired "
        "bootstrap over lesions). False pathology: share of the lung without lesions.\n\n"
        + markdown_table(head, rows)
    )


def training_table(results: SuiteResults, trained: Sequence[Trained]) -> str:
    """Every training switch with its effect."""
    reference = next((t for t in trained if t.variant.key == REFERENCE), None)
    rows = []
    for each in trained:
        cells = []
        for number, key in enumerate(each.keys):
            cells.append(_percent(results.dice(key, MEAN)))
            other = key if reference is None else reference.keys[number]
            cells.append("" if other == key else _effect(difference(results, key, other)))
        facts = each.facts
        shares = [facts.get(name) for name in ("retrieval_top1", "retrieval_top5", "retrieval_chance")]
        rows.append(
            [
                each.variant.text,
                str(facts["steps"]),
                *cells,
                *("" if share is None else f"{share:.3f}" for share in shares),
                f"{facts['probe_r2']:.3f}",
            ]
        )
    first = trained[0].facts
    head = ["training", "steps", "student: mean Dice", "effect, points", "bottleneck: mean Dice"]
    head += ["effect, points", "retrieval top 1", "top 5", "chance", "probe R²"]
    return (
        f"**Training switches**: short trainings of {first['steps']} steps (stage 1: {first['stage_one']}), "
        f"base {first['base']}, batch {first['batch']}, patch {' × '.join(map(str, first['patch']))}; "
        "far less than the shipped model, comparable with one another alone. Each is judged by its features "
        "alone (mixture of the volume, K = 24, pure), by the student's embeddings and by the bottleneck "
        "features. Retrieval and probe on patches of held-out patients; a training with one descriptor a "
        "patch retrieves among patches, which are fewer.\n\n" + markdown_table(head, rows)
    )


def difference(results: SuiteResults, key: str, other: str) -> Estimate:
    """Mean Dice of the four tissues with one switch less that with another, paired over lesions."""
    return results.dice(key, MEAN).minus(results.dice(other, MEAN))


def _extent(results: SuiteResults) -> str:
    lesions = sum(int(record["lesions"]) for record in results.records)
    names = ", ".join(str(record["case"]) for record in results.records)
    return f"{lesions} lesions in {len(results.records)} cases ({names})"


def _border(results: SuiteResults, key: str) -> str:
    lesions = results.lesions(key, "", lambda record, unit: unit["class_key"] in DISEASES)
    middle, _, matched = results.borders(key, "", lambda record, unit: unit["class_key"] in DISEASES)
    return f"{middle.value:.1f} ({matched}/{len(lesions)})" if matched else f"(0/{len(lesions)})"


def _percent(estimate: Estimate) -> str:
    if not isfinite(estimate.value):
        return ""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _effect(estimate: Estimate | None) -> str:
    if estimate is None or not isfinite(estimate.value):
        return ""
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def _short(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f}" if isfinite(estimate.value) else ""
