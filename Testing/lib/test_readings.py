"""The suites of ``diffseglung evaluate`` that know real slices: readings of squares, and the lung mask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readings_folder import LUNG, READINGS, add_contours, make_data

from DiffSegLungLib.anatomy.lungs import segment_lungs
from DiffSegLungLib.commands.cli import main
from DiffSegLungLib.config import Config
from DiffSegLungLib.errors import InputError
from DiffSegLungLib.evaluation import harness, suites
from DiffSegLungLib.evaluation.lung_mask import MaskCase, measure_lungs
from DiffSegLungLib.evaluation.lung_mask_tables import lung_numbers, lung_tables
from DiffSegLungLib.evaluation.outside_ribs import outside_ribs_ml
from DiffSegLungLib.evaluation.pool import TaskOutcome
from DiffSegLungLib.evaluation.readings import ReadCT, Square, find_readings
from DiffSegLungLib.evaluation.square_results import TOGETHER, SquareResults
from DiffSegLungLib.evaluation.square_tables import draw_roc, square_tables
from DiffSegLungLib.evaluation.squares import measure_regions, said_of, said_of_squares
from DiffSegLungLib.evaluation.suites import contours, plan
from DiffSegLungLib.phantom.phantom import Phantom, generate_phantom

NAME = "ct/chest.nii.gz"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases are measured in this process, which has loaded everything."""
    monkeypatch.setattr(harness, "perform", lambda tasks, work, **_: [TaskOutcome(t, work(t)) for t in tasks])


def said(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def section(out: Path, suite: str) -> dict[str, Any]:
    return dict(json.loads((out / "evaluation.json").read_text())["suites"][suite])


def test_readings_are_found_from_the_folder_its_ct_and_one_file(small_ct: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", small_ct)
    for source in (data, data / "ct", data / "ct" / "chest.nii.gz"):
        (read,) = find_readings([source])
        assert read.volume == data / "ct" / "chest.nii.gz"
        assert list(read.slices) == [11, 13]
        assert read.slices[11][0] == Square((27, 33), (16, 22), "H")
    assert len(find_readings([data, data / "ct"])) == 1
    assert find_readings([data / "regions"]) == []
    assert find_readings([tmp_path]) == []


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ("{", "is no JSON"),
        ([], "holds no mapping"),
        ({}, "holds no mapping"),
        ({"ct/gone.nii.gz": {}}, "names ct/gone.nii.gz, which is not there"),
        ({NAME: []}, "no mapping of slices"),
        ({NAME: {}}, "gives no square of ct/chest.nii.gz"),
        ({NAME: {"-1": []}}, "'-1', which is no plain number"),
        ({NAME: {"007": []}}, "'007', which is no plain number"),
        ('{"ct/chest.nii.gz": {}, "ct/chest.nii.gz": {}}', "names 'ct/chest.nii.gz' twice"),
        ("[" * 100_000, "is no JSON"),
        ({"../ct/chest.nii.gz": {}}, "which is no plain path within the folder"),
        ({"ct//chest.nii.gz": {}}, "which is no plain path within the folder"),
        ({NAME: {"3": {}}}, "no list of squares"),
        ({NAME: {"3": [[*LUNG, "H"]]}}, "not [y0, y1, x0, x1, CODE, [READING, ...]]"),
        ({NAME: {"3": [[1.5, 4, 1, 4, "H", []]]}}, "not [y0, y1, x0, x1, CODE, [READING, ...]]"),
        ({NAME: {"3": [[4, 4, 1, 4, "H", []]]}}, "empty or negative square [4, 4, 1, 4] in slice 3"),
        ({NAME: {"3": [[-1, 4, 1, 4, "H", []]]}}, "empty or negative square"),
        ({NAME: {"3": [[*LUNG, "X", []]]}}, "unknown code 'X' in slice 3 of ct/chest.nii.gz"),
    ],
)
def test_readings_in_another_form_are_refused_in_one_sentence(
    content: Any, seen: str, small_ct: Path, tmp_path: Path
) -> None:
    data = make_data(
        tmp_path / "data", small_ct, content if isinstance(content, str) else json.dumps(content)
    )
    with pytest.raises(InputError, match=r"regions/regions\.json") as refused:
        find_readings([data])
    assert refused.value.code == "bad-readings"
    assert seen in refused.value.message


def test_squares_outside_the_ct_are_refused() -> None:
    read = ReadCT(Path("a.nii.gz"), {23: (Square((0, 64), (60, 64), "H"),)})
    read.require_within((24, 64, 64))
    for shape in ((23, 64, 64), (24, 63, 64), (24, 64, 63)):
        with pytest.raises(InputError, match=r"slice 23 of a\.nii\.gz"):
            read.require_within(shape)


