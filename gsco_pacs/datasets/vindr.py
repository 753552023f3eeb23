"""The VinDr sets: DICOM images and CSV files of radiologists' labels."""

from collections.abc import Iterator
from pathlib import Path

from gsco_pacs.datasets.cases import DataSet, EvaluationCase, Split, Task
from gsco_pacs.datasets.files import Row, drawn_from_train, rows_of
from gsco_pacs.datasets.images import ImageFiles

_NONE = "No finding"
_SPINE = (
    "No finding", "Osteophytes", "Disc space narrowing", "Surgical implant", "Foraminal stenosis", "Other lesions",
    "Vertebral collapse", "Spondylolysthesis",
)  # fmt: skip
_SPINE_PROMPT = (
    "You are a helpful medical assistant.    Your task is disease diagnosis. You are given a spine x-ray image.    "
    "The possible option are:No finding,Osteophytes,Disc space narrowing,    Surgical implant,Foraminal stenosis,"
    "Other lesions,Vertebral collapse,    Spondylolysthesis. The response should only contain one or more options.    "
    "Only if no other options are available, you can choose 'No finding'."
)
_CHILD = (
    "No finding", "Bronchitis", "Brocho-pneumonia", "Other disease", "Bronchiolitis", "Situs inversus", "Pneumonia",
    "Pleuro-pneumonia", "Diagphramatic hernia", "Tuberculosis", "Congenital emphysema", "CPAM",
    "Hyaline membrane disease", "Mediastinal tumor", "Lung tumor",
)  # fmt: skip
"""Spelt as in the data set."""
_BIRADS = tuple(f"BI-RADS {number}" for number in range(1, 6))


def _half(split: Split) -> str:
    """Which half of the official split holds ours: val is a tenth of train."""
    return "test" if split == "test" else "train"


def _read_spine(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """One row a lesion."""
    rows = rows_of(path / "annotations" / f"{_half(split)}.csv", ("image_id", "study_id", "lesion_type"))
    images: dict[str, list[Row]] = {}
    for row in rows:
        if split == "test" or drawn_from_train(split, row["study_id"]):
            images.setdefault(row["image_id"], []).append(row)
    for image, lesions in images.items():
        found = {row["lesion_type"] for row in lesions} - {_NONE}
        file = ImageFiles(path / f"{_half(split)}_images", (f"{image}.dicom",))
        yield dataset.diagnosis(image, lesions[0]["study_id"], file, found)


def _read_child(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """One row an image and reader; a disease is there if a reader says so."""
    images: dict[str, set[str]] = {}
    for row in rows_of(path / f"image_labels_{_half(split)}.csv", ("image_id", *_CHILD)):
        if split == "test" or drawn_from_train(split, row["image_id"]):
            found = {label for label in _CHILD if label != _NONE and row[label].strip() in ("1", "1.0")}
            images.setdefault(row["image_id"], set()).update(found)
    for image, found in images.items():
        file = ImageFiles(path / _half(split), (f"{image}.dicom",))
        yield dataset.diagnosis(image, image, file, found)


def _read_breast(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """One case an image, with the category of its breast."""
    columns = ("study_id", "image_id", "breast_birads", "split")
    official = "test" if split == "test" else "training"
    for row in rows_of(path / "breast-level_annotations.csv", columns):
        if row["split"] == official and (split == "test" or drawn_from_train(split, row["study_id"])):
            file = ImageFiles(path / "images", (f"{row['study_id']}/{row['image_id']}.dicom",))
            yield dataset.diagnosis(row["image_id"], row["study_id"], file, [row["breast_birads"]])


VINDR = (
    DataSet(
        "vindr_spinexr", "VinDr-SpineXR", Task.DIAGNOSIS, "X-ray", "spine X-ray", "ID",
        layout="`annotations/{train,test}.csv`, `{train,test}_images/<image_id>.dicom`",
        split="official train and test; a tenth of train's studies is val",
        source="[PhysioNet vindr-spinexr](https://physionet.org/content/vindr-spinexr/)",
        reader=_read_spine, options=_SPINE, single=False, normal=_NONE, prompt=_SPINE_PROMPT,
        assumed=("split",),
    ),
    DataSet(
        "vindr_pcxr", "VinDr-PCXR", Task.DIAGNOSIS, "X-ray", "child's chest X-ray", "ID",
        layout="`image_labels_{train,test}.csv`, `{train,test}/<image_id>.dicom`",
        split="official train and test; a tenth of train's images is val",
        source="[PhysioNet vindr-pcxr](https://physionet.org/content/vindr-pcxr/)",
        reader=_read_child, options=_CHILD, single=False, normal=_NONE,
        assumed=("task", "options", "split", "prompt"),
    ),
    DataSet(
        "vindr_mammo", "VinDr-Mammo", Task.DIAGNOSIS, "mammography", "mammography", "ID",
        layout="`breast-level_annotations.csv`, `images/<study_id>/<image_id>.dicom`",
        split="official train and test; a tenth of train's studies is val",
        source="[VinDr-Mammo](https://vindr.ai/datasets/mammo)",
        reader=_read_breast, options=_BIRADS, assumed=("task", "options", "split", "prompt"),
    ),
)  # fmt: skip
