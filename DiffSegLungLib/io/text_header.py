"""What the text header of a MetaImage or NRRD file promises, checked before ITK reads it.

ITK's readers trust these headers: a wrong number of axes ends the process, and what ITK says of a cut file
helps nobody. Formats: itk.org/Wiki/ITK/MetaIO/Documentation and teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .refusals import bad_direction, bad_spacing, orientation_assumed, truncated, unreadable

_LONGEST_HEADER = 1 << 22  # a segmentation with many segments has a long one
_CHUNK = 1 << 20
_META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(
        ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4
    ),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t", "uint64", "uint64_t"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "signed long long"), 8),
    **dict.fromkeys(("float",), 4),
    **dict.fromkeys(("double",), 8),
}

_META_PLACE = ("Offset", "Position", "Origin", "TransformMatrix", "Rotation", "Orientation")
_NRRD_SPACES = (
    *("left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las"),
)
"""The spaces that ITK turns into its own; any other says nothing of left and right."""


@dataclass(frozen=True)
class Promise:
    """Where the voxels are said to be.

    Attributes:
        data: the file that holds them.
        offset: where they start in it, bytes.
        length: how many bytes they fill when unpacked.
        packing: None, or the window bits with which zlib unpacks them.
    """

    data: Path
    offset: int
    length: int
    packing: int | None


def check_text_header(path: Path, name: str) -> tuple[str, ...]:
    """Refuse a MetaImage or NRRD file whose header or voxels are damaged, cut off or missing.

    Args:
        path: the file.
        name: what to call it in a message.

    Returns:
        Notes on what the header leaves open.

    Raises:
        InputError: ``unreadable``, ``truncated``, ``bad-spacing`` or ``bad-direction``.
    """
    with path.open("rb") as stream:
        start = stream.read(_LONGEST_HEADER)
    meta = path.suffix.lower() in (".mha", ".mhd")
    try:
        fields, end = _meta_fields(start) if meta else _nrrd_fields(start)
        promise = _meta_promise(path, fields, end) if meta else _nrrd_promise(path, fields, end)
        notes = _meta_grid(fields, name) if meta else _nrrd_grid(fields, name)
    except (KeyError, ValueError) as error:
        raise unreadable(name) from error
    if promise is None:
        return notes
    if not promise.data.is_file():
        raise InputError(
            "unreadable",
            f"{name} is only a header and its data file {promise.data.name} is missing.",
            "Put both files into one folder.",
        )
    if _available(promise) < promise.length:
        raise truncated(name)
    return notes


def _meta_fields(start: bytes) -> tuple[dict[str, str], int]:
    """The fields of a MetaImage header, and where it ends."""
    fields: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in fields:
        line_end = start.index(b"\n", end)
        field = re.fullmatch(r"(\w+) *=(.*)", start[end:line_end].decode("latin-1").strip())
        if field is None:
            raise ValueError("no line of a MetaImage header")
        fields[field[1]] = field[2].strip()
        end = line_end + 1
    return fields, end


def _meta_promise(path: Path, fields: dict[str, str], end: int) -> Promise | None:
    """Where a MetaImage has its voxels; None where they are in several files, which ITK looks after."""
    sizes = [int(n) for n in fields["DimSize"].split()]
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    length = _length(sizes, int(fields["NDims"]), _META_BYTES[fields["ElementType"]] * channels)
    where = fields["ElementDataFile"]
    if where.split()[0] == "LIST" or "%" in where:
        return None
    packed = fields.get("CompressedData", "False").lower().startswith("t")
    local = where.upper() == "LOCAL"
    offset = end if local else max(0, int(fields.get("HeaderSize", "0")))
    return Promise(path if local else path.parent / where, offset, length, zlib.MAX_WBITS if packed else None)


def _meta_grid(fields: dict[str, str], name: str) -> tuple[str, ...]:
    """Refuse voxels without a size, which MetaIO takes as 1 mm, and a place that is no number, which it takes
    as 0; notes on what was assumed.
    """
    stored = fields.get("ElementSpacing", fields.get("ElementSize", ""))
    _refuse_spacing([float(s) for s in stored.split()], int(fields["NDims"]), name)
    place = " ".join(fields.get(key, "") for key in _META_PLACE)
    if not all(math.isfinite(float(number)) for number in place.split()):
        raise bad_direction(name)
    notes = []
    if "ElementSpacing" not in fields:
        notes.append(f"{name} gives the size of its voxels and not their distance; they were taken to touch.")
    if not {"TransformMatrix", "Rotation", "Orientation"} & fields.keys():
        notes.append(orientation_assumed(name))
    return tuple(notes)


def _nrrd_fields(start: bytes) -> tuple[dict[str, str], int]:
    """The fields of an NRRD header, and where it ends."""
    if not start.startswith(b"NRRD000"):
        raise ValueError("no NRRD magic")
    blank = re.search(rb"\r?\n\r?\n", start)
    header, offset = (start[: blank.start()], blank.end()) if blank else (start, len(start))
    fields: dict[str, str] = {}
    for line in header.decode("utf-8", errors="replace").splitlines()[1:]:
        key, colon, value = line.partition(": ")
        if colon and not line.startswith("#"):
            fields[key.strip().lower()] = value.strip()
    return fields, offset


def _nrrd_grid(fields: dict[str, str], name: str) -> tuple[str, ...]:
    """Refuse voxels without a size, which ITK takes as 1 mm; notes on what was assumed."""
    if "space directions" in fields:
        axes = re.findall(r"\([^)]*\)|none", fields["space directions"], re.IGNORECASE)
        vectors = [[float(c) for c in axis[1:-1].split(",")] for axis in axes if axis.startswith("(")]
        spacing = [math.hypot(*vector) for vector in vectors]
    else:
        spacing = [float(s) for s in fields.get("spacings", "").split()]
        if int(fields["dimension"]) > 3:  # the axis of a voxel's several values has none
            spacing = [s for s in spacing if not math.isnan(s)]
    _refuse_spacing(spacing, int(fields["dimension"]), name)
    known = "space directions" in fields and fields.get("space", "").lower() in _NRRD_SPACES
    return () if known else (orientation_assumed(name),)


def _refuse_spacing(spacing: list[float], axes: int, name: str) -> None:
    """Refuse a volume with fewer than three positive spacings; what is no volume is refused elsewhere."""
    good = all(math.isfinite(s) and s > 0 for s in spacing)
    if axes >= 3 and (len(spacing) < 3 or not good):
        raise bad_spacing(name, " x ".join(f"{s:g}" for s in spacing))


def _nrrd_promise(path: Path, fields: dict[str, str], offset: int) -> Promise | None:
    """Where an NRRD has its voxels; None for what ITK must look after (text, several files, skips)."""
    sizes = [int(n) for n in fields["sizes"].split()]
    length = _length(sizes, int(fields["dimension"]), _NRRD_BYTES[fields["type"]])
    where = fields.get("data file", fields.get("datafile"))
    skipped = any(fields.get(k, "0") != "0" for k in ("line skip", "lineskip", "byte skip", "byteskip"))
    encoding = fields["encoding"].lower()
    if (
        encoding not in ("raw", "gzip", "gz")
        or skipped
        or (where and (where.startswith("LIST") or "%" in where))
    ):
        return None
    # zlib finds out by itself (+32) whether the stream has gzip's header or its own.
    packing = None if encoding == "raw" else zlib.MAX_WBITS + 32
    return Promise(path.parent / where if where else path, 0 if where else offset, length, packing)


def _length(sizes: list[int], axes: int, voxel_bytes: int) -> int:
    """Bytes of the voxels; refuses sizes that are none."""
    if not 1 <= axes <= 5 or len(sizes) != axes or min(sizes) < 1 or voxel_bytes < 1:
        raise ValueError("sizes do not fit the number of axes")
    length = voxel_bytes
    for n in sizes:
        length *= n
    return length


def _available(promise: Promise) -> int:
    """How many of the promised bytes there are; unpacks a compressed stream to find out."""
    if promise.packing is None:
        return promise.data.stat().st_size - promise.offset
    count, unpacker = 0, zlib.decompressobj(promise.packing)
    with promise.data.open("rb") as stream:
        stream.seek(promise.offset)
        while count < promise.length and not unpacker.eof and (chunk := stream.read(_CHUNK)):
            try:
                count += len(unpacker.decompress(chunk))
            except zlib.error:
                break
    return count
