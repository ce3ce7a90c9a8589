"""The library's command in a memory: what another test has had segmented is copied, not computed again.

The same CT, settings and model give the same files (test_pipeline.py); so where a test is about what the
panel does with a result, the first one waits for the real process and the others for a copy of its files and
of what it said. Anything else than a success is run every time. Used as :mod:`odd_worker`'s programs are.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = """\
#!{python}
import hashlib, json, os, shutil, subprocess, sys
from pathlib import Path

memory, arguments = Path({memory!r}), sys.argv[1:]
target = Path(arguments[arguments.index("--output") + 1])
key = hashlib.sha256()
for word in arguments:
    path = Path(word)
    if path == target:
        continue
    files = sorted(path.parent.glob(path.stem + ".*")) if path.is_file() else []  # header and voxels
    for file in files:
        key.update(file.name.encode() + file.read_bytes())
    if not files:
        key.update(word.encode())
known = memory / key.hexdigest()
if not known.exists():
    said = []
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            said.append(line)
            print(line, end="", flush=True)
    if process.returncode:
        os._exit(process.returncode)
    aside = memory / (known.name + "." + str(os.getpid()))
    shutil.copytree(target, aside / "result")
    (aside / "said.json").write_text(json.dumps([line.replace(str(target), "TARGET") for line in said]))
    try:
        aside.rename(known)
    except OSError:  # another test was faster
        shutil.rmtree(aside)
else:
    shutil.copytree(known / "result", target)
    for line in json.loads((known / "said.json").read_text()):
        print(line.replace("TARGET", str(target)), end="", flush=True)
"""


def remembering_worker(folder: Path, memory: Path) -> str:
    """Write such a program; the path to give as ``python``."""
    path = folder / "remembering_python"
    path.write_text(PROGRAM.format(python=sys.executable, memory=str(memory)), encoding="utf-8")
    path.chmod(0o755)
    return str(path)
