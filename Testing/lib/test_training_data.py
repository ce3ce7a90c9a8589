"""What is trained on: which CT are found, whose they are, what is said of the others."""

from __future__ import annotations

import os
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from smallchest import chest, image, save, write_dicom

from DiffSegLungLib.errors import InputError
from DiffSegLungLib.talk import Talk
from DiffSegLungLib.training.candidates import Candidate
from DiffSegLungLib.training.dataset import split_by_patient
from DiffSegLungLib.training.patients import numbered, patient_groups, patient_of, read_patients
from DiffSegLungLib.training.run import TrainingRequest, _begun, check
from DiffSegLungLib.training.run_folder import RunFolder
from DiffSegLungLib.training.settings import TrainingSettings
from DiffSegLungLib.training.store import find_volumes, prepare_store


def test_two_kernels_of_one_scan_are_one_patient() -> None:
    assert patient_of(Path("a0001_body.nii.gz")) == patient_of(Path("a0001_lung.nii.gz"))
    assert patient_of(Path("case_001.nii.gz")) != patient_of(Path("case_002.nii.gz"))


def test_training_files_are_found_and_a_wrong_folder_is_named(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nrrd", "notes.txt", "lungs.seg.nrrd"):
        (tmp_path / name).touch()
    for slice_file in sorted(write_dicom(tmp_path / "series", chest(2)).iterdir()):
        slice_file.rename(slice_file.with_suffix(""))
    assert [p.name for p in find_volumes([tmp_path])] == ["a.nii.gz", "b.nrrd", "series"]
    with pytest.raises(InputError, match="does not exist"):
        find_volumes([tmp_path / "nowhere"])


def test_patients_are_told_by_dicom_then_by_name_then_by_folder(tmp_path: Path) -> None:
    hu = chest(2)
    series = [
        write_dicom(tmp_path / "a" / "CT", hu, PatientID="1"),
        write_dicom(tmp_path / "b" / "CT", hu, PatientID="2"),
        write_dicom(tmp_path / "c" / "CT", hu, PatientID="2"),
        write_dicom(tmp_path / "d" / "CT", hu, PatientID=""),
    ]
    groups = [patient_groups(series)[path] for path in series]
    assert groups[1] == groups[2]
    assert len(set(groups)) == 3
    files = [tmp_path / folder / name for folder in "ab" for name in ("ct_b40f.nrrd", "ct_b70f.nrrd")]
    groups = [patient_groups(files)[path] for path in files]
    assert groups[0] == groups[1] != groups[2] == groups[3], "every folder holds the same: they are patients"


def test_one_patients_series_stay_together_wherever_they_lie(tmp_path: Path) -> None:
    series = [write_dicom(tmp_path / study / "CT", chest(2), PatientID="1") for study in "ab"]
    groups = patient_groups(series)
    assert groups[series[0]] == groups[series[1]], "two folders are not two patients"


@pytest.mark.parametrize("text", [
    "file,patient\na/ct.nii.gz,1\nb/ct.nii.gz,2\nother.nrrd,2\n",
    "\ufefffile;patient\r\na\\ct.nii.gz;1\r\nb\\ct.nii.gz;2\r\nother.nrrd;2\r\n",
    " Patient\tFILE\tnote\n1\ta/ct.nii.gz\n2\tb/ct.nii.gz\tx\n2\tother.nrrd\tx\ty\n",
])  # fmt: skip
def test_a_list_of_patients_is_read_as_spreadsheets_write_it(tmp_path: Path, text: str) -> None:
    paths = [tmp_path / "a" / "ct.nii.gz", tmp_path / "b" / "ct.nii.gz", tmp_path / "x" / "other.nrrd"]
    (tmp_path / "patients.csv").write_bytes(text.encode())
    groups = read_patients([tmp_path], paths)
    assert groups[paths[0]] != groups[paths[1]] == groups[paths[2]]


@pytest.mark.parametrize("content", [b"name,patient\na,1\n", b"file,patient\nM\xfcller,1\n", b""])
def test_a_list_of_patients_that_cannot_be_understood_is_not_passed_over(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "patients.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"The list patients\.csv"):
        read_patients([tmp_path], [tmp_path / "a.nrrd"])


def test_a_list_of_patients_that_names_no_ct_is_refused(tmp_path: Path) -> None:
    listing = tmp_path / "patients.csv"
    listing.write_text("file,patient\nct/scan1.nrrd,1\n")
    with pytest.raises(InputError, match="names none of the 2 CT there") as refused:
        read_patients([tmp_path], [tmp_path / "a.nrrd", tmp_path / "b.nrrd"])
    assert "such as a.nrrd" in refused.value.hint
    with pytest.raises(InputError, match="names none of the 1 CT there"):
        read_patients([tmp_path], [tmp_path / "scan1.nrrd"])
    listing.write_text("file,patient\nscan1.nrrd,1\n")
    assert read_patients([tmp_path], [tmp_path / "ct" / "scan1.nrrd"]), "a name is enough"
    elsewhere = tmp_path / "other" / "x.nrrd"
    assert read_patients([elsewhere], [elsewhere]) == {}, "a list says nothing about other folders"


@pytest.mark.parametrize("listed", ["Müller/a.nii", "Müller\\a.nii"])
def test_an_umlaut_is_the_same_however_it_is_stored(tmp_path: Path, listed: str) -> None:
    place = tmp_path / unicodedata.normalize("NFD", "Müller")
    place.mkdir()
    (place / "a.nii").touch()
    (tmp_path / "b.nii").touch()
    (tmp_path / "patients.csv").write_text(f"file,patient\n{listed},1\nb.nii,1\n", encoding="utf-8")
    groups = read_patients([tmp_path], find_volumes([tmp_path]))
    assert len(groups) == 2
    assert len(set(groups.values())) == 1


def test_a_line_that_names_a_place_says_nothing_about_other_places(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("file,patient\np1/ct.nii.gz,P1\n")
    paths = [tmp_path / "p1" / "ct.nii.gz", tmp_path / "p2" / "ct.nii.gz"]
    assert list(read_patients([tmp_path], paths)) == paths[:1]


def test_a_list_that_gives_a_ct_two_patients_is_refused(tmp_path: Path) -> None:
    listing = tmp_path / "patients.csv"
    listing.write_text("file,patient\na.nrrd,1\na.nrrd,1\n")
    assert read_patients([tmp_path], [tmp_path / "a.nrrd"])
    listing.write_text("file,patient\na.nrrd,1\na.nrrd,2\n")
    with pytest.raises(InputError, match=r"gives a\.nrrd two patients"):
        read_patients([tmp_path], [tmp_path / "a.nrrd"])


def test_a_name_that_recurs_in_another_folder_is_no_patient(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("p1/baseline.nii.gz", "p1/followup_b40f.nii.gz")]
    files += [tmp_path / name for name in ("p2/baseline.nii.gz", "p3/followup_b70f.nii.gz")]
    groups = patient_groups(files)
    assert groups[files[0]] == groups[files[1]]
    assert len({groups[path] for path in files}) == 3
    flat = [tmp_path / name for name in ("a_soft.nrrd", "a_lung.nrrd", "b.nrrd")]
    groups = patient_groups(flat)
    assert groups[flat[0]] == groups[flat[1]] != groups[flat[2]]


def test_groups_are_numbers_that_keep_a_split(tmp_path: Path) -> None:
    """A digest of a PatientID could be found by trying all; the order decides who is held out."""
    series = [write_dicom(tmp_path / str(i), chest(2), PatientID=str(i)) for i in range(12)]
    groups = patient_groups(series)
    numbers = numbered(groups)
    assert sorted(set(numbers.values())) == [f"{i:02}" for i in range(1, 13)]
    assert sorted(series, key=groups.__getitem__) == sorted(series, key=numbers.__getitem__)


def test_no_digest_of_a_patient_is_kept_or_told(tmp_path: Path) -> None:
    write_dicom(tmp_path / "ct" / "one", chest(), PatientID="4711")
    run, said = RunFolder(tmp_path / "run"), []

    def looked_at(seen: list[Candidate]) -> None:
        run.remember_cohort(seen)
        said.append(seen[-1].told)

    volumes, _ = prepare_store([tmp_path / "ct"], run.store, looked_at=looked_at)
    assert [v.patient for v in volumes] == [one.patient for one in run.cohort()] == ["1"]
    digest = next(iter(patient_groups([tmp_path / "ct" / "one"]).values()))
    assert len(said) == 1 and said[0].startswith("one: ready, ") and said[0].endswith(" ml of lung")
    assert all(digest.encode() not in f.read_bytes() for f in tmp_path.rglob("*.json"))


def test_a_run_of_the_first_version_keeps_its_split(tmp_path: Path) -> None:
    """It told patients apart by file names alone: none was held out of these two, nor may one be now."""
    for i, folder in enumerate("ab"):
        (tmp_path / "ct" / folder).mkdir(parents=True)
        save(image(chest(seed=i), spacing=(3.0, 3.0, 3.0)), tmp_path / "ct" / folder / "ct.nii.gz")
    run = RunFolder(tmp_path / "run")
    run.checkpoint.touch()
    request = TrainingRequest((tmp_path / "ct",), run.folder, TrainingSettings())
    for _ in range(2):
        volumes = _begun(request, run, Talk())
        assert len(volumes) == 2
        assert split_by_patient(volumes, 0.3, 0)[1] == []
    assert run.request()["name"] == "own", "from now on it can be resumed"
    new = RunFolder(tmp_path / "new")
    assert split_by_patient(_begun(replace(request, out=new.folder), new, Talk()), 0.3, 0)[1]


def test_the_same_ct_twice_counts_once(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        save(image(chest(), spacing=(3.0, 3.0, 3.0)), tmp_path / name)
    usable, refused = prepare_store([tmp_path], tmp_path / "store")
    assert [v.name for v in usable] == ["a.nii.gz"]
    assert [(one.file, one.reason) for one in refused] == [("b.nii.gz", "It is the same CT as a.nii.gz.")]


def test_which_of_several_series_is_trained_on_is_said(tmp_path: Path) -> None:
    write_dicom(tmp_path / "ct" / "scans", chest(), number=1)
    write_dicom(tmp_path / "ct" / "scans", chest(30, seed=1), number=2)
    request = TrainingRequest((tmp_path / "ct",), tmp_path / "run", TrainingSettings())
    for time_of_asking in ("first", "again"):
        said: list[str] = []
        check(request, Talk(note=said.append))
        assert len(said) == 1, time_of_asking
        assert said[0].startswith("scans: The folder holds CT series 1 (24 slices")
        assert said[0].endswith("series 2 was read.")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes for a name")
def test_one_name_that_cannot_be_read_does_not_end_the_training_of_the_others(tmp_path: Path) -> None:
    save(image(chest(), spacing=(3.0, 3.0, 3.0)), tmp_path / "a.nii.gz")
    (tmp_path / os.fsdecode(b"M\xfcller.nii.gz")).write_bytes((tmp_path / "a.nii.gz").read_bytes())
    write_dicom(tmp_path / "series", chest(seed=1))
    slices = tmp_path / "series" / "01-001.dcm"
    slices.rename(slices.with_name(os.fsdecode(b"sch\xfctz.dcm")))
    usable, refused = prepare_store([tmp_path], tmp_path / "store")
    # Slices that are not compressed are read whatever their names.
    assert [v.name for v in usable] == ["a.nii.gz", "series"]
    assert [(one.file, one.reason) for one in refused] == [
        ("M?ller.nii.gz", "The path of M?ller.nii.gz holds characters that cannot be read."),
    ]
