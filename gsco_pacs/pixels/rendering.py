"""A picture as a PNG file, for a generalist on a server and for the pages."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png(pixels: NDArray[np.float32], longest_edge: int = 1024) -> bytes:
    """8-bit grey or RGB PNG of (rows, columns[, 3]) in 0..1, scaled down (never up) to ``longest_edge`` pixels."""
    levels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(levels)
    image.thumbnail((longest_edge, longest_edge), Image.Resampling.LANCZOS, reducing_gap=3.0)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
