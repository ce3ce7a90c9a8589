"""Reload, in developer mode: every class is a new one, and the new ones belong together."""

import sys

import slicer
from panels import MODULE

OWN = ("DiffSegLungPanel", "DiffSegLungLib")


def test_reload_leaves_no_old_class_anywhere(host, own_modules):
    host.load(MODULE / "DiffSegLung.py")
    widget = slicer.util.getModuleWidget("DiffSegLung")
    widget.onReload()
    fresh = slicer.util.getModuleWidget("DiffSegLung")
    assert type(fresh) is not type(widget)
    assert fresh.panel is not None
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in OWN:
            for value in vars(module).values():
                home = sys.modules.get(getattr(value, "__module__", None) or "")
                if isinstance(value, type) and home is not None and home.__name__.split(".")[0] in OWN:
                    assert getattr(home, value.__name__) is value, f"{name} has an old {value.__name__}"
