"""The demo's studies: a synthetic chest radiograph, and real CT, MR and US examples that no route takes: they name no body part."""

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


def write_chests(folder: Path, count: int) -> list[Path]:
    """Write ``count`` synthetic chest radiographs, each a study of its own, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"chest-{seed}.dcm" for seed in range(1, count + 1)]
    for seed, path in enumerate(paths, start=1):
        make_synthetic_study(seed).save_as(path, enforce_file_format=True)
    return paths
