"""The list of a result's classes: to look at and to show or hide, not to edit."""

from __future__ import annotations

import qt
import slicer

COLOUR_COLUMN = 1
"""Of Slicer's segment table."""


class SegmentList:
    """Slicer's segment table without its editors.

    Being read-only takes the edit triggers from it and no more: a double click on a name or a colour, and in
    Slicer 5.12 one click on a colour, which is a button there, open the terminology all the same.

    Args:
        table: the widget of the panel.
    """

    def __init__(self, table: qt.QWidget) -> None:
        self._table = table
        self._doubleClicks = _NoDoubleClicks(table)
        table.tableWidget().viewport().installEventFilter(self._doubleClicks)
        # Rows come anew with every segment added or moved and with every letter in the table's own filter.
        table.tableWidget().model().connect("rowsInserted(QModelIndex,int,int)", self._onRowsInserted)
        self._timer = qt.QTimer(table)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._quieten)

    def show(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Show the segments of a node."""
        if self._table.segmentationNode() is not node:
            self._table.setSegmentationNode(node)

    def _onRowsInserted(self, _parent: qt.QModelIndex, _first: int, _last: int) -> None:
        self._timer.start()  # the table makes its buttons when it has been laid out

    def _quieten(self) -> None:
        view = self._table.tableWidget()
        for row in range(view.model().rowCount()):
            button = view.indexWidget(view.model().index(row, COLOUR_COLUMN))
            if button:
                button.blockSignals(True)


class _NoDoubleClicks(qt.QObject):
    """Keeps double clicks from a widget."""

    def eventFilter(self, _watched: qt.QObject, event: qt.QEvent) -> bool:
        return event.type() == qt.QEvent.MouseButtonDblClick
