"""Which files and folders of a cohort are cases, and that their names are unique, stable and harmless."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from enhanced_ct import write_other
from smallchest import chest, write_dicom

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.io.cohort import find_cases, search
from DiffSegLungLib.io.fingerprint import fingerprint, is_same_input


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def named(*sources: Path, leave_out: Path | None = None) -> dict[str, Path]:
    return {case.name: case.path for case in find_cases(sources, leave_out=leave_out)}


def test_volumes_below_a_folder_are_cases_named_by_their_path(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "b.NRRD", "site 1/a.nii.gz", "site 1/deep/c.mhd", "site 1/deep/c.raw")
    assert named(tmp_path) == {
        "a": tmp_path / "a.nii.gz",
        "b": tmp_path / "b.NRRD",
        "site 1_a": tmp_path / "site 1" / "a.nii.gz",
        "site 1_deep_c": tmp_path / "site 1" / "deep" / "c.mhd",
    }


def test_what_is_no_ct_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "notes.txt", "a.seg.nrrd", ".hidden.nii", ".cache/b.nii", "scan.zip", "x.json")
    touch(tmp_path, "old/result.json", "old/labels.nii.gz", "old/entropy.nii.gz", "out/c/c.nii")
    assert named(tmp_path, leave_out=tmp_path / "out") == {"a": tmp_path / "a.nii"}


def test_a_dicom_folder_is_one_case_and_other_modalities_are_none(tmp_path: Path) -> None:
    write_dicom(tmp_path / "p1" / "ct", chest(6))
    write_dicom(tmp_path / "p1" / "mr", chest(6), Modality="MR")
    write_dicom(tmp_path / "p2", chest(6))
    write_dicom(tmp_path / "p2" / "second", chest(6), number=2)
    assert named(tmp_path) == {"p1_ct": tmp_path / "p1" / "ct", "p2": tmp_path / "p2"}
    assert named(tmp_path / "p2") == {"p2": tmp_path / "p2"}


def test_every_folder_and_archive_that_is_no_case_has_a_reason(tmp_path: Path) -> None:
    write_dicom(tmp_path / "p1" / "ct", chest(6))
    write_dicom(tmp_path / "p1" / "pet", chest(6), Modality="PT")
    write_dicom(tmp_path / "p2", chest(6))
    write_dicom(tmp_path / "p2" / "second", chest(6), number=2)
    write_dicom(tmp_path / "scout", chest(2), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (tmp_path / "dose").mkdir()
    write_other(tmp_path / "dose" / "1", "SR")
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "a.nii.gz", "a.zip", "papers/a.pdf", "papers/b.txt", "notes.txt", "p1/ct/readme.txt")
    touch(tmp_path, "old/result.json", "old/labels.nii.gz", "out/c/c.nii", ".hidden/x.txt", "bad/1.dcm")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "p1")
    cases, passed = search([tmp_path], leave_out=tmp_path / "out")
    assert [case.name for case in cases] == ["a", "bad", "p1_ct", "p2"], "what is damaged, its run explains"
    assert {one.name: one.reason for one in passed} == {
        "a.zip": "It is a packed archive: unpack it to have the CT in it segmented.",
        "dose": "It holds no CT but 1 object of modality SR.",
        "elsewhere": "It is a link to a folder, which is not followed: name that folder itself.",
        "empty": "It is empty.",
        "old": "It holds results or synthetic CT of this program.",
        "p1_pet": "It holds no CT but 6 objects of modality PT.",
        "p2_second": "It is read together with p2, which holds slices of its own.",
        "papers": "It holds no CT but 2 other files (.pdf, .txt).",
        "scout": "It holds no CT but 2 CT images that are localizers.",
    }


def test_where_there_is_no_case_at_all_the_reasons_are_told(tmp_path: Path) -> None:
    write_dicom(tmp_path / "pet", chest(6), Modality="PT")
    touch(tmp_path, "a.zip")
    with pytest.raises(
        InputError, match=r"a\.zip: It is a packed archive.* pet: It holds no CT but 6 objects"
    ):
        find_cases([tmp_path])
    with pytest.raises(InputError, match=r"There is no CT in pet\. It holds no CT but 6 objects"):
        find_cases([tmp_path / "pet"])


def test_names_that_would_collide_become_distinct_in_a_stable_way(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    touch(one, "a.nii", "a.nrrd", "x_y.nii", "x/y.nii", "B.nii")
    touch(two, "a.nii", "b.nii")
    names = named(one, two)
    assert len({name.casefold() for name in names}) == len(names) == 7
    assert names == named(one, two)
    assert names["two_a"] == two / "a.nii"
    assert {names[n] for n in ("one_B", "two_b")} == {one / "B.nii", two / "b.nii"}
    assert {n for n, path in names.items() if path.parent == one and path.stem == "a"} == {
        "one_a.nii",
        "one_a.nrrd",
    }


def test_synthetic_ct_are_nobodys(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b/sample-001.nii.gz", "c/samples.json", "c/sample-001.nii.gz", "c/lungs.nii.gz")
    touch(tmp_path, "c/sample-002.mhd")
    assert set(named(tmp_path)) == {"a", "b_sample-001", "c_lungs"}
    assert set(named(tmp_path / "c" / "sample-001.nii.gz")) == {"sample-001"}, "named itself"


def test_a_cohort_that_grows_keeps_its_names(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "s/b.nii")
    before = named(tmp_path)
    touch(tmp_path, "s/a.nii", "b.nii", "t/b.nii")
    assert before.items() <= named(tmp_path).items()


def test_a_file_named_itself_is_a_case_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "odd.dat")
    assert list(named(tmp_path / "odd.dat", tmp_path / "a.nii", tmp_path)) == ["odd.dat", "a"]


def test_names_are_fit_for_folders(tmp_path: Path) -> None:
    touch(tmp_path, 'we"ird:<n>?.nii', "...nii", "dots..nii")
    assert set(named(tmp_path)) == {"we_ird__n__", "dots"}


@pytest.mark.parametrize(("name", "code"), [("nowhere", "no-such-file"), ("empty", "no-cases")])
def test_nothing_to_do_is_an_error(name: str, code: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        find_cases([tmp_path / name])
    assert caught.value.code == code


def test_a_fingerprint_is_of_the_content_not_of_name_or_date(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.nii")
    known = fingerprint(tmp_path / "a.nii")
    assert is_same_input(tmp_path / "a.nii", known)
    assert is_same_input(tmp_path / "b.nii", known)
    (tmp_path / "b.nii").write_bytes(b"y")
    assert not is_same_input(tmp_path / "b.nii", {**known, "modified_ns": 0})
    assert not is_same_input(tmp_path / "a.nii", None)


def test_a_fingerprint_covers_detached_data_folders_and_choices(tmp_path: Path) -> None:
    touch(tmp_path, "a.mhd", "a.raw", "d/1.dcm", "d/2.dcm")
    header, series = fingerprint(tmp_path / "a.mhd"), fingerprint(tmp_path / "d")
    assert header["bytes"] == series["bytes"] == 2
    (tmp_path / "a.raw").write_bytes(b"y")
    (tmp_path / "d" / "2.dcm").write_bytes(b"y")
    assert fingerprint(tmp_path / "a.mhd")["sha256"] != header["sha256"]
    assert fingerprint(tmp_path / "d")["sha256"] != series["sha256"]
    chosen = fingerprint(tmp_path / "d", series="3")
    assert chosen["choice"] != fingerprint(tmp_path / "d", lungs=tmp_path / "a.raw")["choice"]
    assert not is_same_input(tmp_path / "d", chosen)


def test_names_harm_neither_a_spreadsheet_nor_a_command_nor_a_disk(tmp_path: Path) -> None:
    touch(tmp_path, "=1+1.nii", "-o.nii", "@x.nii", "CON.nii", "summary.csv.nii", "a\nb.nii")
    touch(tmp_path, "d" * 200 + "/" + "e" * 200 + "/c.nii")
    (tmp_path / os.fsdecode(b"\xff.nii")).write_bytes(b"x")
    names = set(named(tmp_path))
    assert {"_=1+1", "_-o", "_@x", "_CON", "_summary.csv", "a_b", "_"} < names
    assert all(len(name.encode()) <= 120 for name in names)


def test_results_are_no_cases_wherever_they_lie(tmp_path: Path) -> None:
    touch(tmp_path, "p/ct.nii", "p/result.json", "p/labels.nii.gz", "p/entropy.nii.gz", "out/x.nii")
    touch(tmp_path, "r/result.json", "r/labels.mhd", "r/entropy.mhd", "r/regions.mhd")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for output in (tmp_path / "p" / ".." / "out", tmp_path / "link"):
        assert list(named(tmp_path, leave_out=output)) == ["p_ct"]
    assert list(named(tmp_path / "p", leave_out=tmp_path / "p")) == ["ct"], (
        "the results may lie beside the CT"
    )


def test_a_folder_that_cannot_be_read_is_a_case_and_links_in_circles_end(tmp_path: Path, monkeypatch) -> None:
    touch(tmp_path, "a.nii", "closed/b.nii")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "loop.nii").symlink_to("loop.nii")
    scan = os.scandir

    def refusing(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert set(named(tmp_path)) == {"a", "closed", "loop"}
    assert not is_same_input(tmp_path / "loop.nii", {"bytes": 1, "choice": None})
