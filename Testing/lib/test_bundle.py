"""Bundles on disk: what is written is what is read, and nothing else is accepted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tinymodel import tiny_bundle, with_tiny_head

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.grid.canonical import CELL
from DiffSegLungLib.model.archive import _CELL
from DiffSegLungLib.model.bundle import Bundle
from DiffSegLungLib.model.diffusion import NoiseSchedule
from DiffSegLungLib.model.heads import StudentHead
from DiffSegLungLib.model.network import Architecture, NoiseUNet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    bundle = Bundle(
        card={"id": "test", "version": "3", "patch": [16, 64, 64]},
        network=NoiseUNet(Architecture(base=8, attention_heads=2)),
        head=StudentHead(32),
        schedule=NoiseSchedule(250),
        descriptor_mean=torch.arange(34.0),
        descriptor_sd=torch.ones(34),
        mixture={
            "hybrid.weights": np.array([0.25, 0.75]),
            "hybrid.means": np.zeros((2, 1)),
            "hybrid.covariances": np.ones((2, 1, 1)),
        },
    )
    bundle.save(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_round_trip_through_folder_and_zip(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for name in ("model.safetensors", "card.json"):
            target.write(folder / name, f"somewhere/{name}")
    x, t = torch.randn(1, 2, 8, 16, 16), torch.tensor([50])
    one, two = Bundle.load(folder), Bundle.load(archive)
    assert one.name == "test 3"
    assert one.patch == (16, 64, 64)
    assert len(one.sha256) == 64
    torch.testing.assert_close(one.network.encode(x, t), two.network.encode(x, t))
    torch.testing.assert_close(one.descriptor_mean, torch.arange(34.0))
    assert one.mixture["hybrid.weights"].tolist() == [0.25, 0.75]
    assert not any(p.requires_grad for p in one.network.parameters())
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "model.safetensors"]


def test_weights_are_stored_in_half_precision_and_used_in_single(folder: Path) -> None:
    stored = safe_open(folder / "model.safetensors", "pt")
    kinds = {name.split(".")[0]: stored.get_tensor(name).dtype for name in stored.keys()}  # noqa: SIM118
    assert kinds["network"] == kinds["head"] == torch.float16
    assert {p.dtype for p in Bundle.load(folder).network.parameters()} == {torch.float32}


def change_card(folder: Path, **entries: object) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | entries))


def test_one_changed_bit_is_refused(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError) as seen:
        Bundle.load(folder)
    assert seen.value.code == "bundle-tampered"


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ({"architecture": {"base": 16, "attention_heads": 2, "timesteps": 250}}, "bundle-broken"),
        ({"architecture": {"base": 4096, "attention_heads": 2, "timesteps": 250}}, "bad-architecture"),
        ({"architecture": {"layers": 3}}, "bundle-broken"),
        ({"schedule": "linear"}, "bundle-broken"),
        ({"format": 99}, "bundle-format"),
        ({"patch": "abc"}, "bundle-broken"),
        ({"patch": [10, 20, 30]}, "bundle-broken"),
        ({"patch": [1_000_000, 16, 16]}, "bundle-broken"),
        ({"patch": [True, 16, 16]}, "bundle-broken"),
        ({"data": "x"}, "bundle-broken"),
        ({"data": {"training_fingerprints": None}}, "bundle-broken"),
        ({"population": {"timesteps": None}}, "bundle-broken"),
        ({"training": []}, "bundle-broken"),
        ({"training": {"settings": None}}, "bundle-broken"),
        ({"training": {"settings": {"block": [8, 8, 8]}}}, "bundle-broken"),
        ({"training": {"settings": {"block": [0, 2, 2]}}}, "bundle-broken"),
    ],
)
def test_card_that_does_not_fit_is_refused(folder: Path, entries: dict[str, object], code: str) -> None:
    change_card(folder, **entries)
    with pytest.raises(InputError) as seen:
        Bundle.load(folder)
    assert seen.value.code == code
    assert seen.value.message.endswith(".")


@pytest.mark.parametrize("part", ["network", "head", "descriptor_sd", "mixture"])
def test_numbers_that_are_none_are_refused_wherever_the_bundle_lies(folder: Path, part: str) -> None:
    bundle = Bundle.load(folder)
    if part == "mixture":
        bundle.mixture["hybrid.means"] = np.full((2, 1), np.nan)
    elif part == "descriptor_sd":
        bundle.descriptor_sd[3] = torch.inf
    else:
        next(getattr(bundle, part).parameters())[0] = torch.nan
    bundle.save(folder)
    with pytest.raises(InputError, match=r"The model test 3 is of no use") as seen:
        Bundle.load(folder)
    assert seen.value.code == "bundle-broken"


def test_what_is_no_bundle_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("hello")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as target:
        target.writestr("readme.txt", "no model here")
    (folder / "model.safetensors").unlink()
    for path in (tmp_path / "nowhere", tmp_path / "file.txt", tmp_path / "empty.zip", tmp_path, folder):
        with pytest.raises(InputError) as seen:
            Bundle.load(path)
        assert seen.value.code == "no-bundle"


def test_card_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / "card.json").write_text("{")
    with pytest.raises(InputError) as seen:
        Bundle.load(folder)
    assert seen.value.code == "bundle-broken"


def test_cards_are_judged_by_the_cells_of_the_grid() -> None:
    assert _CELL == CELL


def test_tissue_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    bundle = with_tiny_head(tiny_bundle())
    bundle.save(tmp_path / "bundle")
    read = Bundle.load(tmp_path / "bundle")
    assert read.head_timesteps == (3, 40)
    assert read.tissues.keys() == bundle.tissues.keys()
    for name, array in bundle.tissues.items():
        np.testing.assert_array_equal(read.tissues[name], array)
    assert tiny_bundle().head_timesteps == ()


@pytest.mark.parametrize(
    ("arrays", "card", "seen"),
    [
        ({"bias": np.zeros(4, np.float32)}, {}, "do not fit together"),
        ({"mean": np.zeros(3, np.float32)}, {}, "do not fit together"),
        ({"weight": np.full((3, 5), np.nan, np.float32)}, {}, "no numbers"),
        ({"sd": np.zeros(50, np.float32)}, {}, "no numbers"),
        ({"more": np.zeros(3, np.float32)}, {}, "is not one"),
        ({}, {"timesteps": []}, "at which timesteps"),
        ({}, {"timesteps": [0, 3]}, "at which timesteps"),
        ({}, {"timesteps": [3, 250]}, "at which timesteps"),
        ({}, {"timesteps": [3]}, "do not fit together"),
        (None, {}, "is missing"),
    ],
)
def test_tissue_head_that_does_not_fit_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray] | None, card: dict[str, list[int]], seen: str
) -> None:
    bundle = with_tiny_head(tiny_bundle())
    bundle.card["tissues"] |= card
    bundle.tissues = {} if arrays is None else bundle.tissues | arrays
    bundle.save(tmp_path / "bundle")
    with pytest.raises(InputError, match=seen) as refused:
        Bundle.load(tmp_path / "bundle")
    assert refused.value.code == "bundle-broken"
