"""Stand-ins for the CTK widgets that scripted modules use, painted like Slicer's.

Properties, slots and signals have CTK's names and types; whatever CTK does not declare as property, slot,
signal or Q_INVOKABLE is invisible to scripts, as in Slicer. Written from CTK's public headers.
"""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

_HEADER = 24  # pixels of a collapsible button's bar


class _HiddenWhileCollapsed(QtCore.QObject):
    """Hides the children of a collapsed container, also one shown meanwhile; keeps who was to be visible."""

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
        # polished, not added: while it is being made, a C++ child would be taken for a plain QWidget for ever
        if self._collapsed and event.polished() and event.child().isWidgetType():
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
    """A message box with a "do not show again" check box; `exec_` is answered by qt/dialogs.py."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._again, self._key = False, ""

    dontShowAgainVisible = Property(
        bool, lambda self: self._again, lambda self, v: setattr(self, "_again", v)
    )
    dontShowAgainSettingsKey = Property(str, lambda self: self._key, lambda self, v: setattr(self, "_key", v))
    dontShowAgain = Property(bool, lambda self: False, lambda self, v: None)
