"""A program in place of the library's ``train``: its files, protocol and signals, in seconds, no network.

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
PAUSE_S, LINES, FAILS, GAIN = {pause_s}, {lines}, {fails!r}, {gain}
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
    if not options.check:
        write("settings.json", dict(steps=options.steps, base=32, batch=4, patch=[16, 64, 64]))
        write("request.json", dict(name=options.name, parent=options.parent, device=options.device,
                                   sources=[str(p) for p in options.sources], data=options.data))
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

request, steps = read("request.json", None), min(read("settings.json", None)["steps"], 20 * LINES)
log = run / "log.jsonl"
entries = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
kept = read("checkpoint.pt", dict(step=0))["step"]
entries = [entry for entry in entries if entry["step"] <= kept]
log.write_text("".join(json.dumps(entry) + "\\n" for entry in entries))

def validation(step):
    learned = GAIN * (1 - math.exp(-step / 150))
    return dict(validation_noise=round(0.22 - 0.02 * learned, 4), retrieval_chance=0.004,
                retrieval_top1=round(0.25 + 0.08 * learned, 4),
                retrieval_top5=round(0.46 + 0.10 * learned, 4))

def add(entry):
    entries.append(entry)
    with log.open("a") as stream:
        stream.write(json.dumps(entry) + "\\n")

if not entries:
    write("checkpoint.pt", dict(step=0))
    add(dict(step=0, seconds=0.0, **validation(0)))
for step in range(entries[-1]["step"] + 20, steps + 1, 20):
    time.sleep(PAUSE_S)
    noise = round(0.21 + 0.03 * math.exp(-step / 200) + 0.004 * math.sin(step), 6)
    add(dict(step=step, noise=noise, contrast=2.0, seconds=step / 10, **{{"lambda": 0.3}},
             **(validation(step) if step % 60 == 0 else {{}})))
    say(stage="train", fraction=0.1 + 0.8 * step / steps, eta_s=(steps - step) / 10)
    if stopped:
        write("checkpoint.pt", dict(step=step))
        end_if_stopped()
    if options.minutes is not None and options.minutes < 0.01:
        break
write("checkpoint.pt", dict(step=entries[-1]["step"]))
say(stage="population", fraction=0.95, eta_s=1.0)
last = entries[-1]["step"]
result = dict(parent=request["parent"], steps=last, stopped="steps", before=validation(0))
if GAIN <= 0:
    write("result.json", dict(result, model=request["parent"], best_step=0, after=validation(0)))
    say(result=str(run / "result.json"))
    os._exit(0)
from DiffSegLungLib.model.archive import Packed
from DiffSegLungLib.model.library import Library
built_in = Library().read("built-in")
library = Library()
library.folder.mkdir(parents=True, exist_ok=True)
name = request["name"] + " 1"
card = {{**built_in.card, "id": request["name"], "version": "1"}}
Packed(card, built_in.weights).write(library.folder / (name + ".zip"))
write("result.json", dict(result, model=name, best_step=last, after=validation(last)))
say(result=str(run / "bundle"))
"""


def swift_trainer(
    folder: Path, *, pause_s: float = 0.02, lines: int = 20, fails: str = "", gain: float = 1.0
) -> str:
    """Write the program; the path to give as ``python``.

    Args:
        folder: where.
        pause_s: between two CT, and between two lines of the log.
        lines: of the log at most, 20 steps each.
        fails: a sentence to refuse every training with, once its CT are prepared.
        gain: what is learned; nothing is ever better than the parent where it is 0.
    """
    body = PROGRAM.format(checkout=str(CHECKOUT), pause_s=pause_s, lines=lines, fails=fails, gain=gain)
    return odd_worker(folder, body)
