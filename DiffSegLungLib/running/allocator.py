"""The allocator of the C library, told to give back what has been freed."""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1
"""Options of mallopt(3)."""

_LARGE_BYTES = 16 << 20

_KEPT_BYTES = 64 << 20
"""What may lie free at the end of the heap: smaller arrays come and go there by the thousand, and giving each
one back costs more than it saves."""


def give_back_what_is_freed() -> None:
    """Make freed arrays the system's again at once, for this whole process; glibc only, else nothing happens.

    By default glibc keeps a heap for each thread, and in it any array up to 32 MB once it has freed one of
    that size: after some stages of a segmentation hundreds of megabytes lie there that nobody uses.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
