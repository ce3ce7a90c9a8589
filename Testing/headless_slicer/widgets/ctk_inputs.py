"""Stand-ins for the CTK widgets that hold a number or a path."""

from __future__ import annotations

from pathlib import Path

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from ..qt.members import invokable


class ctkDoubleSpinBox(QtWidgets.QWidget):
    """A double spin box with CTK's interface (a widget that holds one, as in CTK)."""

    valueChanged = Signal(float)
    decimalsChanged = Signal(int)
    editingFinished = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QDoubleSpinBox(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._box.valueChanged.connect(self.valueChanged)
        self._box.editingFinished.connect(self.editingFinished)

    @invokable
    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    @invokable
    def setRange(self, minimum: float, maximum: float) -> None:
        self._box.setRange(minimum, maximum)

    @invokable
    def selectAll(self) -> None:
        self._box.selectAll()

    @invokable
    def stepUp(self) -> None:
        self._box.stepUp()

    @invokable
    def stepDown(self) -> None:
        self._box.stepDown()

    value = Property(float, lambda self: self._box.value(), lambda self, v: self._box.setValue(v))
    minimum = Property(float, lambda self: self._box.minimum(), lambda self, v: self._box.setMinimum(v))
    maximum = Property(float, lambda self: self._box.maximum(), lambda self, v: self._box.setMaximum(v))
    singleStep = Property(
        float, lambda self: self._box.singleStep(), lambda self, v: self._box.setSingleStep(v)
    )
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, v: self._box.setDecimals(v))
    prefix = Property(str, lambda self: self._box.prefix(), lambda self, v: self._box.setPrefix(v))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, v: self._box.setSuffix(v))
    cleanText = Property(str, lambda self: self._box.cleanText())


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box for the same double value."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    rangeChanged = Signal(float, float)

    _STEPS = 1000

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._value, self._range, self._step = 0.0, (0.0, 99.0), 1.0
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, self._STEPS)
        self._box = QtWidgets.QDoubleSpinBox(self)
        self._box.setDecimals(2)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider, 1)
        row.addWidget(self._box)
        self.setFocusProxy(self._slider)
        self._slider.valueChanged.connect(self._slid)
        self._box.valueChanged.connect(self.setValue)
        self._show()

    def _slid(self, position: int) -> None:
        low, high = self._range
        value = low + (high - low) * position / self._STEPS
        steps = round((value - low) / self._step) if self._step > 0 else 0
        self.setValue(min(high, low + steps * self._step) if self._step > 0 else value)

    def _show(self) -> None:
        low, high = self._range
        for widget in (self._slider, self._box):
            widget.blockSignals(True)
        self._box.setRange(low, high)
        self._box.setSingleStep(self._step)
        self._box.setValue(self._value)
        self._slider.setValue(round((self._value - low) / (high - low) * self._STEPS) if high > low else 0)
        for widget in (self._slider, self._box):
            widget.blockSignals(False)

    @invokable
    def setValue(self, value: float) -> None:
        value = round(min(max(value, self._range[0]), self._range[1]), self._box.decimals())
        changed, self._value = value != self._value, value
        self._show()
        if changed:
            self.valueIsChanging.emit(value)
            self.valueChanged.emit(value)

    def _set_range(self, low: float, high: float) -> None:
        self._range = (low, high)
        self.rangeChanged.emit(low, high)
        self.setValue(self._value)

    def _set_step(self, step: float) -> None:
        self._step = step
        self._show()

    def _set_decimals(self, decimals: int) -> None:
        self._box.setDecimals(decimals)
        self._show()

    value = Property(float, lambda self: self._value, lambda self, v: self.setValue(v))
    minimum = Property(
        float, lambda self: self._range[0], lambda self, v: self._set_range(v, max(v, self._range[1]))
    )
    maximum = Property(
        float, lambda self: self._range[1], lambda self, v: self._set_range(min(v, self._range[0]), v)
    )
    singleStep = Property(float, lambda self: self._step, _set_step)
    pageStep = Property(float, lambda self: 10 * self._step, lambda self, v: None)
    decimals = Property(int, lambda self: self._box.decimals(), _set_decimals)
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, v: self._box.setSuffix(v))
    prefix = Property(str, lambda self: self._box.prefix(), lambda self, v: self._box.setPrefix(v))
    tracking = Property(
        bool, lambda self: self._slider.hasTracking(), lambda self, v: self._slider.setTracking(v)
    )
    spinBoxVisible = Property(
        bool, lambda self: not self._box.isHidden(), lambda self, v: self._box.setVisible(v)
    )


class _PathWidget(QtWidgets.QWidget):
    """A line with a browse button; `_browse` asks for the path."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = QtWidgets.QLineEdit(self)
        self._button = QtWidgets.QToolButton(self)
        self._button.setText("…")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line, 1)
        row.addWidget(self._button)
        self.setFocusProxy(self._line)
        self._button.clicked.connect(self.browse)

    @invokable
    def browse(self) -> None:
        from ..qt.dialogs import dialogs

        chosen = dialogs.ask(f"{type(self).__name__}.browse", (), "")
        if chosen:
            self._line.setText(str(chosen))


class ctkPathLineEdit(_PathWidget):
    """The path of a file or folder."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    Dirs, Files, Drives, AllEntries, Readable, Writable, Executable, Hidden = 1, 2, 4, 7, 16, 32, 64, 256

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._name_filters: list[str] = []
        self._filters, self._key = self.Files, ""
        self._line.textChanged.connect(self.currentPathChanged)

    @invokable
    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    @invokable
    def addCurrentPathToHistory(self) -> None:
        """Kept for scripts that call it; there is no history here."""

    currentPath = Property(str, lambda self: self._line.text(), setCurrentPath)
    nameFilters = Property(
        "QStringList", lambda self: self._name_filters, lambda self, v: setattr(self, "_name_filters", v)
    )
    filters = Property(int, lambda self: self._filters, lambda self, v: setattr(self, "_filters", v))
    settingKey = Property(str, lambda self: self._key, lambda self, v: setattr(self, "_key", v))
    showBrowseButton = Property(
        bool, lambda self: not self._button.isHidden(), lambda self, v: self._button.setVisible(v)
    )
    showHistoryButton = Property(bool, lambda self: False, lambda self, v: None)
    placeholderText = Property(
        str, lambda self: self._line.placeholderText(), lambda self, v: self._line.setPlaceholderText(v)
    )


class ctkDirectoryButton(_PathWidget):
    """The path of a folder."""

    directoryChanged = Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._line.setText(str(Path.cwd()))
        self._line.textChanged.connect(self.directoryChanged)

    directory = Property(str, lambda self: self._line.text(), lambda self, v: self._line.setText(v))
