"""A batch whose files have odd names, and whose results and summary somebody spoilt between two runs."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from cohort import run_batch, statuses, summary
from smallchest import chest, quick_image, save, write_dicom

from DiffSegLungLib.commands.batch import BatchRequest
from DiffSegLungLib.commands.batch import run_batch as run_here
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.running.output_folder import OutputFolder
from DiffSegLungLib.running.session import Session


def test_odd_names_and_spoilt_results_cost_no_other_case(tmp_path: Path) -> None:
    source, target = tmp_path / "-o", tmp_path / "-o" / "out"
    source.mkdir()
    ct = save(quick_image(), tmp_path / "ct.nii.gz")
    long = "n" * 240 + ".nii.gz"
    for name in ("=1+1.nii.gz", "broken.nii.gz", long, os.fsdecode(b"\xff.nii.gz")):
        (source / name).write_bytes(ct.read_bytes())
    (source / "broken.nii.gz").write_bytes(b"x")
    code, _, err = run_batch(source, target)
    assert code == 1, err
    first = statuses(target)
    assert sorted(first.values()) == ["done", "done", "failed", "failed"]
    assert first["_=1+1"] == "done"
    assert "cannot be read" in summary(target)["_"]["message"], "ITK would have ended the process"
    result = target / "_=1+1" / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "config": None, "model": "x"}))
    (source / long).unlink()
    (source / long).symlink_to("gone")
    (target / "summary.csv").write_text("case,status\n" + "x" * (csv.field_size_limit() + 1) + ",done\n")
    code, said, err = run_batch(source, target)
    assert code == 1, err
    assert "result" in said[-1]
    assert sorted(statuses(target).values()) == ["failed", "failed", "refused", "refused"]
    assert "setting" in summary(target)["_=1+1"]["message"]


def test_every_folder_and_archive_has_a_line(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    write_dicom(source / "p1" / "ct", chest(), number=1)
    write_dicom(source / "p1" / "pet", chest(6), Modality="PT")
    (source / "p2.zip").write_bytes(b"PK\x03\x04")
    code, _, err = run_batch(source, target)
    assert code == 0, err
    assert statuses(target) == {"p1_ct": "done", "p1_pet": "skipped", "p2.zip": "skipped"}
    assert summary(target)["p1_pet"]["message"] == "It holds no CT but 6 objects of modality PT."
    assert "unpack it" in summary(target)["p2.zip"]["message"]


class _Silent:
    def progress(self, *_news: object) -> None: ...
    def result(self, *_news: object) -> None: ...
    def error(self, *_news: object) -> None: ...
    def note(self, *_news: object) -> None: ...


def test_of_two_that_start_together_none_works_beside_the_other(tmp_path: Path, monkeypatch) -> None:
    """The other one's folder appears after the first look and before our own is made."""
    save(quick_image(), tmp_path / "ct.nii.gz")
    target = tmp_path / "out"
    target.mkdir()
    opened = OutputFolder.__init__

    def late(self: OutputFolder, *arguments: object, **options: object) -> None:
        opened(self, *arguments, **options)
        (target / f"{self.path.name.removesuffix('-batch').rpartition('-')[0]}-1-batch").mkdir()

    monkeypatch.setattr(OutputFolder, "__init__", late)
    request = BatchRequest((tmp_path / "ct.nii.gz",), target, bundle="none")
    monkeypatch.setattr("DiffSegLungLib.commands.batch._checked_model", lambda _request: "")
    with pytest.raises(InputError) as refused:
        run_here(request, Session(_Silent()))
    assert refused.value.code == "batch-running"
    assert [item.name.rpartition("-")[0].rpartition("-")[2] for item in target.iterdir()] == ["1"]
