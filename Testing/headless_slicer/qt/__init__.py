"""`qt` as PythonQt shows it, over PySide6."""
