"""Measures DiffSegLung beside its rivals: every method on every case, in several processes, resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..config import Config
from ..errors import InputError
from ..io.cohort import find_cases
from ..io.fingerprint import fingerprint
from ..running.output_folder import OutputFolder, other_users
from ..talk import Talk
from .folder import EvaluationFolder, digest_of
from .methods import chosen_names
from .metrics import require_monai
from .pool import perform
from .readings import READINGS, ReadCT, find_readings, no_readings
from .sources import source_digest
from .suites import TRUTH_SUITES, WITHOUT_MODEL, CaseTask, Measurement, plan
from .writing import (
    ablation_section,
    describe_run,
    lungs_section,
    real_section,
    regions_section,
    truth_section,
    write_evaluation,
)

if TYPE_CHECKING:
    from ..model.bundle import Bundle
    from ..running.session import Session

GRACE_S = 6.0
"""What a cancelled evaluation needs to end its processes."""

_SHARES = {"phantom": 6.0, "lesions": 60.0, "real": 14.0, "regions": 3.0, "lungs": 4.0, "ablation": 40.0}
_MEASURED_BY = {
    "real": "evaluation/real.py",
    "regions": "evaluation/squares.py",
    "lungs": "evaluation/lung_mask.py",
}
"""The file whose imports the numbers of a suite depend on; all others depend on ``suites.py``."""

_LOCK = "evaluate"

NEEDING_MONAI = {*TRUTH_SUITES, "real", "ablation"}


@dataclass(frozen=True)
class EvaluationRequest:
    """What to measure, and how.

    Attributes:
        suites: names of suites, in order.
        sources: CT files, DICOM folders, or folders that are searched for both.
        output: the evaluation's folder; what is finished there is not measured again.
        config: the settings of the product.
        bundle: the model.
        jobs: cases at a time.
        cases: at most so many of each suite, None for all.
        methods: names of the methods where the truth is known; empty for all.
        undistilled: a model trained by noise prediction alone, for the rival that needs one.
        train: whether the ablations may make the short trainings that are missing, which takes hours.
        command: what the user typed, for the tables.
    """

    suites: tuple[str, ...]
    sources: tuple[Path, ...]
    output: Path
    config: Config = field(default_factory=Config)
    bundle: str = "default"
    jobs: int = 1
    cases: int | None = None
    methods: tuple[str, ...] = ()
    undistilled: str | None = None
    train: bool = False
    command: str = ""


class Ablations(Protocol):
    """What measures the ablations, a room above this one; see :func:`.ablation.run.run_ablation`."""

    def __call__(
        self,
        volumes: Sequence[Path],
        out: Path,
        *,
        bundle: str,
        config: Config,
        jobs: int,
        cases: int | None,
        training: bool,
        talk: Talk,
    ) -> Path:
        """Measure every switch and write the tables; the path of ``ablation.md``."""


def run_evaluation(request: EvaluationRequest, session: Session, ablations: Callable[[], Ablations]) -> None:
    """Measure every case that is not measured yet; write the tables.

    Args:
        request: what to measure.
        session: the command's life.
        ablations: gives what measures the suite ``ablation``.

    Raises:
        InputError: no CT or no readings where a suite needs them, readings in another form, an unknown
            method, a model or settings that cannot work, an output folder that cannot be written or that
            another evaluation is writing into.
        Cancelled: asked to stop; finished cases stay.
    """
    session.plan({"start": 1.0, **{suite: _SHARES[suite] for suite in request.suites}})
    session.grace_s = GRACE_S
    session.check("start")
    if set(request.suites) & NEEDING_MONAI:
        require_monai()
    read = find_readings(request.sources) if set(request.suites) & {"regions", "lungs"} else []
    if request.suites == ("regions",) and not read:
        raise no_readings(request.sources)
    volumes = _volumes(request, session)
    bundle = None
    if not set(request.suites) <= set(WITHOUT_MODEL):
        from ..segmentation.pipeline import Segmenter

        bundle = Segmenter(request.bundle, request.config).load_bundle()
    names = () if bundle is None else chosen_names(request.methods, bundle, request.undistilled)
    folder = EvaluationFolder(request.output.absolute())
    session.output = _only_one(request.output)
    folder.prepare()
    evaluation = _Evaluation(request, session, folder, bundle, names)
    for suite in request.suites:
        session.check(suite)
        if suite == "ablation":
            evaluation.ablate(ablations(), volumes)
        elif suite == "regions" and not read:
            session.display.note(no_readings(request.sources).message)
        else:
            evaluation.measure(suite, volumes, read)
    session.display.result(str(folder.table), f"Tables: {folder.table}\nNumbers: {folder.numbers}")


class _Evaluation:
    """One run of an evaluation."""

    def __init__(
        self,
        request: EvaluationRequest,
        session: Session,
        folder: EvaluationFolder,
        bundle: Bundle | None,
        names: tuple[str, ...],
    ) -> None:
        from ..model.library import load_model

        self._request = request
        self._session = session
        self._folder = folder
        self._model = None if bundle is None else {"name": bundle.name, "sha256": bundle.sha256}
        self._work = Measurement(names, request.bundle, request.config, folder.pictures, request.undistilled)
        self._plain_model = "" if request.undistilled is None else load_model(request.undistilled).sha256
        self._sources = {suite: _source(suite) for suite in request.suites}
        self._inputs: dict[Path, str] = {}

    def measure(self, suite: str, volumes: Sequence[Path], read: Sequence[ReadCT]) -> None:
        """Measure the cases of a suite that are not done, then write its tables."""
        tasks = [self._identified(task) for task in plan(suite, volumes, self._request.cases, read)]
        records = {task.name: self._done(task) for task in tasks}
        missing = [task for task in tasks if records[task.name] is None]
        failures = []
        before = len(tasks) - len(missing)
        self._progress(suite, before, len(tasks), 0, len(missing))
        talk = self._session.talk.at("the evaluation")
        outcomes = perform(missing, self._work, jobs=self._request.jobs, talk=talk)
        for number, outcome in enumerate(outcomes, start=1):
            task = outcome.task
            if outcome.error:
                failures.append(task.name)
                self._session.display.note(f"{task.name}: {outcome.error}")
                if self._session.debug:
                    self._session.display.note(outcome.trace)
            else:
                self._folder.write_case(suite, task.name, outcome.value)
                records[task.name] = self._folder.read_case(suite, task.name)
            self._progress(suite, before, len(tasks), number, len(missing))
        self._tell(suite, [record for record in records.values() if record is not None], failures)

    def ablate(self, ablations: Ablations, volumes: Sequence[Path]) -> None:
        """Run the ablations, which keep what they have finished by themselves."""

        def named(stage: str, fraction: float, text: str) -> None:
            self._session.progress(stage, fraction, f"ablation: {text}")

        table = ablations(
            list(volumes),
            self._folder.folder / "ablation",
            bundle=self._request.bundle,
            config=self._request.config,
            jobs=self._request.jobs,
            cases=self._request.cases,
            training=self._request.train,
            talk=replace(self._session.talk.at("ablation"), progress=named),
        )
        self._keep("ablation", ablation_section(table, self._described("ablation")))

    def _identified(self, task: CaseTask) -> CaseTask:
        """The task with the fingerprint of all that its numbers depend on."""
        for path in task.files:
            if path not in self._inputs:
                self._inputs[path] = str(fingerprint(path)["sha256"])
        content = "".join(self._inputs[path] for path in task.files)
        source = "" if isinstance(task.source, Path) else repr(task.source)
        parts: tuple[str, ...] = (self._sources[task.suite], content, source)
        if task.suite not in WITHOUT_MODEL and self._model is not None:
            parts += (self._model["sha256"], self._request.config.to_json())
        rivals = (self._work.methods, self._plain_model) if task.suite in TRUTH_SUITES else ()
        return replace(task, fingerprint=digest_of(task.suite, task.name, rivals, *parts))

    def _done(self, task: CaseTask) -> dict[str, Any] | None:
        known = self._folder.read_case(task.suite, task.name)
        return known if known is not None and known.get("fingerprint") == task.fingerprint else None

    def _progress(self, suite: str, before: int, all_: int, done: int, missing: int) -> None:
        fraction = done / missing if missing else 1.0
        self._session.progress(suite, fraction, f"{suite}: {before + done} of {all_} cases")

    def _tell(self, suite: str, records: list[dict[str, Any]], failures: list[str]) -> None:
        if failures:
            self._session.exit_code = 1
        if not records:
            raise InputError(
                "no-case", f"None of the cases of the suite {suite} could be measured.", "See above why."
            )
        run = self._described(suite) | {"failed": len(failures)}
        if _source(suite) != self._sources[suite]:
            self._session.display.note("The library was changed meanwhile; the same command measures again.")
        if suite in TRUTH_SUITES:
            self._keep(suite, truth_section(records, run, suite, self._folder))
        elif suite == "regions":
            self._keep(suite, regions_section(records, run, self._folder))
        elif suite == "lungs":
            self._keep(suite, lungs_section(records, run))
        else:
            self._keep(suite, real_section(records, run))

    def _described(self, suite: str) -> dict[str, Any]:
        model = None if suite in WITHOUT_MODEL else self._model
        return describe_run(self._request.command, model, self._request.jobs)

    def _keep(self, suite: str, section: dict[str, Any]) -> None:
        write_evaluation(self._folder, self._folder.read_suites() | {suite: section})


def _source(suite: str) -> str:
    """Digest of the code that the numbers of a suite depend on."""
    return source_digest(_MEASURED_BY.get(suite, "evaluation/suites.py"))


def _volumes(request: EvaluationRequest, session: Session) -> list[Path]:
    """The CT, where a suite needs any."""
    needing = [suite for suite in request.suites if suite not in ("phantom", "regions")]
    if not needing:
        return []
    if not request.sources:
        raise InputError(
            "no-data",
            f"The suite {needing[0]} needs CT and got none.",
            "Name a folder with --data, or CT files.",
        )
    found = find_cases(
        [_folder_of_ct(source) for source in request.sources],
        leave_out=request.output,
        going_on=lambda: session.check("start"),
    )
    return [case.path for case in found]


def _folder_of_ct(source: Path) -> Path:
    """A data set's folder also holds masks and the like; its CT lie in a folder of their own."""
    is_data_set = any((source / name).is_file() for name in ("index.csv", READINGS))
    return source / "ct" if is_data_set and (source / "ct").is_dir() else source


def _only_one(output: Path) -> OutputFolder:
    """A hidden folder that tells other evaluations that this one is at work in the same place."""
    if output.is_file():
        raise InputError("output-is-a-file", f"The output {output} is a file.", "Name a folder with -o.")
    _refuse(output, other_users(output, _LOCK))
    lock = OutputFolder(output / _LOCK, ())
    try:
        _refuse(output, [found for found in other_users(output, _LOCK) if found != lock.path])
    except InputError:
        lock.discard()
        raise
    return lock


def _refuse(output: Path, others: list[Path]) -> None:
    if others:
        raise InputError(
            "evaluation-running",
            f"Another evaluation is writing into {output}.",
            f"Wait until it has ended; if there is none any more, remove {others[0].name} there.",
        )
