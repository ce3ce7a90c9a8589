"""Python processes that need not import torch again: each is forked from one that has imported it already.

Three of four seconds of a small command are imports, and the tests start dozens. :class:`WarmPopen` is
:class:`subprocess.Popen` for commands of this interpreter: its process is a real one, a child of whoever asks
for it, with a pid, a session, an environment, pipes and signals of its own; spared are the start of the
interpreter and the imports. A test about these takes Popen, and so does one that looks at an environment from
outside, where the system tells that of the forking process. In a warm process Popen itself is warm: what a
command starts is so as well. Elsewhere than on Linux WarmPopen is Popen.

This module, run as a program, is what forks: one such process for each process of the test run.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import inspect
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
import weakref
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
_PR_SET_CHILD_SUBREAPER = 36
_LONGEST = 1 << 17
_cold = subprocess.Popen
_start = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


class WarmPopen(subprocess.Popen):  # type: ignore[type-arg]
    """Starts commands of this interpreter, and programs that name it in their first line, warm."""

    def _execute_child(self, *given: Any) -> None:
        asked = _start.bind(self, *given).arguments
        command = asked["args"]
        command = [command] if isinstance(command, str) else [os.fsdecode(word) for word in command]
        if sys.platform != "linux" or asked["shell"] or asked["pass_fds"] or not _of_python(command):
            return super()._execute_child(*given)
        streams = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [number if stream == -1 else stream for number, stream in enumerate(streams)]
        environment = os.environ if asked["env"] is None else asked["env"]
        order = {
            "command": command,
            "environment": {os.fsdecode(k): os.fsdecode(v) for k, v in environment.items()},
            "folder": os.fspath(asked["cwd"] or Path.cwd()),
            "session": asked["start_new_session"],
        }
        try:
            self.pid = _fork(order, streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(*(asked[name] for name in _PIPES))  # type: ignore[attr-defined]
        return None


_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


def _of_python(command: list[str]) -> bool:
    if command[0] == sys.executable:
        return command[1] in ("-m", "-c", "-u") or not command[1].startswith("-")
    with contextlib.suppress(OSError, UnicodeDecodeError), open(command[0], "rb") as program:  # noqa: PTH123
        return program.readline().decode().strip() == f"#!{sys.executable}"
    return False


def _fork(order: dict[str, Any], streams: list[int]) -> int:
    """The pid of a new child of this process that carries out the order, by a fork of a warm process."""
    if subprocess.Popen is WarmPopen:  # this one is warm
        pid = os.fork()
        if pid == 0:
            _become(order, streams)
        return pid
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # whose parent ends is then a child of this process
    try:
        _forker().sendmsg(
            [json.dumps(order).encode()],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))],
        )
        answer = _forker().recv(64)
        if not answer:
            raise OSError("The process that forks warm ones has ended.")
        return int(answer)
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@functools.cache
def _forker() -> socket.socket:
    """The way to the forking process, which ends when the other end of it is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths}
        forker = _cold(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment
        )
    ours.recv(64)  # it is ready

    def end() -> None:
        ours.close()
        forker.wait()

    atexit.register(end)
    return ours


def start() -> None:
    """Have the forking process started, so that it is none of the processes that come later."""
    if sys.platform == "linux":
        _forker()


def _serve(orders: socket.socket) -> None:
    """Fork for every order, by a process between that ends at once: the new one's parent is then another."""
    orders.send(b"ready")
    while True:
        message, beside, _, _ = orders.recvmsg(_LONGEST, socket.CMSG_SPACE(3 * 4))
        if not message:
            return
        streams = list(array.array("i", beside[0][2]))
        numbers, orphaned = os.pipe(), os.pipe()
        between = os.fork()
        if between == 0:
            new = os.fork()
            if new == 0:
                orders.close()
                os.close(orphaned[1])
                os.read(orphaned[0], 1)  # until nobody is left who could write
                for end in (*numbers, orphaned[0]):
                    os.close(end)
                _become(json.loads(message), streams)
            os.write(numbers[1], str(new).encode())
            os._exit(0)
        os.waitpid(between, 0)
        orders.send(os.read(numbers[0], 64))
        for end in (*numbers, *orphaned, *streams):
            os.close(end)


def _become(order: dict[str, Any], streams: list[int]) -> NoReturn:
    """Make this fork what a new interpreter would be that was given the command, and run it to its end."""
    code = 1
    try:
        if order["session"]:
            os.setsid()
        copies = [os.dup(stream) for stream in streams]
        for number, copy in enumerate(copies):
            os.dup2(copy, number)
        os.closerange(3, 1024)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        tempfile.tempdir = None
        random.seed()
        weakref.finalize._registry.clear()  # type: ignore[attr-defined] # others' temporary folders
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:] = [*(path for path in paths if path), *_home_paths()]
        encoding, _, errors = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
        sys.stdin = open(0, encoding=encoding, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding=encoding, errors=errors or "strict", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
        code = _run(order["command"])
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
        os._exit(code)


def _run(command: list[str]) -> int:
    words = [word for word in command[1:] if word != "-u"] if command[0] == sys.executable else command
    try:
        if words[0] == "-m":
            sys.argv = ["-m", *words[2:]]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            main = types.ModuleType("__main__")
            sys.modules["__main__"] = main
            exec(compile(words[1], "<string>", "exec"), vars(main))
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).resolve().parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)  # noqa: T201
        return 1
    return 0


@functools.cache
def _home_paths() -> tuple[str, ...]:
    """Where this installation's modules are, whatever PYTHONPATH says."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return tuple(path for path in sys.path if path not in given and Path(path) != Path(__file__).parent)


_IMPORTS = (
    *("matplotlib.backends.backend_agg", "matplotlib.figure", "pydicom", "scipy.ndimage", "SimpleITK"),
    *("sklearn.decomposition", "sklearn.mixture", "torch.utils.data"),
    *("DiffSegLungLib.commands.cli", "DiffSegLungLib.report.page", "DiffSegLungLib.segmentation.pipeline"),
    *("DiffSegLungLib.training.population", "DiffSegLungLib.training.trainer"),
)


def _import_all() -> None:
    """What commands import, as far as it depends on nothing that they are given."""
    import torch

    for name in _IMPORTS:
        importlib.import_module(name)
    torch.optim.Adam([torch.zeros(1)])  # imports torch's compiler
    _home_paths()


if __name__ == "__main__":
    _import_all()
    subprocess.Popen = WarmPopen  # type: ignore[misc]
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
