"""Models managed in the panel: imported by the worker, exported, compared, made default, deleted or kept."""

import sys
from pathlib import Path

import pytest
from panels import Desk

from DiffSegLungLib.model.archive import Packed
from DiffSegLungLib.model.library import Library

sys.path.append(str(Path(__file__).resolve().parents[1] / "lib"))


@pytest.fixture
def desk(host, tmp_path, monkeypatch, warm):
    from modelfiles import make

    monkeypatch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path / "models"))
    made = Desk(host)
    make(tmp_path / "own")
    make(tmp_path / "other", shift=1.0)
    made.ui.manageCollapsibleButton.collapsed = False
    made.manage = made.panel.manager.ui
    yield made
    made.panel.cleanup()


def installed() -> list[str]:
    return [model.name for model in Library().models() if not model.built_in]


def import_model(desk, folder) -> None:
    desk.dialogs.model = str(folder / "card.json")
    desk.manage.importModelButton.click()
    desk.finish_run()


def test_an_imported_model_is_installed_and_chosen(desk, tmp_path):
    import_model(desk, tmp_path / "own")
    assert installed() == ["own 1"]
    assert desk.parameters.bundle == "own 1" and desk.ui.modelComboBox.currentText == "own 1"
    assert "installed and chosen" in desk.panel.messages.text


def test_another_model_of_the_same_name_replaces_only_after_a_yes(desk, tmp_path):
    Library().install(tmp_path / "own")
    before = Library().find("own 1").card["sha256"]
    import_model(desk, tmp_path / "other")
    assert "own 1" in desk.dialogs.questions[-1]
    assert Library().find("own 1").card["sha256"] == before
    desk.dialogs.sure = True
    import_model(desk, tmp_path / "other")
    assert Library().find("own 1").card["sha256"] != before


def test_the_same_model_replaces_a_damaged_one_after_a_yes(desk, tmp_path):
    place = Library().install(tmp_path / "own")[0].place
    whole = place.read_bytes()
    import_model(desk, tmp_path / "own")
    assert (
        len(desk.dialogs.questions) == 1 and desk.panel.messages.kind == "success"
    )  # asked for the file only
    card = Library().find("own 1").card
    Packed(card, (tmp_path / "other" / "model.safetensors").read_bytes()).write(place)
    damaged = place.read_bytes()
    import_model(desk, tmp_path / "own")
    assert "already installed as “own 1”" in desk.dialogs.questions[-1]
    assert place.read_bytes() == damaged
    desk.dialogs.sure = True
    import_model(desk, tmp_path / "own")
    assert place.read_bytes() == whole and desk.panel.messages.kind == "success"


def test_what_is_no_model_is_refused_with_a_sentence(desk, tmp_path):
    (tmp_path / "own" / "model.safetensors").write_bytes(b"x")
    import_model(desk, tmp_path / "own")
    assert installed() == []
    assert desk.panel.messages.kind == "error" and "SHA-256" in desk.panel.messages.text


def test_an_exported_model_is_the_same_when_it_comes_back(desk, tmp_path):
    model, _ = Library().install(tmp_path / "own")
    desk.parameters.bundle = "own 1"
    desk.dialogs.file = tmp_path / "passed on"
    desk.manage.exportModelButton.click()
    desk.finish_run()
    assert desk.dialogs.questions[-1] == "own 1.zip"
    assert (tmp_path / "passed on.zip").read_bytes() == model.place.read_bytes()


def test_a_file_that_the_file_dialogue_did_not_ask_about_is_replaced_only_after_a_yes(desk, tmp_path):
    Library().install(tmp_path / "own")
    desk.parameters.bundle = "own 1"
    desk.dialogs.file, there = tmp_path / "passed on", tmp_path / "passed on.zip"
    there.write_bytes(b"somebody's work")
    desk.manage.exportModelButton.click()
    desk.finish_run()
    assert "“passed on.zip” is there already" in desk.dialogs.questions[-1]
    assert there.read_bytes() == b"somebody's work"
    desk.dialogs.sure = True
    desk.manage.exportModelButton.click()
    desk.finish_run()
    assert there.read_bytes() == Library().find("own 1").place.read_bytes()
    desk.dialogs.file, desk.dialogs.sure = there, False
    desk.manage.exportModelButton.click()  # the file dialogue has asked about this one
    desk.finish_run()
    assert desk.panel.messages.kind == "success"


def test_a_model_is_deleted_after_a_yes_and_the_default_one_and_the_built_in_one_never(desk, tmp_path):
    Library().install(tmp_path / "own")
    desk.parameters.bundle = "own 1"
    desk.manage.deleteModelButton.click()
    assert installed() == ["own 1"] and "own 1" in desk.dialogs.questions[-1]
    desk.dialogs.sure = True
    desk.manage.defaultModelButton.click()
    assert Library().default()[0].name == "own 1" and "is the default" in desk.panel.messages.text
    asked = len(desk.dialogs.questions)
    for chosen, told in (("own 1", "is the default model"), ("default", "is the default model"),
                         ("built-in", "built-in model cannot be deleted")):  # fmt: skip
        desk.parameters.bundle = chosen
        desk.manage.deleteModelButton.click()
        assert told in desk.panel.messages.text
    assert len(desk.dialogs.questions) == asked and installed() == ["own 1"]
    desk.manage.defaultModelButton.click()
    desk.parameters.bundle = "own 1"
    desk.manage.deleteModelButton.click()
    assert installed() == [] and desk.parameters.bundle == "default"


def test_a_model_outside_the_library_has_to_be_imported_first(desk, tmp_path):
    desk.parameters.bundle = str(tmp_path / "own")
    for button in (desk.manage.deleteModelButton, desk.manage.defaultModelButton):
        button.click()
        assert "Import it first" in desk.panel.messages.text


def test_two_cards_stand_side_by_side(desk, tmp_path):
    Library().install(tmp_path / "own")
    desk.parameters.bundle = "own 1"
    assert not desk.manage.compareModelBrowser.visible
    shown = desk.manage.compareModelComboBox
    name = next(shown.itemText(i) for i in range(shown.count) if "diffseglung-ct" in shown.itemText(i))
    desk.choose(shown, name)
    text = desk.manage.compareModelBrowser.plainText.replace("\u200b", "")
    for told in ("weights (SHA-256)", "architecture base", "\n8\n32\n", "not stated"):
        assert told in text
    desk.choose(shown, "(no other)")
    assert not desk.manage.compareModelBrowser.visible


def test_no_model_goes_while_a_run_may_be_using_it(desk, tmp_path):
    Library().install(tmp_path / "own")
    desk.parameters.bundle = "own 1"
    desk.panel.manager.update(idle=False)
    assert not desk.manage.deleteModelButton.enabled and not desk.manage.importModelButton.enabled
