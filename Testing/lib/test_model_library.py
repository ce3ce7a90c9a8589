"""The library of models: what is installed is whole, what is refused leaves no trace, names find models."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tinymodel import tiny_bundle

from DiffSegLungLib.cli import main
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.model import library as module
from DiffSegLungLib.model.archive import CARD, WEIGHTS, read
from DiffSegLungLib.model.bundle import Bundle
from DiffSegLungLib.model.library import SHIPPED, Library, models_folder


def make(folder: Path, identifier: str = "own", version: str = "1", shift: float = 0.0) -> Path:
    """A bundle on disk; another ``shift`` makes other weights."""
    bundle = tiny_bundle(id=identifier, version=version)
    with torch.no_grad():
        next(bundle.network.parameters()).add_(shift)
    bundle.save(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "made")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """An empty library, which the command line uses as well."""
    monkeypatch.setenv("DIFFSEGLUNG_MODELS", str(tmp_path / "user" / "models"))
    return Library()


@pytest.fixture
def stocked(library: Library, tmp_path: Path) -> Library:
    """A library with own 1, own 2 and own 10."""
    for version in ("1", "2", "10"):
        library.install(make(tmp_path / f"v{version}", version=version, shift=float(version)))
    return library


def refused(action: Callable[[], object]) -> InputError:
    with pytest.raises(InputError) as seen:
        action()
    assert seen.value.message.endswith(".")
    assert "\n" not in seen.value.message + seen.value.hint
    return seen.value


def content(place: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in place.iterdir()} if place.is_dir() else {}


def pack(source: Path, target: Path, *, under: str = "", compress: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(target, "w", compress) as archive:
        for name in (CARD, WEIGHTS):
            archive.write(source / name, under + name)
    return target


def change_card(place: Path, **entries: object) -> None:
    card = json.loads((place / CARD).read_text())
    (place / CARD).write_text(json.dumps(card | entries))


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
        loaded, wanted = Bundle.load(library.choose(words).place), Bundle.load(folder)
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
    parameters = Bundle.load(library.choose("own").place).network.state_dict()
    assert all(torch.equal(parameters[k], tensors[f"network.{k}"].float()) for k in parameters)


# Attacks and damage


def poisoned(case: str, folder: Path, tmp_path: Path) -> Path:
    """A file to import that must be refused."""
    target = tmp_path / "own.zip"
    if case == "one bit changed":
        weights = bytearray((folder / WEIGHTS).read_bytes())
        weights[-1] ^= 1
        (folder / WEIGHTS).write_bytes(weights)
        return pack(folder, target)
    if case == "cut off":
        whole = pack(folder, target).read_bytes()
        target.write_bytes(whole[: len(whole) // 2])
        return target
    if case == "damaged inside":
        whole = bytearray(pack(folder, target).read_bytes())
        whole[len(whole) // 2] ^= 1
        target.write_bytes(whole)
        return target
    if case == "links in a folder":
        (folder / WEIGHTS).rename(tmp_path / "elsewhere")
        (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
        return folder
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        add_poison(archive, case, folder)
    return target


MISPLACED = {
    "path upwards": {CARD: CARD, WEIGHTS: f"../{WEIGHTS}"},
    "absolute path": {CARD: f"/etc/{CARD}", WEIGHTS: WEIGHTS},
    "path of Windows": {CARD: f"C:/{CARD}", WEIGHTS: WEIGHTS},
    "two folders": {CARD: f"other/{CARD}", WEIGHTS: WEIGHTS},
    "no weights": {CARD: CARD},
    "weights in macOS's folder": {CARD: CARD, WEIGHTS: f"__MACOSX/{WEIGHTS}"},
}


def add_poison(archive: zipfile.ZipFile, case: str, folder: Path) -> None:
    names = MISPLACED.get(case, {CARD: CARD, WEIGHTS: WEIGHTS})
    for name, told in names.items():
        if case == "link" and name == WEIGHTS:
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
        elif case == "bomb" and name == WEIGHTS:
            archive.writestr(name, bytes(8 * 1024**2))
        elif case == "huge card" and name == CARD:
            archive.writestr(name, np.random.default_rng(0).bytes(5 * 1024**2))
        elif case == "deep card" and name == CARD:
            archive.writestr(name, "[" * 200_000)
        elif case == "unusual packing":
            archive.write(folder / name, told, zipfile.ZIP_BZIP2)
        else:
            archive.write(folder / name, told)
    if case == "foreign file":
        archive.writestr("setup.py", "print('hello')")
    elif case == "a file twice":
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(WEIGHTS, b"other weights")


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("one bit changed", "bundle-tampered"),
        ("cut off", "no-bundle"),
        ("damaged inside", "bundle-broken"),
        ("links in a folder", "bundle-broken"),
        ("path upwards", "bundle-broken"),
        ("absolute path", "bundle-broken"),
        ("path of Windows", "bundle-broken"),
        ("two folders", "bundle-broken"),
        ("no weights", "no-bundle"),
        ("weights in macOS's folder", "no-bundle"),
        ("link", "bundle-broken"),
        ("bomb", "bundle-broken"),
        ("huge card", "bundle-broken"),
        ("deep card", "bundle-broken"),
        ("unusual packing", "bundle-broken"),
        ("foreign file", "bundle-broken"),
        ("a file twice", "bundle-broken"),
    ],
)
def test_a_poisoned_file_is_refused_and_leaves_nothing(
    case: str, code: str, library: Library, folder: Path, tmp_path: Path
) -> None:
    source = poisoned(case, folder, tmp_path)
    assert refused(lambda: library.install(source)).code == code
    assert not library.folder.exists()


def test_a_bomb_is_refused_before_it_is_unpacked(
    library: Library, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = poisoned("bomb", folder, tmp_path)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was unpacked"))
    assert "more than any model" in refused(lambda: library.install(source)).message


@pytest.mark.parametrize(
    "entries",
    [
        {"id": "../../own"},
        {"id": "a/b"},
        {"id": "a\\b"},
        {"id": ".hidden"},
        {"id": "default"},
        {"id": "Built-in"},
        {"id": ""},
        {"id": "a\nb"},
        {"id": "x" * 100},
        {"id": ["own"]},
        {"version": "1 2"},
        {"version": "/1"},
        {"version": 1},
    ],
)
def test_a_name_that_is_no_file_name_is_refused(
    entries: dict[str, object], library: Library, folder: Path
) -> None:
    change_card(folder, **entries)
    assert refused(lambda: library.install(folder)).code == "bundle-name"
    assert not library.folder.exists()


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"architecture": {"base": 16, "attention_heads": 1, "timesteps": 250}}, "bundle-broken"),
        ({"architecture": {"base": 4096, "attention_heads": 1, "timesteps": 250}}, "bad-architecture"),
        ({"schedule": {"timesteps": 10**12}}, "bundle-broken"),
        ({"schedule": {"timesteps": 250, "beta_first": float("nan")}}, "bundle-broken"),
        ({"schedule": {"timesteps": 250, "beta_first": "low"}}, "bundle-broken"),
        ({"patch": [16, 64]}, "bundle-broken"),
        ({"patch": [16, 64, 63]}, "bundle-broken"),
        ({"patch": "large"}, "bundle-broken"),
        ({"patch": None}, "bundle-broken"),
        ({"format": 99}, "bundle-format"),
    ],
)
def test_a_card_that_would_fail_later_is_refused_at_once(
    entries: dict[str, object], code: str, library: Library, folder: Path
) -> None:
    change_card(folder, **entries)
    assert refused(lambda: library.install(folder)).code == code
    assert content(library.folder) == {}


@pytest.mark.parametrize(
    "mixture",
    [
        {"hybrid.weights": np.ones(2)},
        {"other.weights": np.ones(2)},
        {"statistics.weights": np.full(2, np.nan)},
        {"statistics.weights": np.ones(2), "statistics.means": np.ones((3, 2))}
        | {"statistics.covariances": np.ones((3, 2, 2))},
    ],
)
def test_a_population_mixture_that_would_fail_later_is_refused_at_once(
    mixture: dict[str, np.ndarray], library: Library, tmp_path: Path
) -> None:
    tiny_bundle(mixture).save(tmp_path / "made")
    assert refused(lambda: library.install(tmp_path / "made")).code == "bundle-broken"
    assert content(library.folder) == {}


def test_weights_that_are_no_numbers_are_refused(library: Library, tmp_path: Path) -> None:
    make(tmp_path / "made", shift=float("nan"))
    assert "not numbers" in refused(lambda: library.install(tmp_path / "made")).message


def test_a_failing_disk_leaves_what_was_there(
    library: Library, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.install(folder)
    before = content(library.folder)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    other = make(tmp_path / "other", shift=1.0)
    error = refused(lambda: library.install(other, overwrite=True))
    assert error.code == "not-written"
    assert "No space left" in error.message
    assert content(library.folder) == before
    assert refused(lambda: library.export("own", tmp_path / "out.zip")).code == "not-written"
    assert not (tmp_path / "out.zip").exists()
    assert not list(tmp_path.glob(".bundle-*"))


def test_what_killed_imports_left_is_removed_a_day_later(library: Library, folder: Path) -> None:
    library.folder.mkdir(parents=True)
    old, new = library.folder / ".import-old", library.folder / ".import-new"
    for left in (old, new):
        left.mkdir()
    yesterday = time.time() - 2 * 86_400
    os.utime(old, (yesterday, yesterday))
    assert [m.name for m in library.models()][1:] == []
    library.install(folder)
    assert sorted(p.name for p in library.folder.iterdir()) == [".import-new", "own 1.zip"]


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
    assert refused(lambda: Bundle.load(chosen)).code == "bundle-tampered"


def test_a_library_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    library = Library(tmp_path / "file")
    assert refused(library.models).code == "models-folder"
    choice = library.choose("default")
    assert choice.place == "default"
    assert "cannot be read" in choice.note


# Names


def test_an_identifier_is_its_newest_version_and_words_find_what_they_name(
    stocked: Library, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert stocked.choose("own").place == str(stocked.folder / "own 10.zip")
    assert stocked.choose("own 2").place == str(stocked.folder / "own 2.zip")
    for words in ("default", "built-in", "diffseglung-ct"):
        assert stocked.choose(words).place == "default"
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
    assert Library().choose("default").place == str(stocked.folder / "own 2.zip")
    assert stocked.choose("built-in").place == "default"
    (stocked.folder / "own 2.zip").unlink()
    choice = stocked.choose("default")
    assert choice.place == "default"
    assert "own 2 is not installed any more" in choice.note
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
    assert Bundle.load(tmp_path / "shipped.zip").card == Bundle.load().card
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


# The command


def say(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(list(arguments))
    seen = capfd.readouterr()
    return code, seen.out + seen.err


def test_the_command_from_import_to_delete(
    library: Library, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, text = say(capfd, "models", "import", str(folder))
    assert code == 0
    assert "own 1 is installed" in text
    assert "no population mixture" in text  # said before a segmentation fails
    assert "was there already" in say(capfd, "models", "import", str(folder))[1]
    assert "* diffseglung-ct" in say(capfd, "models")[1]
    assert say(capfd, "models", "default", "own", "1")[1] == "The default is own 1, installed.\n"
    assert "* own 1" in say(capfd, "models", "list")[1]
    assert "runs own 1 in" in say(capfd, "device", "--device", "cpu")[1]
    assert "runs diffseglung-ct" in say(capfd, "device", "--device", "cpu", "--bundle", "built-in")[1]
    assert say(capfd, "models", "delete", "own")[0] == 2
    library.set_default("built-in")
    assert "runs own 1 in" in say(capfd, "device", "--device", "cpu", "--bundle", "own 1")[1]
    assert say(capfd, "models", "export", "own", "1", str(tmp_path / "x.zip"))[0] == 0
    assert say(capfd, "models", "delete", "own", "-q") == (0, "own 1\n")
    code, text = say(capfd, "device", "--bundle", "own 1", "--json-progress")
    assert code == 2
    assert json.loads(text)["error"]["code"] == "no-bundle"
    assert "id: own" in say(capfd, "models", str(tmp_path / "x.zip"))[1]


def test_a_default_that_is_gone_is_told_and_the_run_goes_on(
    stocked: Library, capfd: pytest.CaptureFixture[str]
) -> None:
    stocked.set_default("own 2")
    (stocked.folder / "own 2.zip").unlink()
    code, text = say(capfd, "device", "--device", "cpu")
    assert code == 0
    assert "runs diffseglung-ct" in text
    assert "The default model own 2 is not installed any more; the built-in model " in text


def test_programs_get_one_json_line(stocked: Library, capfd: pytest.CaptureFixture[str]) -> None:
    _, text = say(capfd, "models", "--json-progress")
    assert json.loads(text)["result"].splitlines()[1:] == ["own 1", "own 2", "own 10"]
    assert json.loads(say(capfd, "models", "own 2", "--json-progress")[1]) == {"result": "own 2"}
    _, text = say(capfd, "models", "--json-progress", "delete", "nothing")
    assert json.loads(text)["error"]["code"] == "no-bundle"


def test_what_cannot_be_installed_can_still_be_shown_and_used_in_its_place(
    library: Library, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change_card(folder, id="a/b", version=1)
    assert "id: a/b" in say(capfd, "models", str(folder))[1]
    assert "runs a/b 1 in" in say(capfd, "device", "--device", "cpu", "--bundle", str(folder))[1]


def test_a_card_cannot_command_the_terminal(
    library: Library, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change_card(folder, data={"statement": "\x1b[2J3 CT\nof mine \ud800"})
    library.install(folder)
    for arguments in (["models"], ["models", "own"], ["models", "compare", "own", "built-in"]):
        code, text = say(capfd, *arguments)
        assert code == 0
        assert "[2J3 CT" in text
        assert "\x1b" not in text
    assert len(say(capfd, "models")[1].splitlines()) == 4


def test_a_comparison_shows_what_differs_and_no_more(
    library: Library, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = make(tmp_path / "other", version="2", shift=1.0)
    settings = {"batch": 4, "seed": 0}
    change_card(folder, training={"settings": settings}, data={"fingerprints": list("abcdef")})
    change_card(other, training={"settings": settings | {"batch": 8}}, data={"fingerprints": list("defgh")})
    code, text = say(capfd, "models", "compare", str(folder), str(other))
    assert code == 0
    lines = text.splitlines()
    assert lines[0].split() == ["own", "1", "own", "2"]
    assert ["training", "settings", "batch", "4", "8"] in [line.split() for line in lines]
    assert "6 entries, 3 only here  5 entries, 2 only here" in text
    for place in (folder, other):
        assert read(place).card["sha256"] in text
    assert lines[-1] == "the same: architecture, schedule, patch, format"
    assert "the same model" in say(capfd, "models", "compare", str(folder), str(folder))[1]
