"""The demo's studies: a synthetic chest radiograph, and real CT, MR and US examples that no shipped model fits."""

import shutil
from pathlib import Path

from pydicom import examples

from gsco_pacs.testing.synthetic import DEFAULT_SEED, make_synthetic_study


def write_samples(folder: Path) -> list[Path]:
    """Write the samples to ``folder`` and return their paths; the honest negatives come with pydicom."""
    folder.mkdir(parents=True, exist_ok=True)
    chest = folder / "synthetic-chest.dcm"
    make_synthetic_study(DEFAULT_SEED).save_as(chest, enforce_file_format=True)
    negatives = {"ct.dcm": "ct", "mr.dcm": "mr", "us.dcm": "rgb_color"}
    for name, example in negatives.items():
        shutil.copyfile(examples.get_path(example), folder / name)
    return [chest, *(folder / name for name in negatives)]
