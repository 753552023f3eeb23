"""What the decoder's process costs: the same frames decoded here and there, in turns."""

import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from gsco_pacs.adapters.decoder_process import DecoderProcess
from gsco_pacs.pixels.decoding import IN_PROCESS, Decoder
from gsco_pacs.pixels.opening import ImageFile, open_image
from gsco_pacs.settings.decoding import Decoding

SYNTAXES = (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless)
SIDES = (512, 2048)


@dataclass(frozen=True)
class Cost:
    """Median milliseconds of one frame."""

    syntax: str
    side: int
    here: float
    there: float


def decode_cost(rounds: int) -> list[Cost]:
    """Decode noisy frames of 12 bits ``rounds`` times each in this process and in the confined one."""
    decoder = DecoderProcess(Decoding())
    costs = []
    with TemporaryDirectory() as folder:
        for side in SIDES:
            for syntax in SYNTAXES:
                path = Path(folder) / "image.dcm"
                path.write_bytes(_image(side, syntax))
                image = open_image(path)
                pairs = [
                    tuple(_milliseconds(one, image) for one in (IN_PROCESS, decoder)) for _ in range(rounds)
                ]
                here, there = (median(times) for times in zip(*pairs, strict=True))
                costs.append(Cost(syntax.name, side, here, there))
    decoder.close()
    return costs


def table(costs: list[Cost], rounds: int) -> str:
    """In Markdown, with the ratio."""
    lines = [
        f"Median milliseconds of {rounds} rounds, in turns.\n",
        "| Transfer syntax | Frame | In this process | In the decoder's | Ratio |\n|---|---|---|---|---|",
    ]
    for cost in costs:
        size, ratio = f"{cost.side} x {cost.side}", cost.there / cost.here
        lines.append(f"| {cost.syntax} | {size} | {cost.here:.1f} | {cost.there:.1f} | {ratio:.2f} |")
    return "\n".join(lines)


def _milliseconds(decoder: Decoder, image: ImageFile) -> float:
    begun = time.perf_counter()
    decoder.decode(image, 1)
    return 1000 * (time.perf_counter() - begun)


def _image(side: int, syntax: uid.UID) -> bytes:
    waves = 2000 + 1500 * np.sin(np.linspace(0, 6, side))[:, None] * np.cos(np.linspace(0, 5, side))
    pixels = np.clip(waves + np.random.default_rng(1).normal(0, 20, (side, side)), 0, 4095)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = uid.CTImageStorage, uid.generate_uid()
    ds.Rows = ds.Columns = side
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds.compress(syntax)
    file = BytesIO()
    ds.save_as(file, enforce_file_format=True)
    return file.getvalue()
