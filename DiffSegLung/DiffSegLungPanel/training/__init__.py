"""Trainings: their runs, files and owner; no widget."""