def square(**voxels: int) -> np.ndarray:
    """A square of 100 voxels with so many of each class, the others outside the lungs."""
    ids = {"healthy": 1, "emphysema": 2, "ground_glass": 3, "consolidation": 5, "cavity": 6, "vessel": 7}
    values = [ids[name] for name, count in voxels.items() for _ in range(count)]
    return np.array(values + [0] * (100 - len(values)), np.uint8).reshape(10, 10)


def test_a_square_is_sick_from_a_quarter_of_its_labelled_voxels_on() -> None:
    assert said_of(square(healthy=76, consolidation=24)) == "H"
    assert said_of(square(healthy=75, consolidation=25)) == "C"
    assert said_of(square(healthy=60, vessel=16, consolidation=11, ground_glass=13)) == "H"
    assert said_of(square(healthy=60, consolidation=19, ground_glass=21)) == "G"
    # What is not labelled does not count: 5 of 20 voxels are a quarter.
    assert said_of(square(healthy=10, vessel=5, cavity=5)) == "K"


def test_a_square_of_which_less_than_a_tenth_is_labelled_lies_outside_the_lungs() -> None:
    assert said_of(square(emphysema=9)) == "-"
    assert said_of(square(emphysema=10)) == "E"
    assert said_of(square()) == "-"


def test_every_sensitivity_says_its_own() -> None:
    read = ReadCT(Path("a.nii.gz"), {1: (Square((0, 10), (0, 10), "G"), Square((0, 10), (10, 20), "V"))})

    def labels_at(sensitivity: float) -> np.ndarray:
        labels = np.ones((3, 10, 20), np.uint8)
        labels[1, : round(10 * sensitivity), :10] = 3  # so many rows of ten are ground glass
        return labels

    def probability(number: int) -> Any:
        return np.full(read_shape, 0.25 * number, np.float32)

    read_shape = labels_at(0.0).shape[1:]
    first, second = said_of_squares(read, labels_at, [0.0, 0.2, 0.5, 1.0], 0.2, probability)["1"]
    expected = {
        "box": [0, 10, 0, 10],
        "code": "G",
        "said": "HHGG",
        "labelled": 1.0,
        "disease": 0.2,
        "p": 0.25,
    }
    assert first == expected
    assert (second["code"], second["said"]) == ("V", "HHHH")


def case(name: str, *slices: str, points: tuple[float, ...] = (0.5,)) -> dict[str, Any]:
    """A measured CT; a slice is given as ``read>said`` words, ``said`` one letter a sensitivity."""
    made = {
        str(number): [
            {"p": 0.3, **dict(zip(("code", "said"), word.split(">"), strict=True))} for word in words.split()
        ]
        for number, words in enumerate(slices)
    }
    return {"case": name, "sensitivity": 0.5, "sensitivities": list(points), "slices": made}


def test_sensitivity_healthy_kept_and_balanced_accuracy_by_hand() -> None:
    ill = case("ill", "G>G G>F G>H C>C C>- H>H", "H>H H>E H>- U>C V>C")
    well = case("well", "H>H H>H", "H>H")
    results = SquareResults([well, ill])
    assert results.names == ("ill", "well")
    # Sick: G>G, G>F, C>C of five. Healthy, in the lungs: five of six kept. Named: G 1/3, C 1/2, H 5/6.
    assert results.sensitivity(TOGETHER).value == pytest.approx(3 / 5)
    assert results.healthy_kept(TOGETHER).value == pytest.approx(5 / 6)
    assert results.balanced_accuracy(TOGETHER).value == pytest.approx((1 / 3 + 1 / 2 + 5 / 6) / 3)
    assert results.healthy_kept("ill").value == pytest.approx(2 / 3)
    assert results.named("G").value == pytest.approx(1 / 3)
    assert np.isnan(results.sensitivity("well").value)
    rates = square_tables(results)[0][1].splitlines()
    assert rates[-1].startswith("| **together** | 60.0 [60.0, 60.0] (3/5) | 83.3 ")
    assert rates[-1].endswith("| 1 |")
    assert results.numbers()["ill"]["confusion"]["C"] == dict(
        zip("HEGFCK-", (0, 0, 0, 0, 1, 0, 1), strict=True)
    )


def test_the_roc_goes_through_the_operating_point(tmp_path: Path) -> None:
    points = (0.0, 0.5, 1.0)
    records = [case("a", "G>HGG C>HHC", "H>HHH H>HHE", points=points), case("b", "H>HHG", points=points)]
    results = SquareResults(records)
    found = [(0.0, 0.0, 1.0), (0.5, 0.5, 1.0), (1.0, 1.0, 1 / 3)]
    assert results.curve(TOGETHER) == [pytest.approx(point) for point in found]
    handle = dict(square_tables(results))["What the sensitivity does"].splitlines()[2:]
    assert handle[1] == "| **0.5** | 50.0 | 100.0 | 100.0 |"
    assert handle[2] == "| 1 | 100.0 | 33.3 | 0.0 |"
    name, caption = draw_roc(results, tmp_path)
    assert (tmp_path / name).stat().st_size > 10_000
    assert "sensitivity 0.5" in caption


