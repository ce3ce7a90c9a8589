"""One step of the training: milliseconds of each part, patches/s, and how much faster than an older checkout.

    python Testing/benchmarks/training_step.py --size medium --patch 16 64 64 --batch 2
    git worktree add ../first COMMIT && python Testing/benchmarks/training_step.py --against ../first

Both stages together, on generated lungs. Each measurement runs in a process of its own; with ``--against``,
old and new take turns, so that what else the machine does meets both, and the ratios are of the medians.
CPU seconds are those of the whole process: they hold on a busy machine, where wall time does not. The parts
are timed in runs of their own: CPU seconds, or, on a GPU, the seconds until it has finished each. On CUDA a
last line says how often the host waited for the device within one step.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 3
PARTS = ("data", "noise", "radiomics", "forward", "contrast", "backward", "optimizer", "EMA")


def main() -> None:
    """Measure this checkout, and the other one in turns with it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("small", "medium", "large"), default="large")
    parser.add_argument("--patch", type=int, nargs=3, default=(32, 96, 96))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20, help="measured steps of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="an older checkout to compare with")
    parser.add_argument("--one", choices=("speed", "parts"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options)))
        return
    if options.against and not (options.against / "DiffSegLungLib").is_dir():
        parser.error(f"{options.against} is no checkout: there is no DiffSegLungLib in it")
    checkouts = {"new": ROOT} | ({"old": options.against.resolve()} if options.against else {})
    medians = in_turns(checkouts, "speed", options.rounds)
    print(
        "| checkout | ms a step | CPU ms a step | patches/s | TFLOP/s of the network | share of the peak |\n"
        "|---|---|---|---|---|---|"
    )
    for name, m in medians.items():
        patches, tflops = 1000.0 * options.batch / m["wall_ms"], 1000.0 * m["tflop"] / m["wall_ms"]
        print(
            f"| {name} | {m['wall_ms']:.1f} | {m['cpu_ms']:.1f} | {patches:.2f} | {tflops:.3f} | "
            f"{100.0 * tflops / m['peak']:.0f} % of {m['peak']:.3f} |"
        )
    if options.against:
        wall, cpu = (medians["old"][k] / medians["new"][k] for k in ("wall_ms", "cpu_ms"))
        print(f"\nnew is {wall:.2f} times as fast by the clock, {cpu:.2f} times by CPU seconds\n")
    print(f"| ms a step, share | {' | '.join(PARTS)} |\n|---{'|---' * len(PARTS)}|")
    every = in_turns(checkouts, "parts", options.rounds)
    for name, parts in every.items():
        whole = sum(parts[part] for part in PARTS)
        cells = (f"{parts[part]:.1f}, {100 * parts[part] / whole:.0f} %" for part in PARTS)
        print(f"| {name} | {' | '.join(cells)} |")
    for name, parts in every.items():
        if "waits" in parts:
            print(f"{name}: the host waited {parts['waits']:.0f} times for the device in one step")


