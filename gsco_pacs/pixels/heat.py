"""A heat map over its picture as one page with banner, legend and colour bar: everything that may stand in a capture."""

import textwrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_SIDE = 768
"""The picture's longer side: as large as text beside it asks for, however small the image is."""
_MARGIN, _BAR, _LEGEND = 24, 18, 76
_BACKGROUND, _INK, _FAINT, _MARK = "#101418", "#e8edf2", "#9fb0bf", "#f5c451"
_STOPS = np.linspace(0, 1, 6)
_COLOURS = np.array(
    [(20, 11, 52), (101, 21, 110), (174, 48, 92), (229, 92, 48), (251, 155, 6), (252, 255, 164)], float
)
"""From cold to hot with steadily growing lightness, so that it also reads in grey."""
_CLEAR_BELOW, _OPAQUE = 0.15, 0.6
"""Heat below the first leaves the picture as it is; the hottest place hides this share of it."""


def heat_page(
    pixels: NDArray[np.float32], heat: NDArray[np.float32], banner: str, title: str, lines: tuple[str, ...]
) -> NDArray[np.uint8]:
    """(rows, columns, 3) of ``pixels`` (0..1) under ``heat`` (0..1, over the same field), with words above and below."""
    picture = _fused(pixels, heat)
    large, small = ImageFont.load_default(24), ImageFont.load_default(17)
    width = _SIDE + _LEGEND + 2 * _MARGIN
    wrapped = [part for line in lines for part in textwrap.wrap(line, 92)]
    top = _MARGIN + 36 + 34 + 12
    page = Image.new(
        "RGB", (width, top + picture.height + _MARGIN // 2 + 24 * len(wrapped) + _MARGIN), _BACKGROUND
    )
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 4), banner, _MARK, large)
    draw.text((_MARGIN, _MARGIN + 34), title, _INK, large)
    page.paste(picture, (_MARGIN + (_SIDE - picture.width) // 2, top))
    _draw_bar(page, draw, width - _MARGIN - _LEGEND + 22, top, picture.height, small)
    for number, line in enumerate(wrapped):
        draw.text((_MARGIN, top + picture.height + _MARGIN // 2 + 24 * number), line, _FAINT, small)
    return np.asarray(page)


def coloured(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """The colour of each value, (..., 3) in 0..255."""
    channels = [np.interp(heat, _STOPS, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def stretched(heat: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """``heat`` over so many rows and columns, in 0..1."""
    image = Image.fromarray(heat.astype(np.float32)).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(image).clip(0, 1)


def _fused(pixels: NDArray[np.float32], heat: NDArray[np.float32]) -> Image.Image:
    rows, columns = pixels.shape[:2]
    scale = _SIDE / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    levels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    under = np.asarray(
        Image.fromarray(levels).convert("RGB").resize(size, Image.Resampling.LANCZOS), np.float32
    )
    over = stretched(heat, size[1], size[0])
    share = _OPAQUE * np.clip((over - _CLEAR_BELOW) / (1 - _CLEAR_BELOW), 0, 1)[..., None] ** 0.7
    return Image.fromarray(np.rint((1 - share) * under + share * coloured(over)).astype(np.uint8))


def _draw_bar(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    height: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    values = np.linspace(1, 0, height, dtype=np.float32)[:, None].repeat(_BAR, axis=1)
    page.paste(Image.fromarray(np.rint(coloured(values)).astype(np.uint8)), (left, top))
    draw.rectangle((left - 1, top - 1, left + _BAR, top + height), outline=_FAINT)
    for value in (1.0, 0.75, 0.5, 0.25, 0.0):
        y = top + round((1 - value) * (height - 1))
        draw.line((left + _BAR, y, left + _BAR + 5, y), _FAINT)
        draw.text((left + _BAR + 8, y), f"{value:g}", _INK, font, anchor="lm")
