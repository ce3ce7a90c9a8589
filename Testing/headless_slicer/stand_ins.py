"""The stand-ins for Slicer's custom widgets, by C++ name, for .ui files, `ctk` and `slicer.qMRML…`."""

from __future__ import annotations

from .widgets import ctk_inputs, ctk_widgets, mrml, node_combo_box, plot, segment_editor, segments, table

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
        node_combo_box.qMRMLNodeComboBox,
        mrml.qMRMLWidget,
        segment_editor.qMRMLSegmentEditorWidget,
        segments.qMRMLSegmentSelectorWidget,
        segments.qMRMLSegmentsTableView,
        plot.qMRMLPlotView,
        plot.qMRMLPlotWidget,
        table.qMRMLTableView,
    )
}
