"""Arrays in files: members of NumPy archives (npz) and of HDF5 files, opened anew by each process that looks at them."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gsco_pacs.datasets.files import expected
from gsco_pacs.domain.errors import ConfigError

_HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Outline(NamedTuple):
    """What an array is like."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def outline(file: Path, member: str) -> Outline:
    """What the array ``member`` of ``file`` is like, without a look at its values; ConfigError if there is none."""
    with _named(file, member):
        if _is_hdf5(file):
            dataset = _dataset(file, member)
            return Outline(dataset.shape, dataset.dtype)
        return _head(file, member).outline


def array_of(file: Path, member: str) -> Any:
    """The array, whose rows are read from the file as they are asked for; a packed member of an archive lies in memory.

    ConfigError if the file is missing, of another kind, or without such an array.
    """
    with _named(file, member):
        return _dataset(file, member) if _is_hdf5(file) else _member(file, member)


kept_array = lru_cache(maxsize=1)(array_of)
"""The same, kept until another one is asked for: the cases of one split are looked at one after the other."""


@contextmanager
def _named(file: Path, member: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        kind = "an HDF5 file" if _is_hdf5(file) else "a NumPy archive"
        raise ConfigError(
            f"{file} is not {kind} with an array {member!r} ({type(error).__name__})."
        ) from error


def _is_hdf5(file: Path) -> bool:
    return file.suffix == ".h5"


def _dataset(file: Path, member: str) -> Any:
    try:
        import h5py  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "PatchCamelyon needs the package h5py: pip install 'gsco-pacs[evaluate]'."
        ) from None
    return h5py.File(expected(file))[member]


class _Head(NamedTuple):
    outline: Outline
    fortran: bool
    start: int | None
    """Where in the file the values lie one after the other; None if they are packed."""


def _head(file: Path, member: str) -> _Head:
    with zipfile.ZipFile(expected(file)) as archive:
        info = archive.getinfo(f"{member}.npy")
        with archive.open(info) as stream:
            shape, fortran, dtype = _HEADS[np.lib.format.read_magic(stream)](stream)
            length = stream.tell()
    if dtype.hasobject:
        raise ValueError("its values are pickled")
    packed = info.compress_type != zipfile.ZIP_STORED
    return _Head(Outline(shape, dtype), fortran, None if packed else _content(file, info) + length)


def _content(file: Path, info: zipfile.ZipInfo) -> int:
    """Where a member begins: behind its local header, which ends with a name and an extra field of its own lengths."""
    with file.open("rb") as archive:
        archive.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", archive.read(4))
    return info.header_offset + 30 + int(name) + int(extra)


def _member(file: Path, member: str) -> Any:
    (shape, dtype), fortran, start = _head(file, member)
    if start is None:
        with np.load(file, allow_pickle=False) as archive:
            return archive[member]
    return np.memmap(file, dtype, "r", start, shape, "F" if fortran else "C")
