"""Errors that a user may meet: one sentence of what was seen, one hint of what is needed."""

from __future__ import annotations

from pathlib import Path

_NOT_WRITTEN = "Free some space on its disk, close it in other programs, or choose one that you may write to."


class DiffSegLungError(Exception):
    """Something a user can act on; never raised for a defect of the program itself.

    Args:
        code: short machine-readable name, e.g. ``"not-hu"``.
        message: one sentence, what was seen.
        hint: one sentence, what is needed.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code = code
        self.message = message
        self.hint = hint


class InputError(DiffSegLungError):
    """The input (CT, mask, bundle, argument) cannot be used as it is."""

    exit_code = 2


def require_within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a setting outside its range.

    Raises:
        InputError: code ``bad-setting``.
    """
    if not low <= value <= high:
        raise InputError(
            "bad-setting", f"The {name} cannot be {value:g}.", f"It must be in {low:g}..{high:g}."
        )


def not_written(place: Path | str, error: OSError, hint: str = _NOT_WRITTEN) -> InputError:
    """What a user reads when a file or folder cannot be written.

    Args:
        place: what, as the user knows it.
        error: what the operating system said.
        hint: which way out, where there is a better one than for any place.
    """
    return InputError("not-written", f"{place} cannot be written ({error.strerror or error}).", hint)


class Cancelled(DiffSegLungError):
    """The user, or a signal, asked the run to stop; nothing unfinished is left behind."""

    exit_code = 3

    def __init__(self, stage: str = "") -> None:
        where = f" during {stage}" if stage else ""
        super().__init__("cancelled", f"The run was cancelled{where}.")


class OutOfMemory(DiffSegLungError):
    """Host or device memory ran out, after every smaller setting was tried."""

    exit_code = 4
