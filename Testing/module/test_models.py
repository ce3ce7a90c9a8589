"""Models as the user chooses them: cards without torch, folders and zips, the list of recent ones."""

import json
import math
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from DiffSegLungPanel import models
from DiffSegLungPanel.scene.parameters import AdvancedSettings, Mixture, librarySettings
from modelcards import tiny_card

import DiffSegLungLib
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.model.archive import Packed
from DiffSegLungLib.model.library import Library

CHECKOUT = Path(__file__).resolve().parents[2]
CARD = tiny_card(b"x", data={"statement": "3 CT <private>"})


@pytest.fixture
def folder(host, tmp_path) -> Path:
    made = tmp_path / "mine"
    made.mkdir()
    (made / "card.json").write_text(json.dumps(CARD))
    (made / "model.safetensors").write_bytes(b"x")
    return made


@pytest.fixture
def archive(folder, tmp_path) -> Path:
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w") as made:
        for file in folder.iterdir():
            made.write(file, f"export/{file.name}")
    return path


@pytest.fixture
def library(tmp_path, monkeypatch) -> Library:
    """A library with one installed model, mine 2, and a broken one."""
    monkeypatch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    Packed(CARD, b"x").write(tmp_path / "models" / "mine 2.zip")
    (tmp_path / "models" / "mine 3.zip").write_bytes(b"x")
    return Library()


def test_the_built_in_card_says_what_a_user_must_know(host):
    card = models.readCard("default")
    stored = json.loads((Path(DiffSegLungLib.__file__).parent / "weights" / "card.json").read_text())
    assert card.name == f"{stored['id']} {stored['version']}"
    told = dict(card.facts)
    assert told["Trained on:"] == stored["data"]["statement"]
    assert told["Training:"] == "20,000 steps in 2.27 hours"
    assert told["Licence:"] == "Apache-2.0"
    assert told["Limits:"] and "not a medical device" in told["Use:"]
    assert card.fittedTimesteps == (10,)
    assert card.lastTimestep == 249


def test_a_card_is_read_without_torch():
    code = (
        "import sys; sys.path[:0] = ['Testing', 'DiffSegLung', '.']\n"
        "from headless_slicer import start; start()\n"
        "from DiffSegLungPanel.models import readCard; readCard('default')\n"
        "assert not {'torch', 'sklearn', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CHECKOUT)


def test_folder_and_zip_are_the_same_model(folder, archive):
    one, other = models.readCard(str(folder)), models.readCard(str(archive))
    assert (one.name, one.facts, one.lastTimestep) == (other.name, other.facts, other.lastTimestep)
    assert one.name == "mine 2"
    assert "3 CT &lt;private&gt;" in one.html()


def test_the_file_dialogue_gives_a_folder_or_a_zip(folder, archive):
    assert models.bundleFromFile(str(folder / "card.json")) == str(folder)
    assert models.bundleFromFile(str(archive)) == str(archive)


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("gone", "elsewhere does not exist"),
        ("no card", "has no card.json"),
        ("no weights", "mine is not a DiffSegLung model"),
        ("not a zip", "is neither a folder nor a whole zip"),
    ],
)
def test_what_is_no_model_is_refused_by_name(folder, harm, told):
    place = {"gone": folder / "elsewhere", "not a zip": folder / "card.json"}.get(harm, folder)
    lost = {"no card": "card.json", "no weights": "model.safetensors"}.get(harm)
    if lost is not None:
        (folder / lost).unlink()
    with pytest.raises(InputError, match=told):
        models.readCard(str(place))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "[" * 100_000,
        json.dumps({"schedule": {}}),
        json.dumps(CARD | {"schedule": {"timesteps": math.inf}}),
        json.dumps(CARD | {"schedule": {"timesteps": math.nan}}),
        json.dumps(CARD | {"schedule": 3}),
        json.dumps(CARD | {"population": {"timesteps": [math.inf]}}),
        json.dumps(CARD | {"training": None}),
        json.dumps(CARD | {"training": {"steps": -math.inf}}),
        json.dumps(CARD | {"data": []}),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(folder, text):
    (folder / "card.json").write_text(text)
    with pytest.raises(InputError, match="mine"):
        models.readCard(str(folder))


