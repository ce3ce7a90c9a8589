"""Freed arrays are the system's again, whatever small thing still lies beside them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MEASURE = """
import psutil
import numpy as np
from DiffSegLungLib.running.allocator import give_back_what_is_freed

give_back_what_is_freed()
before = psutil.Process().memory_info().rss
np.ones(3 << 20)  # once freed, glibc takes arrays of this size from its heaps
large, small = [], []
for _ in range(10):
    large.append(np.ones(3 << 20))
    small.append(bytearray(100_000))
del large
print((psutil.Process().memory_info().rss - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have no such option")
def test_arrays_of_24_mb_are_given_back() -> None:
    ran = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 30  # MB, of 240
