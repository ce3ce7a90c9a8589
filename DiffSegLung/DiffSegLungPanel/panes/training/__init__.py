"""The section Train: scans, plan, progress, curves, and the comparison with the parent."""