@pytest.mark.parametrize("harm", ["corrupt", "lzma", "bomb"])
def test_a_zip_that_means_harm_is_refused_before_it_is_unpacked(folder, tmp_path, harm):
    path = tmp_path / "odd.zip"
    card = json.dumps(CARD) + (" " * 50_000_000 if harm == "bomb" else "")
    method = zipfile.ZIP_LZMA if harm == "lzma" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("card.json", card)
        made.write(folder / "model.safetensors", "model.safetensors")
    if harm == "corrupt":
        begin = 30 + len("card.json")
        path.write_bytes(path.read_bytes()[:begin] + b"\xff" * 20 + path.read_bytes()[begin + 20 :])
    tracemalloc.start()
    with pytest.raises(InputError, match="odd"):
        models.readCard(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_cards_nested_too_deeply_to_be_compared_are_refused(folder, monkeypatch):
    nested = CARD
    for _ in range(2000):  # newer Pythons read JSON that is deeper than their own calls may be
        nested = {"training": nested}
    monkeypatch.setattr(models, "read_card", lambda place: nested if place == folder else CARD)
    with pytest.raises(InputError, match="cannot be compared"):
        models.comparisonHtml(str(folder), "built-in")


def test_a_zip_without_weights_is_refused(folder, tmp_path):
    path = tmp_path / "empty.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.write(folder / "card.json", "card.json")
    with pytest.raises(InputError):
        models.readCard(str(path))


def test_recent_models_latest_first_without_those_that_are_gone(folder, archive):
    models.rememberModel(str(folder))
    models.rememberModel(str(archive))
    models.rememberModel(str(folder))
    models.rememberModel(models.BUILT_IN)
    assert models.recentModels() == [str(folder), str(archive)]
    archive.unlink()
    assert models.recentModels() == [str(folder)]


def test_only_a_few_are_remembered(host, tmp_path):
    for number in range(models.MOST_RECENT + 3):
        (tmp_path / str(number)).mkdir()
        models.rememberModel(str(tmp_path / str(number)))
    assert len(models.recentModels()) == models.MOST_RECENT
    assert models.recentModels()[0] == str(tmp_path / str(models.MOST_RECENT + 2))


def test_installed_models_are_offered_and_read_by_name(host, library):
    assert models.installedModels() == ["default", "mine 2"]
    assert models.readCard("mine 2").name == models.readCard("mine").name == "mine 2"
    models.rememberModel("mine 2")
    assert models.recentModels() == []
    with pytest.raises(InputError, match="mine 3 is broken"):
        models.readCard("mine 3")
    with pytest.raises(InputError, match="no model 'mine 4'"):
        models.readCard("mine 4")


def test_the_default_is_the_users_and_the_built_in_one_stays(host, library):
    assert models.shownName("default").startswith("Built-in (diffseglung-ct")
    library.set_default("mine 2")
    assert models.installedModels() == ["default", "built-in", "mine 2"]
    assert models.shownName("default") == "Default (mine 2)"
    assert models.shownName("built-in").startswith("Built-in (diffseglung-ct")
    assert models.readCard("default").name == "mine 2"
    assert models.readCard("built-in").name.startswith("diffseglung-ct")


def test_an_unreadable_library_leaves_the_built_in_model(host, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path / "file"))
    assert models.installedModels() == ["default"]
    assert models.readCard("default").name.startswith("diffseglung-ct")


def test_a_model_without_a_mixture_of_its_own_needs_one_of_the_ct(folder):
    card = models.readCard(str(folder))
    with pytest.raises(InputError, match="no mixture of its own"):
        librarySettings(AdvancedSettings(), card)
    assert librarySettings(AdvancedSettings(mixture=Mixture.perVolume), card)["timesteps"] == (10,)
