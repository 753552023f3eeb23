"""Decodes compressed frames in a child process, so that whatever a file does to a decoder costs that file alone."""

import contextlib
import fcntl
import logging
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.domain.errors import BadObjectError, DecoderEndedError, TransientError
from gsco_pacs.pixels.decoding import InProcess
from gsco_pacs.pixels.opening import ImageFile, attribute, check_size
from gsco_pacs.settings.decoding import Decoding

log = logging.getLogger(__name__)

REQUEST = struct.Struct("!2I")
"""Number of the frame and length of the path, which follows."""
_HEAD = struct.Struct("!c2s3I")
_DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
_LONGEST_MESSAGE = 1000
_START_SECONDS = 60.0
_ENDS = 3
"""So many of its images may end the decoder; after that the study is not decoded any further."""
_INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")


class Kind(Enum):
    """What a reply is."""

    READY = b"r"
    """The process has started; the first number is 1 if its system calls are filtered."""
    PIXELS = b"p"
    """dtype, rows, columns and samples (0 = no third dimension); the values lie in the shared memory."""
    BAD = b"b"
    """Length of the message that follows, the text of a BadObjectError."""
    MEMORY = b"m"
    """The frame needs more memory than there may be."""


@dataclass(frozen=True)
class Head:
    """The beginning of a reply."""

    kind: Kind
    numbers: tuple[int, int, int] = (0, 0, 0)
    dtype: str = ""

    @property
    def encoded(self) -> bytes:
        """As it is sent."""
        return _HEAD.pack(self.kind.value, self.dtype.encode(), *self.numbers)

    @classmethod
    def decoded(cls, received: bytes) -> Self:
        """As it came; ValueError if it is none."""
        kind, dtype, *numbers = _HEAD.unpack(received)
        return cls(Kind(kind), (numbers[0], numbers[1], numbers[2]), dtype.decode("ascii").rstrip("\0"))


class DecoderProcess:
    """A Decoder whose child starts with the first compressed frame, and anew after one that ended it."""

    def __init__(self, limits: Decoding) -> None:
        self._limits = limits
        self._here = InProcess(limits)
        self._child: _Child | None = None
        self._ends = 0

    @property
    def limits(self) -> Decoding:
        """As Decoder says."""
        return self._limits

    def forgive(self) -> None:
        """A new study begins: it does not pay for the images of the last one."""
        self._ends = 0

    def decode(self, image: ImageFile, frame: int) -> NDArray[Any]:
        """As Decoder says; DecoderEndedError if the frame ends the child, or three of the study have done so.

        Native values are read here: that takes no decoder, only numpy.
        """
        if not image.transfer_syntax_uid.is_encapsulated:
            return self._here.decode(image, frame)
        check_size(image, self._limits)
        if self._ends >= _ENDS:
            raise DecoderEndedError(f"Not decoded: {_ENDS} images of the study have ended the decoder.")
        child = self._started()
        try:
            return child.decoded(image, frame, self._limits)
        except _EndedError as error:
            self._ends += 1
            self.close()
            name = image.transfer_syntax_uid.name
            log.warning("The decoder of %s %s; it is started anew.", name, error)
            raise DecoderEndedError(f"The decoder of {name} {error}.") from None

    def close(self) -> None:
        """End the child."""
        if self._child:
            self._child.close()
        self._child = None

    def _started(self) -> "_Child":
        if self._child and self._child.process.poll() is not None:
            self.close()  # it ended without a request, as when the machine's memory ran out
        if self._child is None:
            self._child = _Child(self._limits)
        return self._child


class _EndedError(Exception):
    """The child is of no use any more; the message says why, after "The decoder of JPEG ..."."""


