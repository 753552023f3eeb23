"""The decoder: a confined child of a worker that decodes the frames of others' files, and may die of one."""

import mmap
import os
import socket
import sys
from pathlib import Path

import numpy as np

from gsco_pacs.adapters.confinement import confine, limit_cpu
from gsco_pacs.adapters.decoder_process import REQUEST, Head, Kind
from gsco_pacs.domain.errors import BadObjectError, OutOfResourcesError
from gsco_pacs.pixels.decoding import DECODED_BY, InProcess
from gsco_pacs.pixels.opening import open_image
from gsco_pacs.settings.decoding import Decoding


def run_decoder(line: socket.socket, pixels: mmap.mmap, limits: Decoding) -> None:
    """Answer each request on ``line`` with a frame's stored values, laid into ``pixels``, until it is closed."""
    # From here on nothing is said: warnings of pydicom and the decoders quote attributes, which may be a patient's.
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())
    filtered = confine(limits.memory_bytes)
    line.sendall(Head(Kind.READY, (int(filtered), 0, 0)).encoded)
    decoder = InProcess(limits)
    with line.makefile("rb") as requests:
        while request := requests.read(REQUEST.size):
            frame, length = REQUEST.unpack(request)
            path = Path(os.fsdecode(requests.read(length)))
            limit_cpu(limits.seconds)
            line.sendall(_reply(path, frame, decoder, pixels))


def _reply(path: Path, frame: int, decoder: InProcess, pixels: mmap.mmap) -> bytes:
    try:
        values = decoder.decode(open_image(path, DECODED_BY), frame)
    except OutOfResourcesError:
        return Head(Kind.MEMORY).encoded
    except BadObjectError as error:
        message = str(error).encode()
        return Head(Kind.BAD, (len(message), 0, 0)).encoded + message
    np.ndarray(values.shape, values.dtype, pixels)[...] = values
    rows, columns, *samples = values.shape
    return Head(Kind.PIXELS, (rows, columns, samples[0] if samples else 0), values.dtype.str[1:]).encoded


if __name__ == "__main__":
    granted = Decoding.model_validate_json(sys.argv[2])
    run_decoder(socket.socket(fileno=0), mmap.mmap(int(sys.argv[1]), granted.frame_bytes), granted)
