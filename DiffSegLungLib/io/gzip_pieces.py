"""A gzip file unpacked in large pieces, so that threads beside it can work.

:mod:`gzip` of Python 3.11 unpacks 8 KiB at a time and waits for Python's lock after each: beside a thread
that holds it, as one that imports torch, a CT takes many times as long.
"""

from __future__ import annotations

import zlib
from gzip import BadGzipFile
from io import BufferedReader

_PACKED, _PIECE = 1 << 20, 4 << 20
_HEAD = 4096
"""So many bytes of the beginning stay at hand together, whatever members they come in."""

_NOT_DEFLATE = ("header", "data check", "length check", "unknown compression method")
"""What zlib says where the deflated data are sound and what gzip wraps around them is not."""


class Unpacked:
    """Bytes of a gzip file of one or more members, read from the beginning to the end.

    Args:
        stream: the file.
    """

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._waiting = b""
        self._piece, self._begin, self._at = b"", 0, 0

    def seek(self, place: int) -> None:
        """Go on at a byte of the unpacked file, which lies in the piece at hand or beyond it.

        Raises:
            ValueError: it lies before that piece.
        """
        if place < self._begin:
            raise ValueError(f"byte {place} has gone by")
        while place > self._begin + len(self._piece) and self._next():
            pass
        self._at = min(place - self._begin, len(self._piece))

    def read(self, size: int) -> bytes:
        """So many bytes, fewer only at the end.

        Raises:
            EOFError: the file is cut.
            BadGzipFile: it is not gzip, or its checksum is another.
            zlib.error: its content is damaged.
        """
        parts: list[bytes] = []
        while size > 0 and (self._at < len(self._piece) or self._next()):
            parts.append(self._piece[self._at : self._at + size])
            self._at += len(parts[-1])
            size -= len(parts[-1])
        return b"".join(parts)

    def readinto(self, room: memoryview) -> int:
        """Fill the beginning of some room; how many bytes, 0 at the end. Raises what :meth:`read` raises."""
        if self._at == len(self._piece) and not self._next():
            return 0
        count = min(len(room), len(self._piece) - self._at)
        room[:count] = memoryview(self._piece)[self._at : self._at + count]
        self._at += count
        return count

    def _next(self) -> bool:
        """Unpack the next piece; False at the end."""
        while True:
            self._waiting = self._waiting or self._stream.read(_PACKED)
            if self._member.eof:
                # Zeros may follow a member, and after them another one.
                self._waiting = self._waiting.lstrip(b"\0")
                if self._waiting:
                    self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                elif not (rest := self._stream.read(_PACKED)):
                    return False
                else:
                    self._waiting = rest
                continue
            if not self._waiting:
                raise EOFError("the file ends within its content")
            piece = self._unpacked()
            if piece and self._begin == 0 and len(self._piece) < _HEAD:
                self._piece += piece
                return True
            if piece:
                self._begin, self._piece, self._at = self._begin + len(self._piece), piece, 0
                return True

    def _unpacked(self) -> bytes:
        try:
            piece = self._member.decompress(self._waiting, _PIECE)
        except zlib.error as error:
            if any(words in str(error) for words in _NOT_DEFLATE):
                raise BadGzipFile(str(error)) from error
            raise
        self._waiting = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return piece
