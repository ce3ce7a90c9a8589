"""How far generated CT are from real ones."""
