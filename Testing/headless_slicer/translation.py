"""`slicer.i18n`: texts come back untranslated, and are remembered for a test to look at."""

from __future__ import annotations

import inspect
import types

#: every text that was asked to be translated: (context, text)
seen: set[tuple[str, str]] = set()


def translate(context: str, text: str, disambiguation: str = "", n: int = -1) -> str:
    """slicer.i18n.translate. Raises TypeError for anything but a str, as PythonQt would."""
    if not isinstance(text, str):
        raise TypeError(f"translate() takes a str, not {type(text).__name__}")
    seen.add((context, text))
    return text


def tr(text: str) -> str:
    """slicer.i18n.tr: the context is the calling module's name."""
    caller = inspect.currentframe().f_back
    return translate(caller.f_globals.get("__name__", "") if caller else "", text)


def make_module() -> types.ModuleType:
    """The module that `from slicer.i18n import tr as _` finds."""
    module = types.ModuleType("slicer.i18n", __doc__)
    module.tr, module.translate = tr, translate
    module.getContext = lambda source: source
    return module
