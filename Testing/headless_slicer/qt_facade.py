"""The `qt` and `ctk` modules of Slicer's Python, over PySide6; `install()` puts them into sys.modules.

See qt/wrapper.py for the semantics. Differences from Slicer that remain: Slicer 5.10 runs on Qt 5,
this on Qt 6, so classes that Qt 6 dropped (QRegExp, QTextCodec, ...) do not exist here.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .qt import dialogs
from .qt.wrapper import ClassWrapper, InstanceWrapper, replacements, wrap, wrapper_class

_MODULES = (QtCore, QtGui, QtWidgets)
_PYSIDE_ONLY = {
    "Signal",
    "Slot",
    "Property",
    "SignalInstance",
    "QEnum",
    "QFlag",
    "ClassInfo",
    "SIGNAL",
    "SLOT",
    "Qt",
}


class QtModule(types.ModuleType):
    """The module `qt`: one flat namespace of QtCore, QtGui and QtWidgets classes."""

    def __getattr__(self, name: str) -> Any:
        if name == "Qt":
            return wrapper_class(QtCore.Qt)
        if name == "QUiLoader":
            from .ui_loader import QUiLoader

            return QUiLoader
        for module in _MODULES:
            found = getattr(module, name, None)
            if isinstance(found, type) and name not in _PYSIDE_ONLY and name.startswith("Q"):
                return wrapper_class(found)
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


class StandInModule(types.ModuleType):
    """A module whose classes are stand-ins, e.g. `ctk`."""

    def __init__(self, name: str, classes: dict[str, type]) -> None:
        super().__init__(name)
        self._classes = classes

    def __getattr__(self, name: str) -> ClassWrapper:
        classes = self.__dict__.get("_classes", {})
        if name not in classes:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}' (no stand-in)")
        return wrapper_class(classes[name])


def ensure_application() -> QtWidgets.QApplication:
    """The one QApplication, made to look like Slicer's light style, with settings in a temporary folder."""
    application = QtWidgets.QApplication.instance()
    if application is not None:
        return application
    _shield_singletons()
    settings = QtCore.QSettings
    settings.setDefaultFormat(settings.Format.IniFormat)
    folder = tempfile.TemporaryDirectory(prefix="headless-slicer-")
    for scope in (settings.Scope.UserScope, settings.Scope.SystemScope):
        settings.setPath(settings.Format.IniFormat, scope, folder.name)
    QtCore.qInstallMessageHandler(_message)
    atexit.register(QtCore.qInstallMessageHandler, None)  # Qt still speaks when Python has ended
    application = QtWidgets.QApplication(["Slicer"])
    application._settings_folder = folder  # removed with the application
    application.setOrganizationName("headless-slicer")
    application.setApplicationName("Slicer")
    application.setStyle("Fusion")
    application.setPalette(_light_palette())
    application.setFont(QtGui.QFont("DejaVu Sans", 9))
    return application


def _message(kind: QtCore.QtMsgType, context: QtCore.QMessageLogContext, text: str) -> None:
    """Qt's warnings on stderr, without what the offscreen platform says at every window."""
    if "propagateSizeHints" not in text:
        sys.stderr.write(f"Qt: {text}\n")


def _shield_singletons() -> None:
    """Give Python's shared constants more references than a test run can lose.

    PySide6 6.12 counts on their being immortal (Python 3.12) and drops one reference too many, e.g. to the
    None that a connected function returns; on Python 3.11 that ends the process ("none_dealloc",
    "bool_dealloc"). PySide6 6.8 and 6.10 do not do it.
    """
    if sys.version_info < (3, 12):
        for constant in (None, True, False, "", b"", (), *range(-5, 257)):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


def _light_palette() -> QtGui.QPalette:
    roles = QtGui.QPalette.ColorRole
    colours = {
        roles.Window: "#efefef",
        roles.WindowText: "#000000",
        roles.Base: "#ffffff",
        roles.AlternateBase: "#f6f6f6",
        roles.Text: "#000000",
        roles.Button: "#efefef",
        roles.ButtonText: "#000000",
        roles.Highlight: "#308cc6",
        roles.HighlightedText: "#ffffff",
        roles.ToolTipBase: "#ffffdc",
        roles.ToolTipText: "#000000",
        roles.PlaceholderText: "#808080",
    }
    palette = QtGui.QPalette(QtGui.QColor("#efefef"))
    for role, colour in colours.items():
        palette.setColor(role, QtGui.QColor(colour))
    for role in (roles.WindowText, roles.Text, roles.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor("#9a9a9a"))
    return palette


def install() -> None:
    """Make `import qt` and `import ctk` work, and the qMRML widgets attributes of `slicer`; does it once."""
    if "qt" in sys.modules:
        return
    import slicer

    from .stand_ins import CTK_WIDGETS, MRML_WIDGETS

    ensure_application()
    dialogs.install()
    sys.modules["qt"] = QtModule("qt")
    sys.modules["ctk"] = StandInModule("ctk", CTK_WIDGETS)
    for name, standin in MRML_WIDGETS.items():
        setattr(slicer, name, wrapper_class(standin))


def reset() -> None:
    """Forget recorded dialogs, answers and exceptions, and destroy widgets that nobody has put into a window.

    A widget that lives on goes on observing the scene, and makes every later change of it slower.
    """
    from .qt.wrapper import errors

    for widget in ensure_application().topLevelWidgets():
        widget.deleteLater()
    ensure_application().sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
    dialogs.dialogs.reset()
    errors.clear()


def process_events(milliseconds: int = 0) -> None:
    """Run Qt's event loop once, or for a while, in which it sleeps until something happens."""
    application = ensure_application()
    deadline = QtCore.QDeadlineTimer(milliseconds)
    application.processEvents()
    application.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
    alarm = QtCore.QTimer(singleShot=True, timerType=QtCore.Qt.TimerType.PreciseTimer)
    alarm.start(milliseconds)
    while not deadline.hasExpired():
        application.processEvents(QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents)


def grab(widget: InstanceWrapper, path: str | Path, width: int = 400, height: int | None = None) -> Path:
    """A PNG of a widget laid out `width` pixels wide, as high as it needs (or `height`)."""
    obj = widget._obj
    obj.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen, True)
    parent = obj.parentWidget()
    if parent is None:
        obj.show()
    for _ in range(3):  # word-wrapped labels settle their height only after the width is known
        if parent is None:
            needed = obj.heightForWidth(width) if obj.hasHeightForWidth() else obj.sizeHint().height()
            obj.resize(width, height or max(needed, obj.minimumSizeHint().height()))
        process_events()
    if obj.width() > width and parent is None:
        raise AssertionError(f"the widget needs {obj.width()} pixels of width, more than {width}")
    path = Path(path)
    if not obj.grab().save(str(path)):
        raise OSError(f"cannot write {path}")
    return path


__all__ = ["ensure_application", "grab", "install", "process_events", "replacements", "wrap"]
