"""Lesion families c and d: they only measure; nothing that learns may import them."""
