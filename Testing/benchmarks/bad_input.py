"""Hand every malformed input to the command line and print what it says, as a markdown table.

Usage: python Testing/benchmarks/bad_input.py [options of `diffseglung segment`]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from malformed import MALFORMED, Malformed


def refusal(case: Malformed) -> tuple[dict[str, str], int, list[str]]:
    """The error that the command line reports, its exit code, and the files it left."""
    with tempfile.TemporaryDirectory() as work:
        given, out = Path(work, "in"), Path(work, "out")
        given.mkdir()
        path = case.build(given)
        before = set(Path(work).rglob("*"))
        command = [
            sys.executable,
            "-m",
            "DiffSegLungLib",
            "segment",
            str(path),
            "-o",
            str(out),
            "--json-progress",
            *sys.argv[1:],
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        left = sorted(str(p.relative_to(work)) for p in set(Path(work).rglob("*")) - before)
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        return (lines[-1].get("error") if lines else None) or {}, run.returncode, left


def main() -> int:
    """Print the table; returns 1 if any input was not refused cleanly."""
    failures = 0
    print("| input | message | exit code | files left |\n|---|---|---|---|")
    for case in MALFORMED:
        error, exit_code, left = refusal(case)
        failures += error.get("code") != case.code or exit_code != 2 or bool(left)
        said = f"{error.get('message', 'none')} {error.get('hint', '')}".strip()
        print(f"| {case.name} | {said} | {exit_code} | {', '.join(left) or 'none'} |", flush=True)
    print(f"\n{len(MALFORMED)} malformed inputs; {failures} without their code, exit code 2, a clean disk.")
    return int(failures > 0)


if __name__ == "__main__":
    raise SystemExit(main())
