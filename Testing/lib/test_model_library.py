"""The library of models: what is installed is whole, names find models, what must stay stays."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from modelfiles import change_card, content, make, pack, refused

from DiffSegLungLib.model import library as module
from DiffSegLungLib.model.archive import CARD, WEIGHTS, read
from DiffSegLungLib.model.bundle import Bundle
from DiffSegLungLib.model.library import SHIPPED, Library, load_model, models_folder

# Where models are kept


@pytest.mark.parametrize(
    ("system", "environment", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/diffseglung/models"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/home/me/.local/share/diffseglung/models"),
        ("linux", {}, "/home/me/.local/share/diffseglung/models"),
        ("darwin", {}, "/home/me/Library/Application Support/DiffSegLung/models"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/DiffSegLung/models"),
        ("win32", {"DIFFSEGLUNG_MODELS": "/mine", "LOCALAPPDATA": "/local"}, "/mine"),
        ("linux", {"DIFFSEGLUNG_MODELS": "~/mine"}, "/home/me/mine"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="paths as POSIX spells them")
def test_the_folder_follows_the_system_and_the_environment(
    system: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "DIFFSEGLUNG_MODELS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module.sys, "platform", system)
    assert models_folder() == Path(expected)


# Import


@pytest.mark.parametrize("form", ["folder", "zip", "compressed", "in a folder", "as macOS packs"])
def test_an_imported_model_is_loaded_by_its_name(
    form: str, library: Library, folder: Path, tmp_path: Path
) -> None:
    source = folder
    if form != "folder":
        under = "own/" if form in ("in a folder", "as macOS packs") else ""
        compress = zipfile.ZIP_DEFLATED if form == "compressed" else zipfile.ZIP_STORED
        source = pack(folder, tmp_path / "own.zip", under=under, compress=compress)
    if form == "as macOS packs":
        with zipfile.ZipFile(source, "a") as archive:
            archive.writestr("__MACOSX/own/._card.json", b"x")
            archive.writestr("own/.DS_Store", b"x")
    model, new = library.install(source)
    assert (model.name, new) == ("own 1", True)
    for words in ("own 1", "own"):
        loaded, wanted = load_model(library.choose(words).place), Bundle.load(folder)
        assert loaded.card == wanted.card
        x, t = torch.randn(1, 2, 8, 16, 16), torch.tensor([50])
        torch.testing.assert_close(loaded.network.encode(x, t), wanted.network.encode(x, t))
    assert [p.name for p in library.folder.iterdir()] == ["own 1.zip"]


def test_the_same_again_is_no_news_and_another_is_refused_or_replaces(
    library: Library, folder: Path, tmp_path: Path
) -> None:
    library.install(folder)
    before = content(library.folder)
    assert library.install(folder)[1] is False
    other = make(tmp_path / "other", shift=1.0)
    assert refused(lambda: library.install(other)).code == "model-exists"
    assert content(library.folder) == before
    assert library.install(other, overwrite=True)[1] is True
    assert read(library.folder / "own 1.zip") == read(other)
    recased = make(tmp_path / "recased", identifier="OWN")
    assert refused(lambda: library.install(recased, overwrite=True)).code == "model-exists"


@pytest.mark.parametrize("harm", ["weights", "card"])
def test_a_damaged_model_is_replaced_by_a_good_copy(library: Library, folder: Path, harm: str) -> None:
    library.install(folder)
    installed = library.folder / "own 1.zip"
    whole = installed.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(b'"architecture"') if harm == "card" else len(whole) // 2] ^= 1
    installed.write_bytes(damaged)
    error = refused(lambda: library.install(folder))
    assert (error.code, error.message) == ("model-exists", "The model installed as own 1 is damaged.")
    assert "--overwrite" in error.hint
    assert library.install(folder, overwrite=True)[1] is True
    assert installed.read_bytes() == whole


def test_a_card_that_alone_differs_is_another_model(library: Library, folder: Path) -> None:
    library.install(folder)
    change_card(folder, licence="mine alone")
    assert refused(lambda: library.install(folder)).code == "model-exists"


def test_nothing_takes_the_name_of_the_built_in_model(library: Library, folder: Path) -> None:
    card = json.loads((SHIPPED / CARD).read_text())
    change_card(folder, id=card["id"], version=card["version"])
    assert refused(lambda: library.install(folder, overwrite=True)).code == "model-exists"
    model, new = library.install(SHIPPED)
    assert model.built_in
    assert not new
    assert not library.folder.exists()


def test_weights_of_earlier_versions_in_float32_still_load(library: Library, folder: Path) -> None:
    from hashlib import sha256

    from safetensors.torch import load, save

    tensors = load((folder / WEIGHTS).read_bytes())
    halves = [name for name, tensor in tensors.items() if tensor.dtype == torch.float16]
    assert halves
    whole = save({name: tensor.float() for name, tensor in tensors.items()})
    (folder / WEIGHTS).write_bytes(whole)
    change_card(folder, sha256=sha256(whole).hexdigest())
    library.install(folder)
    parameters = load_model(library.choose("own").place).network.state_dict()
    assert all(torch.equal(parameters[k], tensors[f"network.{k}"].float()) for k in parameters)


# List


def test_the_list_is_in_order_and_says_what_is_broken(stocked: Library, tmp_path: Path) -> None:
    assert [m.name for m in stocked.models()][1:] == ["own 1", "own 2", "own 10"]
    (stocked.folder / "own 1.zip").write_bytes(b"x")
    other = make(tmp_path / "other")
    change_card(other, version="2", sha256="0" * 64)
    pack(other, stocked.folder / "own 2.zip")
    shutil.copy(stocked.folder / "own 10.zip", stocked.folder / "own 3.zip")
    (stocked.folder / "folder").mkdir()
    (stocked.folder / "link 1.zip").symlink_to(stocked.folder / "own 10.zip")
    problems = {m.name: m.problem for m in stocked.models(verify=True)[1:]}
    assert [name for name, problem in problems.items() if not problem] == ["own 10"]
    assert "nor a whole zip" in problems["own 1"]
    assert "SHA-256" in problems["own 2"]
    assert "own 10" in problems["own 3"]
    assert "import" in problems["folder"] and "import" in problems["link 1"]
    for name in ("own 1", "own 3", "link 1"):
        assert refused(lambda name=name: stocked.choose(name)).code == "bundle-broken"
    chosen = stocked.choose("own 2").place
    assert refused(lambda: load_model(chosen)).code == "bundle-tampered"


def test_a_library_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    library = Library(tmp_path / "file")
    assert refused(library.models).code == "models-folder"
    choice = library.choose("default")
    assert choice.place == "built-in"
    assert "cannot be read" in choice.note


# Names


def test_an_identifier_is_its_newest_version_and_words_find_what_they_name(
    stocked: Library, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert stocked.choose("own").place == str(stocked.folder / "own 10.zip")
    assert stocked.choose("own 2").place == str(stocked.folder / "own 2.zip")
    for words in ("default", "built-in", "diffseglung-ct"):
        assert stocked.choose(words).place == "built-in"
    assert stocked.choose(str(folder)).place == str(folder)
    monkeypatch.chdir(tmp_path)
    assert stocked.choose("made").place == str(folder)
    for words in ("own 3", "nothing", "../own 2", "own 2.zip", str(tmp_path / "none")):
        assert refused(lambda words=words: stocked.choose(words)).code == "no-bundle"


def test_a_name_that_is_also_a_bundle_here_is_refused(
    stocked: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    assert stocked.choose("own").words == "own 10"  # a folder that is no bundle does not count
    make(tmp_path / "own")
    assert refused(lambda: stocked.choose("own")).code == "two-models"
    assert stocked.choose("./own").place == str(tmp_path / "own")


# Default


def test_the_default_is_kept_and_falls_back_when_it_is_gone(stocked: Library) -> None:
    assert stocked.default()[0].built_in
    stocked.set_default("own 2")
    assert load_model().name == load_model("own 2").name == "own 2"
    assert load_model("built-in").name.startswith("diffseglung-ct")
    assert Library().choose("default").place == str(stocked.folder / "own 2.zip")
    assert stocked.choose("built-in").place == "built-in"
    (stocked.folder / "own 2.zip").unlink()
    choice = stocked.choose("default")
    assert choice.place == "built-in"
    assert "own 2 is not installed any more" in choice.note
    with pytest.warns(UserWarning, match="own 2 is not installed any more"):
        assert load_model().name.startswith("diffseglung-ct")
    stocked.set_default("built-in")
    assert stocked.choose("default").note == ""
    assert not (stocked.folder / "default.json").exists()


def test_a_default_that_was_damaged_is_refused_not_replaced(stocked: Library) -> None:
    stocked.set_default("own 2")
    (stocked.folder / "own 2.zip").write_bytes(b"x")
    assert refused(lambda: stocked.choose("default")).code == "bundle-broken"


@pytest.mark.parametrize("text", ["{", "[]", "{}", "\xff"])
def test_an_unreadable_choice_falls_back(stocked: Library, text: str) -> None:
    (stocked.folder / "default.json").write_bytes(text.encode("latin-1"))
    model, note = stocked.default()
    assert model.built_in
    assert "cannot be read" in note


def test_only_a_usable_installed_model_becomes_the_default(stocked: Library, folder: Path) -> None:
    (stocked.folder / "own 1.zip").write_bytes(b"x")
    assert refused(lambda: stocked.set_default("own 1")).code == "bundle-broken"
    assert refused(lambda: stocked.set_default(str(folder))).code == "no-bundle"
    assert stocked.default()[0].built_in


# Export and delete


def test_an_export_is_the_same_to_the_byte_and_can_be_imported(
    stocked: Library, folder: Path, tmp_path: Path
) -> None:
    one, two, three = (tmp_path / f"{n}.zip" for n in ("one", "two", "three"))
    stocked.export("own 1", one)
    stocked.export(str(tmp_path / "v1"), two)
    other = Library(tmp_path / "elsewhere")
    other.install(one)
    other.export("own", three)
    assert one.read_bytes() == two.read_bytes() == three.read_bytes()
    stocked.export("built-in", tmp_path / "shipped.zip")
    assert Bundle.load(tmp_path / "shipped.zip").card == load_model().card
    assert refused(lambda: stocked.export("own 1", one)).code == "output-exists"
    stocked.export("own 2", one, overwrite=True)
    assert read(one).name == "own 2"


def test_a_damaged_model_is_not_passed_on(stocked: Library, tmp_path: Path) -> None:
    installed = stocked.folder / "own 1.zip"
    damaged = bytearray(installed.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    installed.write_bytes(damaged)
    refused(lambda: stocked.export("own 1", tmp_path / "out.zip"))
    for name in ("out.tar", "none/out.zip"):
        refused(lambda name=name: stocked.export("own 2", tmp_path / name))
    (tmp_path / "dir.zip").mkdir()
    refused(lambda: stocked.export("own 2", tmp_path / "dir.zip", overwrite=True))
    assert not list(tmp_path.glob("out*"))


def test_deleting_takes_one_installed_model_and_never_what_must_stay(stocked: Library) -> None:
    stocked.set_default("own 2")
    before = content(stocked.folder)
    for words, code in (
        ("own", "two-models"),
        ("own 2", "model-kept"),
        ("built-in", "model-kept"),
        ("diffseglung-ct", "model-kept"),
        ("default", "no-bundle"),
        ("../user", "no-bundle"),
        (str(stocked.folder / "own 1.zip"), "no-bundle"),
    ):
        assert refused(lambda words=words: stocked.delete(words)).code == code
    assert content(stocked.folder) == before
    (stocked.folder / "own 1.zip").write_bytes(b"broken ones can go as well")
    stocked.delete("own 1")
    assert sorted(content(stocked.folder)) == ["default.json", "own 10.zip", "own 2.zip"]


def test_deleting_a_link_leaves_what_it_points_to(library: Library, folder: Path, tmp_path: Path) -> None:
    target = pack(folder, tmp_path / "mine.zip")
    library.folder.mkdir(parents=True)
    (library.folder / "own 1.zip").symlink_to(target)
    library.delete("own 1")
    assert target.is_file()
    assert content(library.folder) == {}
