"""Made-up volumes on disk, a task for them, a bundle trained on them, and a segmenter that knows what it sees."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from gsco_pacs.domain.findings import Code, Finding, ModelIdentity, Segment
from gsco_pacs.domain.study import Instance, StoredFile
from gsco_pacs.ports import Volume, VolumeContract
from gsco_pacs.testing.hippocampus import made_up_hippocampus
from gsco_pacs.testing.phantoms import encoded

HIPPOCAMPUS = Code("5366008", "SCT", "Hippocampus")
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")


def task() -> dict[str, Any]:
    """The content of a task file for ``write_volumes``."""
    code = {"value": "5366008", "scheme": "SCT", "meaning": "Hippocampus"}
    common = {
        "category": {"value": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"},
        "code": code,
        "site": code,
        "plausible_mm3": [300, 4000],
    }
    front = {"value": "255549009", "scheme": "SCT", "meaning": "Anterior"}
    back = {"value": "255551008", "scheme": "SCT", "meaning": "Posterior"}
    return {
        "name": "made_up_volumes",
        "version": "1.0.0",
        "title": "Made-up volumes",
        "description": "Two parts of a made-up body.",
        "region": "brain",
        "modality_phrase": "MR of one hippocampus",
        "module": "made_up",
        "kind": "segmentation",
        "licence": "Apache-2.0",
        "channels": [8, 16],
        "strides": [2],
        "mirror": True,
        "input": {
            "modalities": ["MR"],
            "min_slices": 16,
            "max_spacing_mm": 1.5,
            "max_tilt_degrees": 15,
            "min_extent_mm": [20, 30, 20],
        },
        "prepare": {"spacing_mm": 1.0, "patch": [40, 56, 40]},
        "segments": [
            common
            | {"label": "Anterior", "text": "front part", "site_modifier": front, "colour": [230, 120, 60]},
            common
            | {"label": "Posterior", "text": "back part", "site_modifier": back, "colour": [60, 140, 230]},
        ],
    }


def write_volumes(folder: Path, count: int) -> tuple[Path, Path]:
    """Write a task file and ``count`` volumes with labels as NIfTI; return the task file and the volumes' folder."""
    data = folder / "data"
    for name in ("images", "labels"):
        (data / name).mkdir(parents=True)
    body = np.diag([1.0, 1.0, 1.0, 1.0])
    for seed in range(count):
        volume, truth = made_up_hippocampus(seed)
        Nifti1Image(volume.voxels, body).to_filename(data / f"images/made_up_{seed:03d}.nii.gz")
        Nifti1Image(truth, body).to_filename(data / f"labels/made_up_{seed:03d}.nii.gz")
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(task()))
    return path, data


class SeesTruth:
    """A ports.Segmenter that finds what is bright in a made-up hippocampus: its two parts differ in value."""

    identity = ModelIdentity("sees_truth", "1.0.0", "0" * 64)
    examines = "MR of one hippocampus"
    volume_contract = VolumeContract(("MR",), (), (), 16, 1.5, 15.0, (20.0, 30.0, 20.0), (48.0, 64.0, 48.0))

    def __init__(self, plausible: tuple[float, float] = (300, 4000)) -> None:
        self.segments = tuple(
            Segment(Finding(label, text, HIPPOCAMPUS, HIPPOCAMPUS), ANATOMY, modifier, colour, plausible)
            for label, text, modifier, colour in (
                ("Anterior", "front part", Code("255549009", "SCT", "Anterior"), (230, 120, 60)),
                ("Posterior", "back part", Code("255551008", "SCT", "Posterior"), (60, 140, 230)),
            )
        )

    def segment(self, volume: Volume) -> NDArray[np.uint8]:
        """1 where it is brightest, 2 where it is bright."""
        return np.where(volume.voxels > 590, 1, np.where(volume.voxels > 425, 2, 0)).astype(np.uint8)


def stored(folder: Path, slices: list[Any]) -> list[StoredFile]:
    """The data sets as files of the store."""
    files = []
    for number, ds in enumerate(slices):
        path = folder / f"{number:03d}-{ds.SeriesInstanceUID[-6:]}.dcm"
        path.write_bytes(encoded(ds))
        instance = Instance(
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SOPClassUID,
            ds.file_meta.TransferSyntaxUID, "0" * 64, path.stat().st_size, path.name,
        )  # fmt: skip
        files.append(StoredFile(instance, path))
    return files