def test_the_suite_of_readings_from_its_folder_to_its_tables(
    small_ct: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], in_process: None
) -> None:
    data, out = make_data(tmp_path / "data", small_ct), tmp_path / "out"
    arguments = ["evaluate", "--suite", "regions", "--data", str(data), "-o", str(out), "--json-progress"]
    assert main(arguments) == 0
    text = (out / "evaluation.md").read_text()
    assert "## Real slices that were read square by square" in text
    assert "|\n\n![ROC" in text
    assert "](evaluation/roc-regions.png)" in text
    assert (out / "evaluation" / "roc-regions.png").is_file()
    assert (out / "pictures" / "regions-chest.png").is_file()
    (file,) = (out / "cases").iterdir()
    squares = json.loads(file.read_text())["slices"]
    assert {*squares["11"][2]["said"], *squares["13"][1]["said"]} == {"-"}
    assert squares["11"][0]["labelled"] == 1
    assert 0 <= squares["11"][0]["disease"] <= 1
    rows = section(out, "regions")["numbers"]["together"]["confusion"]
    assert {code: sum(row.values()) for code, row in rows.items() if sum(row.values())} == {
        "H": 2,
        "G": 1,
        "C": 1,
    }
    assert rows["H"]["-"] == rows["G"]["-"] == 1

    # What is measured stays; other readings are measured anew.
    os.utime(file, (1, 1))
    assert main(arguments) == 0
    assert file.stat().st_mtime == 1
    (data / "regions" / "regions.json").write_text(json.dumps({NAME: {"11": READINGS[NAME]["11"]}}))
    assert main(arguments) == 0
    assert list(json.loads(file.read_text())["slices"]) == ["11"]


def test_a_folder_without_readings_is_refused_alone_and_passed_over_among_others(
    small_ct: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    in_process: None,
) -> None:
    out = str(tmp_path / "out")
    alone = ["evaluate", str(small_ct), "--suite", "regions", "-o", out, "--json-progress"]
    assert main(alone) == 2
    assert said(capfd)[-1]["error"]["code"] == "no-readings"
    gone = ["evaluate", "--data", str(tmp_path / "gone"), "--suite", "regions", "-o", out, "--json-progress"]
    assert main(gone) == 2
    assert said(capfd)[-1]["error"]["code"] == "no-such-file"
    monkeypatch.setattr(suites, "chosen_suites", lambda _: ("regions", "lungs"))
    monkeypatch.setattr(suites, "_phantoms", lambda *_: [])
    assert main(["evaluate", str(small_ct), "--suite", "all", "-o", out, "--json-progress"]) == 0
    assert "There are no readings of CT in chest.nii.gz" in capfd.readouterr().err
    assert "## The lung mask" in (tmp_path / "out" / "evaluation.md").read_text()


def test_contours_are_named_after_the_ct_or_its_patient(tmp_path: Path) -> None:
    for name in (
        "4d_113_tumour.nii.gz",
        "4d_113_phase40_node.nrrd",
        "4d_114_tumour.nii.gz",
        "4d_tumour.nii.gz",
    ):
        (tmp_path / "contours").mkdir(exist_ok=True)
        (tmp_path / "contours" / name).touch()
    found = contours(tmp_path / "ct" / "4d_113_phase40.nii.gz")
    assert [path.name for path in found] == ["4d_113_phase40_node.nrrd", "4d_113_tumour.nii.gz"]
    assert contours(tmp_path / "ct" / "other.nii.gz") == ()


def test_the_lung_mask_is_measured_on_contours_squares_and_a_drawn_mask(
    small_ct: Path, tmp_path: Path
) -> None:
    data = make_data(tmp_path / "data", small_ct)
    add_contours(data, small_ct)
    (task, *chests) = plan("lungs", [data / "ct" / "chest.nii.gz"], None, find_readings([data]))
    assert len(chests) == suites.PHANTOMS
    assert isinstance(task.source, MaskCase)
    assert [path.name for path in task.files] == ["chest.nii.gz", "chest_tumour.nii.gz"]
    found = measure_lungs(task.source)
    first, second = found["contours"]
    # 144 voxels of 3.5 mm; of label 3, 24 of 72 voxels lie in the lung.
    assert (first["ml"], first["inside"]) == (pytest.approx(144 * 3.5**3 / 1000), 1)
    assert (second["contour"], second["inside"]) == ("chest_tumour, label 3", pytest.approx(1 / 3))
    assert found["squares"] == [
        {"slice": 11, "code": "C", "covered": 1.0},
        {"slice": 13, "code": "G", "covered": 0.0},
    ]
    assert found["dice"] is None
    tables = dict(lung_tables([{"case": "chest", **found}]))
    assert any("| **together** | all | 2 | 50.0 | 1/2 |" in table for table in tables.values())
    assert lung_numbers([{"case": "chest", **found}])["mostly_covered"] == 1

    drawn = MaskCase(task.source.volume, lungs=task.source.contours[0])
    compared = measure_lungs(drawn)
    assert compared["inside"] == pytest.approx((144 + 24) / (144 + 72))