def in_turns(checkouts: dict[str, Path], what: str, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of measurements for which the checkouts take turns, in changing order."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for number in range(rounds):
        for name, checkout in list(checkouts.items())[:: -1 if number % 2 else 1]:
            seen[name].append(in_process(checkout, what))
    return {name: {k: statistics.median(r[k] for r in runs) for k in runs[0]} for name, runs in seen.items()}


def in_process(checkout: Path, what: str) -> dict[str, float]:
    """One measurement of a checkout, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, __file__, *sys.argv[1:], "--one", what]
    said = subprocess.run(command, env=environment, check=True, text=True, stdout=subprocess.PIPE)
    result: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return result


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Train for some steps; means a step after the first ones."""
    from DiffSegLungLib.talk import Talk
    from DiffSegLungLib.training.dataset import PatchDataset, PatchSettings
    from DiffSegLungLib.training.run_folder import RunFolder
    from DiffSegLungLib.training.settings import TrainingSettings
    from DiffSegLungLib.training.store import PreparedVolume
    from DiffSegLungLib.training.trainer import Trainer

    device = torch.device(options.device)
    settings = TrainingSettings(
        base={"small": 16, "medium": 32, "large": 64}[options.size],
        steps=10_000, patch=tuple(options.patch), batch=options.batch, precision=options.precision,
        stage_two=0, full_weight=0, workers=0, checkpoint_minutes=1e6, validate_every=10_000,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        lungs = PreparedVolume(lungs_in(Path(folder)), "generated", "p", "generated")
        patches = PatchDataset([lungs], PatchSettings(settings.patch))
        trainer = Trainer(settings, patches, None, RunFolder(Path(folder) / "run"), device)
        timer = Timer(device)
        if options.one == "parts":
            timer.watch()
        marks: list[tuple[int, float, float]] = []

        def counted() -> bool:
            # The first version asks every 20 steps only, whence the steps are the trainer's, not the calls'.
            if len(marks) == 2:
                return True
            due = marks[0][0] + options.steps if marks else WARM_UP
            if trainer.step < due:
                return False
            if not marks:
                timer.spent.clear()
            timer.wait()
            marks.append((trainer.step, time.perf_counter(), time.process_time()))
            return len(marks) == 2

        try:
            trainer.fit(talk=Talk(cancelled=counted))
        except Exception as error:
            if type(error).__name__ != "Cancelled":
                raise
        done, *spent = (after - before for before, after in zip(*marks, strict=True))
        wall, cpu = (1000.0 * seconds / done for seconds in spent)
        result = {"wall_ms": wall, "cpu_ms": cpu, "tflop": tflop(settings, device)}
        if options.one == "speed":
            result["peak"] = peak(device, bf16(settings, device))
        if options.one == "parts":
            result |= {part: 1000.0 * timer.spent.get(part, 0.0) / done for part in PARTS}
            timer.device = torch.device("cpu")  # its own waits are not the step's
            result |= waits(trainer) if device.type == "cuda" else {}
    return result


class Timer:
    """Adds up the seconds spent in functions that old and new checkouts share, under the name of a part."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.clock = time.perf_counter if device.type == "cuda" else time.process_time
        self.spent: dict[str, float] = {}

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def watch(self) -> None:
        """Time the parts from now on."""
        from DiffSegLungLib.model.network import NoiseUNet
        from DiffSegLungLib.training import dataset, trainer

        self._time(dataset.PatchDataset, "__getitem__", "data")
        self._time(NoiseUNet, "forward", "forward")
        self._time(torch.Tensor, "backward", "backward")
        self._time(torch.optim.Adam, "step", "optimizer")
        try:
            from DiffSegLungLib.training import learner
        except ImportError:  # the first version
            self._time(trainer, "block_descriptors", "radiomics")
            self._time(trainer.Trainer, "_noise", "noise")
            self._time(trainer.Trainer, "_contrast", "contrast", without="radiomics")
            self._time(torch.optim.swa_utils.AveragedModel, "update_parameters", "EMA")
        else:
            self._time(learner, "block_descriptors", "radiomics")
            self._time(learner.Learner, "noise", "noise")
            self._time(learner.Learner, "lesson", "contrast", without="radiomics")
            self._time(learner.Learner, "_contrast", "contrast")
            self._time(learner.Learner, "_embed", "contrast")
            self._time(learner.Learner, "_follow", "EMA")

    def _time(self, owner: Any, name: str, part: str, *, without: str | None = None) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.wait()
            begun, before = self.clock(), self.spent.get(without or "", 0.0)
            out = inner(*args, **kwargs)
            self.wait()
            nested = self.spent.get(without or "", 0.0) - before
            self.spent[part] = self.spent.get(part, 0.0) + self.clock() - begun - nested
            return out

        setattr(owner, name, timed)


def tflop(settings: Any, device: torch.device) -> float:
    """Multiplications and additions of the network in one step, forward and backward, in 10¹²."""
    from torch.utils.flop_counter import FlopCounterMode

    from DiffSegLungLib.model.network import Architecture, NoiseUNet

    with torch.device("meta"):
        network = NoiseUNet(Architecture(settings.base, settings.attention_heads, settings.timesteps))
        x = torch.empty(settings.batch, 2, *settings.patch)
        t = torch.zeros(settings.batch, dtype=torch.long)
        counter = FlopCounterMode(display=False)
        with counter:
            network(x, t)[0].sum().backward()
    return counter.get_total_flops() / 1e12


def bf16(settings: Any, device: torch.device) -> bool:
    """Whether the network computes in bfloat16."""
    from DiffSegLungLib.model.network import bfloat16_pays

    return settings.precision == "bf16" or (settings.precision == "auto" and bfloat16_pays(device))


def peak(device: torch.device, in_bf16: bool) -> float:
    """TFLOP/s of a large matrix product in the network's arithmetic: what this device really reaches."""
    size = 8192 if device.type == "cuda" else 2048
    left = torch.randn(size, size, device=device, dtype=torch.bfloat16 if in_bf16 else torch.float32)
    timer, seconds = Timer(device), []
    for _ in range(12):
        timer.wait()
        begun = time.perf_counter()
        left @ left
        timer.wait()
        seconds.append(time.perf_counter() - begun)
    return 2.0 * size**3 / min(seconds) / 1e12


def waits(trainer: Any) -> dict[str, float]:
    """How often the host waits for the device in one step, as CUDA tells."""
    of_first_version = () if hasattr(trainer, "learner") else (trainer.training,)
    batch = next(trainer._batches(*of_first_version, trainer.step, trainer.step + 1))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        trainer._train_step(batch)
        torch.cuda.set_sync_debug_mode("default")
    return {"waits": float(sum("synchroniz" in str(w.message) for w in told))}


def lungs_in(folder: Path) -> Path:
    """A prepared volume of smooth random lung."""
    rng = np.random.default_rng(0)
    hu = np.kron(rng.normal(-850, 60, (12, 16, 16)), np.ones((8, 12, 12)))
    np.save(folder / "hu.npy", (hu + rng.normal(0, 20, hu.shape)).astype(np.int16))
    np.save(folder / "lungs.npy", np.ones(hu.shape, bool))
    return folder


if __name__ == "__main__":
    main()
