"""Does the qt facade refuse what Slicer's PythonQt refuses, and do what it does?

The expectations are those of PythonQt's sources (PythonQtInstanceWrapper.cpp, PythonQtSignalReceiver.cpp) and
of Slicer's and CTK's public headers, named at each group.
"""

from __future__ import annotations

import gc
from pathlib import Path

import ctk
import pytest
import qt
import slicer
from headless_slicer import Host
from headless_slicer.qt.dialogs import dialogs
from headless_slicer.qt.wrapper import errors

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0"><class>Panel</class><widget class="qMRMLWidget" name="Panel">
<layout class="QVBoxLayout" name="box"><item>
<widget class="ctkCollapsibleButton" name="inputs"><property name="text"><string>Inputs</string></property>
<layout class="QFormLayout" name="form">
<item row="0" column="1"><widget class="qMRMLNodeComboBox" name="inputSelector">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="noneEnabled"><bool>true</bool></property>
<property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property></widget></item>
<item row="1" column="1"><widget class="ctkPathLineEdit" name="path"><property name="filters">
<set>ctkPathLineEdit::Files|ctkPathLineEdit::Readable</set></property></widget></item></layout></widget></item>
<item><widget class="QCheckBox" name="more"/></item><item><widget class="QLabel" name="hint"/></item></layout>
</widget><customwidgets><customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends>
<container>1</container></customwidget></customwidgets><resources/><connections>
<connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>inputSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection>
<connection><sender>more</sender><signal>toggled(bool)</signal>
<receiver>hint</receiver><slot>setVisible(bool)</slot></connection></connections></ui>"""


@pytest.fixture(autouse=True)
def _clean(host: Host) -> None:
    dialogs.reset()
    errors.clear()


# Attributes (PythonQtInstanceWrapper_getattro, _setattro)


def test_a_property_is_an_attribute_and_not_callable() -> None:
    button = qt.QPushButton("Apply")
    assert button.text == "Apply"
    with pytest.raises(TypeError, match="'str' object is not callable"):
        button.text()
    button.text = "Cancel"
    button.enabled = False
    button.toolTip = "Stop the run"
    assert (button.text, button.enabled, button.toolTip) == ("Cancel", False, "Stop the run")
    button.setText("Apply")  # slots are methods
    assert button.text == "Apply"


def test_name_is_object_name_and_children_are_attributes() -> None:
    widget = qt.QWidget()
    label = qt.QLabel("HU", widget)
    label.objectName = "unit"
    assert (label.name, widget.unit is label) == ("unit", True)


def test_unknown_attributes_are_refused() -> None:
    button = qt.QPushButton()
    with pytest.raises(AttributeError, match="QPushButton has no attribute named 'setTitle'"):
        button.setTitle("x")
    with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects is not allowed"):
        button.node = None
    with pytest.raises(AttributeError, match="can not be overwritten"):
        button.click = print
    with pytest.raises(AttributeError, match="not writable"):
        button.width = 3


@pytest.mark.parametrize("value", [None, "yes", object()])
def test_a_bool_property_takes_no_object(value: object) -> None:
    with pytest.raises(AttributeError, match="Property 'enabled' of type 'bool' does not accept"):
        qt.QPushButton().enabled = value


def test_numbers_convert_as_pythonqt_converts_them() -> None:
    label, box = qt.QLabel(), qt.QSpinBox()
    label.text = 12
    box.value = 7.9
    assert (label.text, box.value) == ("12", 7)


def test_dynamic_properties_can_be_set_once_they_exist() -> None:
    label = qt.QLabel()
    with pytest.raises(AttributeError):
        label.state = "bad"
    label.setProperty("state", "good")
    label.state = "bad"
    assert label.property("state") == label.state == "bad"


def test_wrong_arguments_keywords_and_paths_are_refused() -> None:
    label = qt.QLabel()
    with pytest.raises(ValueError, match="Could not find matching overload"):
        label.setText(1, 2)
    with pytest.raises(TypeError, match="keyword"):
        label.setText(text="x")
    with pytest.raises(ValueError, match="PosixPath"):
        qt.QFile(Path("x"))


def test_classes_are_flat_as_in_pythonqt() -> None:
    button = qt.QPushButton()
    assert not isinstance(button, qt.QWidget)
    assert button.inherits("QWidget")
    assert button.className() == "QPushButton"
    assert type(button) == qt.QPushButton  # noqa: E721 - what Slicer's gui connectors compare


def test_one_object_has_one_wrapper() -> None:
    widget = qt.QWidget()
    layout = qt.QVBoxLayout(widget)
    button = qt.QPushButton()
    layout.addWidget(button)
    assert widget.layout() is layout
    assert layout.itemAt(0).widget() is button
    assert button.parent() is widget
    assert widget.findChild(qt.QPushButton) is button
    assert widget.findChildren("QPushButton") == (button,)  # lists are tuples in PythonQt


def test_a_destroyed_object_is_false_and_says_so() -> None:
    label = qt.QLabel()
    label.delete()
    assert not label
    with pytest.raises(ValueError, match="destroyed QLabel"):
        _ = label.text


def test_enums_are_unscoped_integers() -> None:
    assert qt.Qt.AlignRight == 2
    assert (qt.Qt.AlignRight | qt.Qt.AlignTop) == 34
    assert (qt.QMessageBox.Yes | qt.QMessageBox.No) == 0x4000 | 0x10000
    label = qt.QLabel()
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignTop
    assert label.alignment == 34
    label.setAlignment(qt.Qt.AlignLeft)
    assert label.alignment & qt.Qt.AlignLeft
    with pytest.raises(AttributeError):
        _ = qt.Qt.AlignmentFlag.AlignRight
    with pytest.raises(AttributeError, match="has no attribute"):
        _ = qt.QSizePolicy.Huge
    with pytest.raises(AttributeError):
        _ = qt.Signal


def test_python_subclasses_take_attributes_and_override_virtual_functions() -> None:
    class Panel(qt.QWidget):
        def __init__(self, parent: object = None) -> None:
            super().__init__(parent)
            self.sizes: list[int] = []

        def resizeEvent(self, event: object) -> None:
            self.sizes.append(event.size().width())
            qt.QWidget.resizeEvent(self, event)

    panel = Panel()
    panel.resize(123, 45)
    panel.show()
    qt.QApplication.processEvents()
    assert panel.sizes == [123]
    with pytest.raises(AttributeError, match="can not be overwritten"):
        panel.layout = 1


# Signals (PythonQtSignalReceiver.cpp, PythonQtStdDecorators::connect)


def test_a_function_gets_as_many_arguments_as_it_takes() -> None:
    button, seen = qt.QPushButton(), []
    button.checkable = True
    button.connect("clicked(bool)", lambda checked: seen.append(("one", checked)))
    button.clicked.connect(lambda: seen.append("none"))
    button.clicked.connect(lambda *every: seen.append(every))
    button.connect("clicked()", lambda *every: seen.append(every))
    button.clicked.connect(lambda checked, more=5: seen.append((checked, more)))
    button.click()
    assert seen == [("one", True), "none", (True,), (), (True, 5)]


def test_connections_end_with_disconnect() -> None:
    button, seen = qt.QPushButton(), []

    def clicked() -> None:
        seen.append(1)

    button.clicked.connect(clicked)
    button.connect("pressed()", clicked)
    assert button.clicked.disconnect(clicked)
    assert button.disconnect("pressed()", clicked)
    assert not button.disconnect("pressed()", clicked)
    button.click()
    assert seen == []


@pytest.mark.parametrize("signature", ["click()", "clicked(int)", "textChanged(QString)", "clicked"])
def test_a_signal_that_does_not_exist_is_refused(signature: str) -> None:
    with pytest.raises(ValueError, match="does not exist on QPushButton"):
        qt.QPushButton().connect(signature, print)


def test_an_exception_in_a_connected_function_is_kept_and_goes_no_further(
    capfd: pytest.CaptureFixture,
) -> None:
    button, seen = qt.QPushButton(), []
    button.clicked.connect(lambda: 1 / 0)
    button.clicked.connect(lambda: seen.append(1))
    button.click()
    assert seen == [1]
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert "ZeroDivisionError" in capfd.readouterr().err
    errors.clear()


def test_signals_survive_their_wrapper_and_many_calls() -> None:
    widget, count = qt.QWidget(), []
    button = qt.QPushButton(widget)
    button.objectName = "apply"
    button.clicked.connect(lambda: count.append(1))
    del button
    gc.collect()
    for _ in range(5000):  # more than None has references, see qt_facade._shield_singletons
        widget.apply.click()
    assert len(count) == 5000


def test_timer(host: Host) -> None:
    timer, ticks = qt.QTimer(), []
    timer.setSingleShot(True)
    timer.timeout.connect(lambda: ticks.append("timer"))
    timer.start(1)
    assert (timer.active, timer.singleShot) == (True, True)
    qt.QTimer.singleShot(0, lambda: ticks.append("static"))
    host.process_events(50)
    assert sorted(ticks) == ["static", "timer"]
    assert not timer.active


def test_combo_box_data() -> None:
    box = qt.QComboBox()
    box.addItem("Balanced", "balanced")
    box.addItem("Fast", "fast")
    assert (box.count, box.findData("fast"), box.itemData(1), box.currentData) == (2, 1, "fast", "balanced")
    box.currentIndex = 1
    assert (box.currentText, box.currentData) == ("Fast", "fast")
    with pytest.raises(TypeError):
        box.currentData()  # a property


# What would ask, open or store


def test_dialogs_are_recorded_and_answered_by_the_test() -> None:
    assert qt.QFileDialog.getSaveFileName(None, "Export") == ""
    dialogs.answers["QFileDialog.getSaveFileName"] = "x.csv"
    assert qt.QFileDialog.getSaveFileName(None, "Export") == "x.csv"
    box = qt.QMessageBox()
    box.text = "Replace the edited result?"
    box.standardButtons = qt.QMessageBox.Yes | qt.QMessageBox.No
    assert box.exec_() == qt.QMessageBox.No
    dialogs.answers["QMessageBox.exec"] = qt.QMessageBox.Yes
    assert box.exec_() == qt.QMessageBox.Yes
    qt.QDesktopServices.openUrl(qt.QUrl("https://slicer.org"))
    assert [name for name, _ in dialogs.shown] == [
        "QFileDialog.getSaveFileName",
        "QFileDialog.getSaveFileName",
        "QMessageBox.exec",
        "QMessageBox.exec",
        "QDesktopServices.openUrl",
    ]


def test_settings_are_never_the_users() -> None:
    assert "headless-slicer" in qt.QSettings().fileName()


# ctk (Libs/Widgets of CTK)


def test_a_collapsed_button_hides_its_contents_and_remembers_them() -> None:
    button, states = ctk.ctkCollapsibleButton(), []
    button.text = "Advanced"
    form = qt.QFormLayout(button)
    seed, hidden = qt.QSpinBox(), qt.QLabel()
    form.addRow("Seed:", seed)
    form.addRow(hidden)
    hidden.visible = False
    button.show()
    button.connect("contentsCollapsed(bool)", states.append)
    button.collapsed = True
    assert (seed.visible, button.maximumHeight) == (False, 24)
    seed.visible = True  # shown meanwhile: stays hidden until expanded
    assert not seed.visible
    button.collapsed = False
    assert (seed.visible, hidden.visible, states) == (True, False, [True, False])


def test_ctk_has_only_properties_and_slots() -> None:
    slider = ctk.ctkSliderWidget()
    slider.maximum = 2.0
    slider.setValue(5.0)
    assert slider.value == 2.0
    for refused in ("setMaximum", "setRange", "slider"):
        with pytest.raises(AttributeError):
            getattr(slider, refused)
    path, seen = ctk.ctkPathLineEdit(), []
    path.filters = ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Writable
    path.connect("currentPathChanged(QString)", seen.append)
    path.currentPath = "model"
    assert (seen, path.filters) == (["model"], 2 | 32)
    with pytest.raises(AttributeError):
        path.lineEdit()


# .ui files


def load_ui(tmp_path: Path, text: str = UI) -> object:
    path = tmp_path / "panel.ui"
    path.write_text(text)
    return slicer.util.loadUI(str(path))


def test_slicer_util_loads_a_ui_file(tmp_path: Path, scene: slicer.vtkMRMLScene) -> None:
    panel = load_ui(tmp_path)
    ui = slicer.util.childWidgetVariables(panel)
    assert ui.inputSelector.className() == "qMRMLNodeComboBox"
    assert ui.inputSelector.property("SlicerParameterName") == "inputVolume"
    assert ui.path.filters == ctk.ctkPathLineEdit.Files | ctk.ctkPathLineEdit.Readable
    panel.setMRMLScene(scene)
    assert ui.inputSelector.mrmlScene() is scene
    panel.show()
    ui.more.checked = True
    ui.more.checked = False
    assert not ui.hint.visible


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ('class="qMRMLNodeComboBox"', 'class="qMRMLNodeBox"', "no such widget class: qMRMLNodeBox"),
        (
            'name="noneEnabled"',
            'name="nonEnabled"',
            "qMRMLNodeComboBox inputSelector has no property nonEnabled",
        ),
        ("<signal>toggled(bool)", "<signal>toggle(bool)", "signal 'toggle"),
        ("<slot>setVisible(bool)", "<slot>setVisibel(bool)", "No such slot QLabel::setVisibel"),
        ("<receiver>hint<", "<receiver>hnt<", "no object is called hnt"),
    ],
)
def test_mistakes_in_a_ui_file_are_errors(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in UI
    with pytest.raises(RuntimeError, match=message):
        load_ui(tmp_path, UI.replace(right, wrong))


def test_pictures_have_the_width_asked_for(tmp_path: Path, host: Host) -> None:
    picture = qt.QPixmap(str(host.grab(load_ui(tmp_path), tmp_path / "panel.png")))
    assert picture.width() == 400
    assert picture.height() > 100
