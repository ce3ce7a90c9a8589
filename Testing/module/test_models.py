"""Models as the user chooses them: cards without torch, folders and zips, the list of recent ones."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from DiffSegLungPanel import models
from DiffSegLungPanel.parameters import AdvancedSettings, Mixture, librarySettings

import DiffSegLungLib
from DiffSegLungLib.errors import InputError

CHECKOUT = Path(__file__).resolve().parents[2]
CARD = {"id": "mine", "version": "2", "schedule": {"timesteps": 100}, "data": {"statement": "3 CT <private>"}}


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


def test_the_built_in_card_says_what_a_user_must_know(host):
    card = models.readCard("default")
    stored = json.loads((Path(DiffSegLungLib.__file__).parent / "weights" / "card.json").read_text())
    assert card.name == f"{stored['id']} {stored['version']}"
    told = dict(card.facts)
    assert told["Trained on:"] == stored["data"]["statement"]
    assert told["Training:"] == "6,400 steps in 1.1 hours"
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
    "harm", ["gone", "no card", "no weights", "not json", "no id", "a list", "not a zip"]
)
def test_what_is_no_model_is_refused_by_name(folder, harm):
    place = folder
    if harm == "gone":
        place = folder / "elsewhere"
    elif harm == "no card":
        (folder / "card.json").unlink()
    elif harm == "no weights":
        (folder / "model.safetensors").unlink()
    elif harm == "not a zip":
        place = folder / "card.json"
    else:
        wrong = {"not json": "{", "no id": json.dumps({"schedule": {}}), "a list": "[1]"}[harm]
        (folder / "card.json").write_text(wrong)
    with pytest.raises(InputError, match="is not a DiffSegLung model"):
        models.readCard(str(place))


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


def test_a_model_without_a_mixture_of_its_own_needs_one_of_the_ct(folder):
    card = models.readCard(str(folder))
    with pytest.raises(InputError, match="no mixture of its own"):
        librarySettings(AdvancedSettings(), card)
    assert librarySettings(AdvancedSettings(mixture=Mixture.perVolume), card)["timesteps"] == (10,)
