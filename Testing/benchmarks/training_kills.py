"""SIGKILL a short training at random moments, resume it by the same command, compare with an unbroken one.

    python Testing/benchmarks/training_kills.py --kills 50

The moments: an eighth while the CT are prepared, three fifths while it trains (every other one inside the
writing of a checkpoint), the rest while the population mixtures are fitted and the bundle is written. Every
fifth kill hits the main process alone, which must not leave the one that prepares patches; the others hit
all at once. After every kill all files with their final names must be whole. At the end: weights, optimiser,
log, prepared CT and bundle bit for bit as in the unbroken run, nothing half-written, no process, no
temporary file.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
from killing import Death, Training, differences, make_ct

STAGES = ("start", "prepare", "train", "population", "bundle")
Moment = tuple[Callable[[Training], bool], float]


def main() -> None:
    """Train once unbroken, then kill another training of the same command as often as asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        ct = make_ct(Path(folder) / "ct")
        unbroken, killed = (Training(ct, Path(folder) / n, options.steps) for n in ("unbroken", "killed"))
        unbroken.go()
        deaths: list[Death] = []
        while len(deaths) < options.kills:
            kill, delay_s = moment(len(deaths), options.kills, unbroken, killed, rng)
            death = killed.go(kill, delay_s=delay_s, group=len(deaths) % 5 != 4)
            print(f"# {death}", file=sys.stderr, flush=True)
            if death.stage != "end":
                deaths.append(death)
        killed.go()
        print("| killed in | kills | files that were half-written then |\n|---|---|---|")
        for stage in STAGES:
            names = Counter(
                name.split("/")[-1] for d in deaths if d.stage == stage for name in d.half_written
            )
            hit = ", ".join(f"{name} {count}" for name, count in names.most_common())
            print(f"| {stage} | {sum(d.stage == stage for d in deaths)} | {hit or 'none'} |")
        print(f"different from the unbroken run: {differences(killed, unbroken) or 'nothing'}")
        print(f"left over: {killed.leftovers() or 'nothing'}")


def moment(number: int, kills: int, unbroken: Training, killed: Training, rng: random.Random) -> Moment:
    """When to kill: a condition, and seconds after it."""
    share, seen = number / kills, unbroken.seen
    if share < 0.12:
        return lambda t: t.at("prepare"), rng.uniform(0.0, 0.5 * (seen["train"] - seen["prepare"]))
    if share < 0.72:
        done = max(0, killed.step()) / killed.steps
        left_s = (1.0 - done) * (seen["population"] - seen["prepare"]) / (0.72 * kills - number)
        after = rng.uniform(0.0, seen["prepare"] + 2.0 * left_s)
        if number % 2:
            return lambda t: t.for_seconds() > after, 0.0
        return lambda t: t.for_seconds() > after and t.writes("checkpoint.pt"), rng.uniform(0.0, 0.03)
    if number % 3:
        return lambda t: t.at("population"), rng.uniform(0.0, seen["bundle"] - seen["population"])
    return lambda t: t.at("bundle"), rng.uniform(0.0, 0.01)


if __name__ == "__main__":
    main()
