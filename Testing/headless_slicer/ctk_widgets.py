"""Stand-ins for the CTK widgets that scripted modules use, painted like Slicer's.

Properties, slots and signals have CTK's names and types; whatever CTK does not declare as property, slot, signal or
Q_INVOKABLE is invisible to scripts, as in Slicer. Written from CTK's public headers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from .qt_facade_wrapper import invokable

_HEADER = 24  # pixels of a collapsible button's bar


class _HiddenWhileCollapsed(QtCore.QObject):
    """Hides the children of a collapsed container, and again when somebody shows one; keeps who was to be visible."""

    def __init__(self, container: QtWidgets.QWidget) -> None:
        super().__init__(container)
        self._container, self._collapsed, self._working = container, False, False
        self._hidden: list[QtWidgets.QWidget] = []

    def set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        if collapsed:
            for child in self._children():
                child.installEventFilter(self)
                if not child.isHidden():
                    self._hide(child)
        else:
            hidden, self._hidden = self._hidden, []
            for child in hidden:
                child.setVisible(True)

    def _children(self) -> list[QtWidgets.QWidget]:
        return [
            c for c in self._container.children() if isinstance(c, QtWidgets.QWidget) and not c.isWindow()
        ]

    def _hide(self, child: QtWidgets.QWidget) -> None:
        self._hidden.append(child)
        self._working = True
        child.setVisible(False)
        self._working = False

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if self._collapsed and not self._working:
            if event.type() == QtCore.QEvent.Type.ShowToParent:
                self._hide(child)
            elif event.type() == QtCore.QEvent.Type.HideToParent and child in self._hidden:
                self._hidden.remove(child)
        return False


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A bar with an arrow over contents that a click shows or hides."""

    contentsCollapsed = Signal(bool)

    def __init__(self, text: Any = "", parent: QtWidgets.QWidget | None = None) -> None:
        parent = text if isinstance(text, QtWidgets.QWidget) else parent
        super().__init__(parent)
        self._collapsed = False
        self._hider = _HiddenWhileCollapsed(self)
        if isinstance(text, str):
            self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, _HEADER, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Preferred)
        self.toggled.connect(lambda on: self._collapse(not on))

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._hider.set_collapsed(collapsed)
        self.setMaximumHeight(_HEADER if collapsed else 16777215)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    def _set_collapsed(self, collapsed: bool) -> None:
        if self.isCheckable():
            self.setChecked(not collapsed)
        else:
            self._collapse(collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)
    collapsedHeight = Property(int, lambda self: 10, lambda self, value: None)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if self._collapsed and event.added() and event.child().isWidgetType():
            self._hider.set_collapsed(True)
        super().childEvent(event)

    def minimumSizeHint(self) -> QtCore.QSize:
        bar = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text()) + 40, _HEADER)
        if self._collapsed or self.layout() is None:
            return bar
        return self.layout().totalMinimumSize().expandedTo(bar)

    def sizeHint(self) -> QtCore.QSize:
        if self._collapsed or self.layout() is None:
            return self.minimumSizeHint()
        return self.layout().totalSizeHint().expandedTo(self.minimumSizeHint())

    def hasHeightForWidth(self) -> bool:
        return not self._collapsed and self.layout() is not None and self.layout().hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:
        return (
            self.layout().totalHeightForWidth(width) if self.hasHeightForWidth() else self.sizeHint().height()
        )

    def hitButton(self, point: QtCore.QPoint) -> bool:
        return point.y() < _HEADER

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        bar = QtWidgets.QStyleOptionButton()
        bar.initFrom(self)
        bar.rect = QtCore.QRect(0, 0, self.width(), _HEADER)
        bar.state |= QtWidgets.QStyle.StateFlag.State_Raised
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, bar)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(8, 6, 12, 12)
        down, right = (
            QtWidgets.QStyle.PrimitiveElement.PE_IndicatorArrowDown,
            QtWidgets.QStyle.PrimitiveElement.PE_IndicatorArrowRight,
        )
        painter.drawPrimitive(right if self._collapsed else down, arrow)
        role = QtGui.QPalette.ColorRole.ButtonText
        rect = QtCore.QRect(26, 0, self.width() - 32, _HEADER)
        flags = int(QtCore.Qt.AlignmentFlag.AlignVCenter.value | QtCore.Qt.AlignmentFlag.AlignLeft.value)
        painter.drawItemText(rect, flags, self.palette(), self.isEnabled(), self.text(), role)
        if self.hasFocus():
            focus = QtWidgets.QStyleOptionFocusRect()
            focus.initFrom(self)
            focus.rect = bar.rect.adjusted(2, 2, -2, -2)
            painter.drawPrimitive(QtWidgets.QStyle.PrimitiveElement.PE_FrameFocusRect, focus)


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that its check box (an arrow in Slicer) folds."""

    def __init__(self, title: Any = "", parent: QtWidgets.QWidget | None = None) -> None:
        parent = title if isinstance(title, QtWidgets.QWidget) else parent
        super().__init__(title if isinstance(title, str) else "", parent)
        self._hider = _HiddenWhileCollapsed(self)
        self.setCheckable(True)
        self.toggled.connect(self._toggled)

    def _toggled(self, on: bool) -> None:
        self._hider.set_collapsed(not on)
        self.setMaximumHeight(16777215 if on else 22)
        self.updateGeometry()

    collapsed = Property(
        bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value)
    )


class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box."""


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text to show while nothing is selected."""

    def _set_default(self, text: str) -> None:
        self.setPlaceholderText(text)

    defaultText = Property(str, lambda self: self.placeholderText(), _set_default)


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


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.setVerticalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.textChanged.connect(self._fit)

    def _fit(self) -> None:
        self.setFixedHeight(int(self.document().size().height()) + 2 * self.frameWidth())

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()


class ctkSearchBox(QtWidgets.QLineEdit):
    """A line edit to search with."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setClearButtonEnabled(True)


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box with a "do not show again" check box; `exec_` is answered by qt_facade_dialogs."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._again, self._key = False, ""

    dontShowAgainVisible = Property(
        bool, lambda self: self._again, lambda self, v: setattr(self, "_again", v)
    )
    dontShowAgainSettingsKey = Property(str, lambda self: self._key, lambda self, v: setattr(self, "_key", v))
    dontShowAgain = Property(bool, lambda self: False, lambda self, v: None)


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
        from .qt_facade_dialogs import dialogs

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


CTK_WIDGETS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        ctkCheckBox,
        ctkCollapsibleButton,
        ctkCollapsibleGroupBox,
        ctkComboBox,
        ctkDirectoryButton,
        ctkDoubleSpinBox,
        ctkFittedTextBrowser,
        ctkMessageBox,
        ctkPathLineEdit,
        ctkSearchBox,
        ctkSliderWidget,
    )
}
