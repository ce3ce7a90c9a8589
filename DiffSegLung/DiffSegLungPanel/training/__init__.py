"""Trainings as they lie on disk and go on in processes: runs, files, owner, steps; no widget."""
