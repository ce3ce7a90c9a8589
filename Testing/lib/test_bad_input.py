"""Every malformed input is refused by one sentence, with its own code, and leaves the disk as it was."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np
import pytest
from malformed import MALFORMED, Malformed
from smallchest import chest, image, save, write_dicom

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.ct import CT

REFUSED = [case for case in MALFORMED if not case.readable]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refused_with_one_sentence(
    case: Malformed, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = case.build(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    capfd.readouterr()

    with pytest.raises(InputError) as refusal:
        CT.read(path)

    assert refusal.value.code == case.code
    assert refusal.value.exit_code == 2
    # One sentence: a capital or a file name first, one full stop, at the end; so with the hint.
    for sentence in (refusal.value.message, refusal.value.hint):
        assert sentence.endswith(".")
        assert not re.search(r"[.!?]\s", sentence)
        assert "\n" not in sentence
        assert len(sentence) < 200
    # Nothing of ITK's wording, of this machine's folders or of the patient reaches the user.
    assert not re.search(r"\b(itk|exception|traceback|Doe|Jane|4711)\b", str(refusal.value), re.IGNORECASE)
    assert str(tmp_path) not in str(refusal.value)
    assert capfd.readouterr() == ("", "")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_list_is_long_and_each_entry_has_its_own_name() -> None:
    assert len(MALFORMED) >= 25
    assert len({case.name for case in MALFORMED}) == len(MALFORMED)


def damaged(content: bytes, header: int, rng: np.random.Generator) -> bytes:
    """A copy with one to twenty bytes of its header overwritten."""
    changed = bytearray(content)
    for place in rng.integers(0, min(header, len(content)), rng.choice([1, 2, 5, 20])):
        changed[place] = rng.choice([0, 45, 48, 57, 255, rng.integers(256)])  # "-", "0", "9" among them
    return bytes(changed)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_damaged_header_is_read_or_refused_and_nothing_else(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = save(image(chest(12)), tmp_path / f"scan{suffix}")
    content = path.read_bytes()
    for _ in range(40):
        path.write_bytes(damaged(content, 500, rng))
        with contextlib.suppress(InputError):
            assert CT.read(path).hu.ndim == 3


def test_damaged_dicom_headers_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scans = write_dicom(tmp_path / "scans", chest(6))
    content = {path: path.read_bytes() for path in scans.iterdir()}
    for _ in range(25):
        for path, whole in content.items():
            path.write_bytes(damaged(whole, 1400, rng))
        with contextlib.suppress(InputError):
            assert CT.read(scans).hu.ndim == 3


def test_ct_without_lungs_is_still_readable(tmp_path: Path) -> None:
    # Whether there are lungs is for the lung search to say, not for the reader.
    for case in MALFORMED:
        if case.readable:
            assert CT.read(case.build(tmp_path)).hu.ndim == 3
