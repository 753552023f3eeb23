"""What the decoding of one frame, and the pictures of one study, may cost."""

from typing import Annotated

from pydantic import Field

from gsco_pacs.conditions import Settings
from gsco_pacs.settings.values import Seconds

_Bytes = Annotated[int, Field(ge=1_000_000)]


class Decoding(Settings):
    """Limits of turning files into pictures; what is over them is left out of its study with the reason."""

    frame_bytes: _Bytes = 128 * 1024**2
    """Largest decoded frame; the largest radiographs (stitched long legs, 16 bit) need about two thirds of the default."""
    frames: Annotated[int, Field(ge=1)] = 100_000
    """Most frames of one image."""
    study_bytes: _Bytes = 4 * 1024**3
    """All pictures, or one volume, of a study together, at 4 bytes a sample."""
    seconds: Seconds = 30
    """CPU time of one frame in the decoder's process; after three times as long by the clock it is ended, too."""
    memory_bytes: Annotated[int, Field(ge=512 * 1024**2)] = 3 * 1024**3
    """Address space of the decoder's process."""
