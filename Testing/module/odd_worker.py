"""Programs that stand in for the library's command and behave badly, each as an interpreter of its own.

A worker starts ``<python> -m DiffSegLungLib <arguments>``; these files are run in place of ``<python>`` and
ignore the arguments. What they print is the real protocol, or a spoilt one.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROLOGUE = """\
import json, os, signal, subprocess, sys, time
def say(**entry):
    print(json.dumps(entry), flush=True)
def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
say(stage="read", fraction=0.1, eta_s=None)
"""


def odd_worker(folder: Path, body: str) -> str:
    """Write such a program; the path to give as ``python``."""
    path = folder / "odd_python"
    path.write_text(f"#!{sys.executable}\n{PROLOGUE}{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)
