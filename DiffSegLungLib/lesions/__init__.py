"""Synthetic disease painted into a CT, with its truth: families a and b, which training may see."""
