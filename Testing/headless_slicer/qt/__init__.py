"""`qt` as PythonQt shows it, over PySide6: wrappers round objects, signals, properties, dialogs."""

from . import signals  # adds connecting and emitting to every wrapper

__all__ = ["signals"]