@pytest.fixture(scope="module")
def healthy_chest() -> Phantom:
    return generate_phantom(0, "small", lesions=False)


def ball(phantom: Phantom, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Voxels within so many mm of a point (left, posterior, superior) of the generated chest."""
    shape = phantom.ct.hu.shape
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    away = phantom.ct.geometry.world(index) - np.array(centre)
    return np.asarray((away**2).sum(axis=-1) < radius**2)


def test_nothing_of_a_clean_mask_lies_outside_the_ribs(healthy_chest: Phantom) -> None:
    ct = healthy_chest.ct
    assert outside_ribs_ml(ct, healthy_chest.lungs) == 0
    assert outside_ribs_ml(ct, segment_lungs(ct).mask) == 0
    assert outside_ribs_ml(ct, np.zeros_like(healthy_chest.lungs)) == 0
    # Neither the heart, nor the mediastinum, nor a rib counts.
    for centre in ((22.0, -28.0, -42.0), (0.0, 30.0, 0.0), (-130.0, 0.0, 0.0)):
        assert outside_ribs_ml(ct, healthy_chest.lungs | ball(healthy_chest, centre, 8.0)) == 0


@pytest.mark.parametrize(
    ("centre", "radius"),
    [
        ((148.0, 0.0, 0.0), 10.0),  # left side
        ((-148.0, 20.0, -40.0), 10.0),  # right side, lower
        ((90.0, -95.0, 0.0), 10.0),  # breast
        ((113.0, 84.0, 30.0), 5.0),  # left shoulder blade, with a rib before it
    ],
)
def test_a_blob_in_the_chest_wall_lies_outside_the_ribs(
    healthy_chest: Phantom, centre: tuple[float, float, float], radius: float
) -> None:
    blob = ball(healthy_chest, centre, radius)
    ml = np.count_nonzero(blob) * healthy_chest.ct.geometry.voxel_ml
    assert not (blob & healthy_chest.lungs).any()
    assert outside_ribs_ml(healthy_chest.ct, healthy_chest.lungs | blob) == pytest.approx(ml, rel=0.05)


def test_the_lung_mask_is_measured_without_torch(small_ct: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", small_ct)
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from DiffSegLungLib.commands.cli import main\n"
        "from DiffSegLungLib.evaluation import harness, suites\n"
        "from DiffSegLungLib.evaluation.pool import TaskOutcome\n"
        "harness.perform = lambda tasks, work, **_: [TaskOutcome(t, work(t)) for t in tasks]\n"
        "suites._phantoms = lambda *_: []\n"
        f"sys.exit(main(['evaluate', '--suite', 'lungs', '--data', {str(data)!r}, '-o', 'out']))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Without a model" in (tmp_path / "out" / "evaluation.md").read_text()


def test_readings_of_a_real_patient_are_scored(real_data: Path, tmp_path: Path) -> None:
    (read,) = find_readings([real_data / "ct" / "lung-pet-ct-dx_a0002_b40f.nii.gz"])
    measured = measure_regions(read, "default", Config(), picture=tmp_path / "squares.png")
    results = SquareResults([{"case": "a0002", **measured}])
    confusion = results.confusion("a0002")
    # 191 healthy squares and 7 with consolidation were read; a mass of 2 dl that nobody misses.
    assert confusion.sum(axis=1).tolist() == [191, 0, 0, 0, 7, 0]
    assert results.sensitivity("a0002").value >= 6 / 7
    assert results.healthy_kept("a0002").value >= 0.88
    assert (tmp_path / "squares.png").stat().st_size < 2_000_000


def test_the_contours_of_a_real_patient_are_measured(real_data: Path) -> None:
    ct = real_data / "ct" / "4d-lung_113_phase40.nii.gz"
    tumour, node = measure_lungs(MaskCase(ct, contours=contours(ct)))["contours"]
    assert (tumour["ml"], node["ml"]) == (pytest.approx(72.2, abs=0.1), pytest.approx(7.7, abs=0.1))
    assert tumour["inside"] > 0.1
