"""A program in place of the library's ``train``: its files, protocol and signals, in seconds and without a network.

It writes what docs/training.md says of a run's folder; the model that it registers is the built-in one under
another name. Run as :mod:`odd_worker`'s programs are, in place of the interpreter.
"""

from __future__ import annotations

from pathlib import Path

from odd_worker import odd_worker

CHECKOUT = Path(__file__).resolve().parents[2]

PROGRAM = """
import argparse, math, pathlib
sys.path.insert(0, {checkout!r})
PAUSE_S, LINES, FAILS = {pause_s}, {lines}, {fails!r}
parser = argparse.ArgumentParser()
parser.add_argument("-m")
parser.add_argument("command")
parser.add_argument("sources", nargs="*", type=pathlib.Path)
for name in ("out", "resume"):
    parser.add_argument("--" + name, type=pathlib.Path)
parser.add_argument("--from", dest="parent")
for name in ("name", "data", "device"):
    parser.add_argument("--" + name)
parser.add_argument("--steps", type=int)
parser.add_argument("--minutes", type=float)
for name in ("check", "json-progress", "stop-with-stdin"):
    parser.add_argument("--" + name, action="store_true")
options = parser.parse_args()
run = options.resume or options.out
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))

def write(name, content):
    (run / ".part").write_text(json.dumps(content))
    (run / ".part").replace(run / name)

def read(name, otherwise):
    return json.loads((run / name).read_text()) if (run / name).is_file() else otherwise

def end_if_stopped():
    if stopped:
        say(error=dict(code="cancelled", message="The run was cancelled.", hint=""))
        os._exit(3)

def looked_at(path, number):
    header = path.read_text(errors="replace") if path.suffix == ".mhd" else ""
    usable = "DimSize = 64 64" in header if header else "broken" not in path.name
    return dict(file=path.name, patient=str(number), usable=usable,
                reason="" if usable else "It shows only 12 ml of lung.", lung_ml=4321.0 if usable else 12.0)

if options.out:
    paths = [p for s in options.sources for p in (sorted(s.iterdir()) if s.is_dir() else [s])]
    cohort = []
    for number, path in enumerate(paths):
        cohort.append(looked_at(path, number))
        write("cohort.json", cohort)
        say(stage="prepare", fraction=0.1 * (number + 1) / len(paths), eta_s=None)
        time.sleep(PAUSE_S)
        end_if_stopped()
    if options.check:
        say(result=str(run))
        os._exit(0)
    if FAILS:
        say(error=dict(code="no-volumes", message=FAILS, hint="Give more CT."))
        os._exit(2)
    write("settings.json", dict(steps=options.steps or 20 * LINES, base=32, batch=4, patch=[16, 64, 64]))
    write("request.json", dict(name=options.name, parent=options.parent, device=options.device,
                               sources=[p.name for p in options.sources], data=options.data))

request, steps = read("request.json", None), options.steps or read("settings.json", None)["steps"]
log = run / "log.jsonl"
entries = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
kept = read("checkpoint.json", dict(step=0))["step"]
entries = [entry for entry in entries if entry["step"] <= kept]
log.write_text("".join(json.dumps(entry) + "\\n" for entry in entries))

def validation(step):
    return dict(validation_noise=round(0.20 + 0.02 * math.exp(-step / 150), 4), retrieval_chance=0.004,
                retrieval_top1=round(0.25 + 0.08 * (1 - math.exp(-step / 150)), 4),
                retrieval_top5=round(0.46 + 0.10 * (1 - math.exp(-step / 150)), 4))

def add(entry):
    entries.append(entry)
    with log.open("a") as stream:
        stream.write(json.dumps(entry) + "\\n")

if not entries:
    add(dict(step=0, seconds=0.0, **validation(0)))
for step in range(entries[-1]["step"] + 20, steps + 1, 20):
    time.sleep(PAUSE_S)
    noise = round(0.21 + 0.03 * math.exp(-step / 200) + 0.004 * math.sin(step), 6)
    add(dict(step=step, noise=noise, contrast=2.0, seconds=step / 10, **{{"lambda": 0.3}},
             **(validation(step) if step % 60 == 0 else {{}})))
    say(stage="train", fraction=0.1 + 0.8 * step / steps, eta_s=(steps - step) / 10)
    if stopped:
        write("checkpoint.json", dict(step=step))
        end_if_stopped()
write("checkpoint.json", dict(step=entries[-1]["step"]))
say(stage="population", fraction=0.95, eta_s=1.0)
from DiffSegLungLib.model.archive import Packed
from DiffSegLungLib.model.library import Library
built_in = Library().read("built-in")
library = Library()
library.folder.mkdir(parents=True, exist_ok=True)
name = request["name"] + " 1"
Packed({{**built_in.card, "id": request["name"], "version": "1"}}, built_in.weights).write(library.folder / (name + ".zip"))
last = entries[-1]["step"]
write("result.json", dict(model=name, parent=request["parent"], best_step=last, steps=last, stopped="steps",
                          before=validation(0), after=validation(last)))
say(result=str(run / "bundle"))
"""


def swift_trainer(folder: Path, *, pause_s: float = 0.02, lines: int = 20, fails: str = "") -> str:
    """Write the program; the path to give as ``python``.

    Args:
        folder: where.
        pause_s: between two CT, and between two lines of the log.
        lines: of the log, 20 steps each, unless the command asks for a number of steps.
        fails: a sentence to refuse every training with.
    """
    body = PROGRAM.format(checkout=str(CHECKOUT), pause_s=pause_s, lines=lines, fails=fails)
    return odd_worker(folder, body)
