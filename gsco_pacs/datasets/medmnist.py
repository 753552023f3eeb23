"""MedMNIST archives (npz) and PatchCamelyon (HDF5): arrays of small images with a number for a label."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.datasets.arrays import array_of, outline
from gsco_pacs.datasets.cases import DataSet, EvaluationCase, Split, Standing, Task
from gsco_pacs.datasets.files import expected, rows_of
from gsco_pacs.datasets.images import ImageRow
from gsco_pacs.domain.errors import ConfigError

_SOURCE = "[MedMNIST](https://github.com/MedMNIST/MedMNIST), medmnist/info.py and dataset.py"
_PCAM_PROMPT = (
    "You are a helpful medical assistant. Your task is disease diagnosis. You are given a Pathology image and are "
    "required to decide if the case is normal or tumor. You should answer with normal or tumor."
)
_NPZ_SPLIT: dict[Split, str] = {"train": "train", "val": "val", "test": "test"}
_PCAM_SPLIT: dict[Split, str] = {"train": "train", "val": "valid", "test": "test"}


def _read_npz(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """``path`` is the archive or its folder, where the 224-pixel version goes before the 28-pixel one."""
    file = path if path.is_file() else expected(*(path / name for name in _archives(dataset.name)))
    images = f"{_NPZ_SPLIT[split]}_images"
    labels = array_of(file, f"{_NPZ_SPLIT[split]}_labels")
    _expect_images(file, images, len(labels))
    for row, label in enumerate(labels.reshape(len(labels), -1)):
        name = f"{dataset.name}/{split}/{row}"
        yield dataset.diagnosis(name, name, ImageRow(name, file, images, row), _labels(dataset, file, label))


def _expect_images(file: Path, member: str, count: int) -> None:
    shape, dtype = outline(file, member)
    if shape[:1] != (count,) or dtype != np.uint8:
        raise ConfigError(f"{file}: {member} are not as many 8-bit images as there are labels.")


def _archives(name: str) -> tuple[str, str]:
    flag = "PCam200" if name == "pcam200" else name
    return f"{flag}_224.npz", f"{flag}.npz"


def _labels(dataset: DataSet, file: Path, label: NDArray[Any]) -> list[str]:
    """The options that a row of the label array means: an index, or a 0 or 1 for each option but the normal one."""
    named = [option for option in dataset.options if option != dataset.normal]
    if not dataset.single:
        if len(label) != len(named):
            raise ConfigError(f"{file} has {len(label)} labels an image; {len(named)} are expected.")
        return [option for option, there in zip(named, label, strict=True) if there]
    if len(label) != 1 or not 0 <= int(label[0]) < len(named):
        raise ConfigError(f"{file} has the label {label.tolist()}; one of 0 to {len(named) - 1} is expected.")
    return [named[int(label[0])]]


def _read_pcam(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """The unpacked HDF5 files."""
    stem = f"camelyonpatch_level_2_split_{_PCAM_SPLIT[split]}"
    slides = [row["wsi"] for row in rows_of(path / f"{stem}_meta.csv", ("wsi",))]
    images, labels = path / f"{stem}_x.h5", np.ravel(array_of(path / f"{stem}_y.h5", "y"))
    _expect_images(images, "x", len(labels))
    if len(labels) != len(slides):
        raise ConfigError(f"{path}: {stem}_y.h5 and _meta.csv do not have the same number of rows.")
    for row, (slide, label) in enumerate(zip(slides, labels, strict=True)):
        name = f"{split}/{row}"
        yield dataset.diagnosis(
            name, slide, ImageRow(name, images, "x", row), [dataset.options[int(bool(label))]]
        )


def _mnist(
    name: str,
    title: str,
    modality: str,
    examines: str,
    standing: Standing,
    options: tuple[str, ...],
    normal: str = "",
) -> DataSet:
    layout = f"`{name}_224.npz` or `{name}.npz`: train_images, train_labels, val_…, test_…"
    return DataSet(
        name, title, Task.DIAGNOSIS, modality, examines, standing, layout, "official", _SOURCE, _read_npz, options,
        single=not normal, normal=normal, assumed=("options", "prompt"),
    )  # fmt: skip


MEDMNIST = (
    _mnist(
        "pathmnist", "PathMNIST", "histology", "colorectal pathology", "OOD",
        ("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
         "cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
    ),
    _mnist(
        "octmnist", "OCTMNIST", "OCT", "retinal OCT", "OOD",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    _mnist(
        "chestmnist", "ChestMNIST", "X-ray", "chest X-ray", "ID",
        ("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax",
         "consolidation", "edema", "emphysema", "fibrosis", "pleural thickening", "hernia", "No finding"),
        "No finding",
    ),
    _mnist(
        "pneumoniamnist", "PneumoniaMNIST", "X-ray", "child's chest X-ray", "OOD", ("normal", "pneumonia"),
    ),
    _mnist(
        "breastmnist", "BreastMNIST", "ultrasound", "breast ultrasound", "OOD", ("malignant", "normal or benign"),
    ),
    _mnist(
        "organamnist", "OrganAMNIST", "CT", "abdominal CT", "OOD",
        ("bladder", "left femur", "right femur", "heart", "left kidney", "right kidney", "liver", "left lung",
         "right lung", "pancreas", "spleen"),
    ),
    DataSet(
        "pcam200", "PCam200", Task.DIAGNOSIS, "histology", "pathology", "ID",
        layout="`PCam200_224.npz` or `PCam200.npz`, made as MedMNIST's; 0 = normal, 1 = tumor",
        split="the archive's",
        source="[MedDr](https://github.com/sunanhe/MedDr), inference_specialist.py: reads it as a MedMNIST set",
        reader=_read_npz, options=("normal", "tumor"), prompt=_PCAM_PROMPT,
        assumed=("release", "options"),
    ),
    DataSet(
        "pcam", "PatchCamelyon", Task.DIAGNOSIS, "histology", "pathology", "–",
        layout="`camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5` and `…_meta.csv`, unpacked",
        split="official", source="[PCam](https://github.com/basveeling/pcam)",
        reader=_read_pcam, options=("normal", "tumor"),
    ),
)  # fmt: skip
