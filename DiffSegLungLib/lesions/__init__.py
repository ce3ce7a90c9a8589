"""Synthetic disease painted into a CT, with its truth: family a, which training may see."""
