"""The stand-ins for Slicer's custom widgets, by C++ name, for .ui files, `ctk` and `slicer.qMRML…`."""

from __future__ import annotations

from .widgets import ctk_inputs, ctk_widgets
from .widgets import mrml as mrml_widgets
from .widgets import node_combo_box as mrml_widgets_nodes
from .widgets import plot as mrml_widgets_plot
from .widgets import segment_editor as mrml_widgets_editor
from .widgets import segments as mrml_widgets_segments
from .widgets import table as mrml_widgets_table

CTK_WIDGETS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        ctk_inputs.ctkDirectoryButton,
        ctk_inputs.ctkDoubleSpinBox,
        ctk_inputs.ctkPathLineEdit,
        ctk_inputs.ctkSliderWidget,
        ctk_widgets.ctkCheckBox,
        ctk_widgets.ctkCollapsibleButton,
        ctk_widgets.ctkCollapsibleGroupBox,
        ctk_widgets.ctkComboBox,
        ctk_widgets.ctkFittedTextBrowser,
        ctk_widgets.ctkMessageBox,
        ctk_widgets.ctkSearchBox,
    )
}

MRML_WIDGETS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        mrml_widgets_nodes.qMRMLNodeComboBox,
        mrml_widgets.qMRMLWidget,
        mrml_widgets_editor.qMRMLSegmentEditorWidget,
        mrml_widgets_segments.qMRMLSegmentSelectorWidget,
        mrml_widgets_segments.qMRMLSegmentsTableView,
        mrml_widgets_plot.qMRMLPlotView,
        mrml_widgets_plot.qMRMLPlotWidget,
        mrml_widgets_table.qMRMLTableView,
    )
}
