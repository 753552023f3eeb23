"""One page to look at: the image on the left, what was said of it on the right, and the banner that it is a draft."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_MARGIN = 24
_TEXT_WIDTH = 620
_BACKGROUND, _INK, _FAINT, _BAR, _MARK = "#101418", "#e8edf2", "#8b98a5", "#4a90d9", "#f5c451"


@dataclass(frozen=True)
class Bar:
    """A probability with the threshold from which the finding counts as possible."""

    text: str
    probability: float
    possible_from: float


def sheet(
    image_png: bytes, banner: str, heading: str, bars: Sequence[Bar], sentences: Sequence[str]
) -> bytes:
    """A PNG of the image beside bars and sentences; the height follows the longer side."""
    picture = Image.open(io.BytesIO(image_png)).convert("RGB")
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, 68) or [""]]
    height = max(picture.height, 96 + 26 * len(bars) + 22 * len(lines)) + 2 * _MARGIN
    page = Image.new("RGB", (picture.width + _TEXT_WIDTH + 3 * _MARGIN, height), _BACKGROUND)
    page.paste(picture, (_MARGIN, _MARGIN))
    _write(ImageDraw.Draw(page), picture.width + 2 * _MARGIN, banner, heading, bars, lines)
    file = io.BytesIO()
    page.save(file, "PNG")
    return file.getvalue()


def _write(
    draw: ImageDraw.ImageDraw, left: int, banner: str, heading: str, bars: Sequence[Bar], lines: Sequence[str]
) -> None:
    large, small = ImageFont.load_default(20), ImageFont.load_default(15)
    draw.text((left, _MARGIN), banner, _MARK, large)
    draw.text((left, _MARGIN + 32), heading, _FAINT, small)
    top = _MARGIN + 72
    for bar in bars:
        draw.text((left, top), bar.text, _INK, small)
        start, width = left + 260, 290
        draw.rectangle((start, top + 3, start + width * bar.probability, top + 15), _BAR)
        draw.line(
            (start + width * bar.possible_from, top, start + width * bar.possible_from, top + 18), _MARK, 2
        )
        draw.text((start + width + 12, top), f"{bar.probability:.2f}", _INK, small)
        top += 26
    for line in lines:
        draw.text((left, top + 12), line, _INK, small)
        top += 22