class _Child:
    def __init__(self, limits: Decoding) -> None:
        """Start it and wait until it is ready; TransientError if it does not start."""
        self.line, theirs = socket.socketpair()
        shared = _shared_memory(limits.frame_bytes)
        self._pixels = mmap.mmap(shared, limits.frame_bytes)
        command = [
            sys.executable, "-B", "-m", "gsco_pacs.processes.decoder", str(shared), limits.model_dump_json(),
        ]  # fmt: skip
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            line, silence = theirs.fileno(), subprocess.DEVNULL
            self.process = subprocess.Popen(
                command, stdin=line, stdout=silence, pass_fds=[shared], env=environment
            )
        os.close(shared)
        try:
            ready = self._head(time.monotonic() + _START_SECONDS)
        except _EndedError as error:
            self.close()
            raise TransientError(f"The decoder's process does not start: it {error}.") from None
        if not ready.numbers[0]:
            log.warning("The decoder's system calls are not filtered on this machine; its limits hold.")

    def decoded(self, image: ImageFile, frame: int, limits: Decoding) -> NDArray[Any]:
        """The frame's stored values; BadObjectError as the child says it, _EndedError if it has to be ended."""
        deadline = time.monotonic() + 3 * limits.seconds
        path = os.fsencode(image.path.absolute())
        with contextlib.suppress(OSError):  # that it ended is told by what it does not answer
            self.line.sendall(REQUEST.pack(frame, len(path)) + path)
        head = self._head(deadline)
        if head.kind is Kind.MEMORY:
            raise _EndedError(f"needs more than {limits.memory_bytes} bytes of memory")
        if head.kind is Kind.BAD:
            raise BadObjectError(self._message(head, deadline))
        _check_announced(head, image)
        rows, columns, samples = head.numbers
        shape = (rows, columns, samples) if samples else (rows, columns)
        # Copied, so that what the child does to the memory later changes no picture.
        return np.ndarray(shape, f"<{head.dtype}", self._pixels).copy()

    def close(self) -> None:
        """End it and wait for its end."""
        self.line.close()
        self.process.kill()
        self.process.wait()

    def _head(self, deadline: float) -> Head:
        received = bytearray(_HEAD.size)
        self._fill(memoryview(received), deadline)
        try:
            return Head.decoded(bytes(received))
        except ValueError:
            raise _EndedError("does not answer as it should") from None

    def _message(self, head: Head, deadline: float) -> str:
        text = bytearray(min(head.numbers[0], _LONGEST_MESSAGE))
        self._fill(memoryview(text), deadline)
        return "".join(letter for letter in text.decode(errors="replace") if letter.isprintable())

    def _fill(self, room: memoryview, deadline: float) -> None:
        try:
            while room:
                self.line.settimeout(max(0.001, deadline - time.monotonic()))
                count = self.line.recv_into(room)
                if not count:
                    raise _EndedError(self._how_it_ended())
                room = room[count:]
        except TimeoutError:
            raise _EndedError("took too long") from None
        except OSError:
            raise _EndedError(self._how_it_ended()) from None

    def _how_it_ended(self) -> str:
        code = self.process.wait(timeout=_START_SECONDS)
        if code == -signal.SIGXCPU:
            return "took too long"
        return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended ({code})"


def _shared_memory(size: int) -> int:
    """A file descriptor of ``size`` bytes that nobody can make smaller: reading past its end would be a SIGBUS."""
    shared = os.memfd_create("gsco-pacs-decoder", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(shared, size)
    fcntl.fcntl(shared, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return shared


def _check_announced(head: Head, image: ImageFile) -> None:
    """_EndedError if the child announces anything but what the header has led to expect."""
    rows, columns, samples = head.numbers
    keywords = ("Rows", "Columns", "SamplesPerPixel")
    expected = tuple(int(attribute(image.header, keyword) or 1) for keyword in keywords)
    largest = max(1, int(attribute(image.header, "BitsAllocated")) // 8)
    if (
        head.kind is not Kind.PIXELS
        or head.dtype not in _DTYPES
        or (rows, columns, samples or 1) != expected
        or np.dtype(head.dtype).itemsize > largest
    ):
        raise _EndedError("does not answer as it should")
