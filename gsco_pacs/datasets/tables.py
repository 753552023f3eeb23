"""Data sets of image files with a table of labels: HAM10000, Derm7pt, BRSET, the MedFMC sets and CBIS-DDSM."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from gsco_pacs.datasets.cases import DataSet, EvaluationCase, Split, Task
from gsco_pacs.datasets.files import Row, drawn_from_train, drawn_split, expected, lines_of, rows_of
from gsco_pacs.datasets.images import ImageFiles
from gsco_pacs.domain.errors import ConfigError

_HAM = {
    "akiec": "actinic keratosis or intraepithelial carcinoma",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis-like lesion",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
_DERM7PT = ("basal cell carcinoma", "nevus", "melanoma", "miscellaneous", "seborrheic keratosis")
_DERM7PT_OTHER = ("dermatofibroma", "lentigo", "melanosis", "miscellaneous", "vascular lesion")
_BRSET = (
    "diabetic_retinopathy", "macular_edema", "scar", "nevus", "amd", "vascular_occlusion", "hypertensive_retinopathy",
    "drusen", "hemorrhage", "retinal_detachment", "myopic_fundus", "increased_cup_disc", "other",
)  # fmt: skip
_BRSET_DRUSEN = {"labels.csv": "drusens", "labels_brset.csv": "drusens", "label_brset.csv": "drusen"}
"""The table of labels of the releases 1.0.0, 1.0.1 and 1.0.2 -> how it spells one of its columns."""
_BRSET_WORDS = {
    name: {
        "amd": "age-related macular degeneration",
        "increased_cup_disc": "increased cup-to-disc ratio",
        "other": "other disease",
    }.get(name, name.replace("_", " "))
    for name in _BRSET
}
_FMC_CHEST = (
    "pleural effusion", "nodule", "pneumonia", "cardiomegaly", "hilar enlargement", "old fracture", "fibrosis",
    "aortic calcification", "tortuous aorta", "thickened pleura", "tuberculosis", "pneumothorax", "emphysema",
    "atelectasis", "calcification", "pulmonary edema", "increased lung markings", "elevated diaphragm", "consolidation",
)  # fmt: skip
_NONE = "No finding"


def _read_ham(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    rows = rows_of(path / "HAM10000_metadata.csv", ("lesion_id", "image_id", "dx"))
    parts = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images")
    for row in rows:
        if drawn_split(row["lesion_id"]) == split:
            file = f"{row['image_id']}.jpg"
            place = expected(*(path / part / file for part in parts)).relative_to(path).as_posix()
            label = _HAM.get(row["dx"], row["dx"])
            yield dataset.diagnosis(row["image_id"], row["lesion_id"], ImageFiles(path, (place,)), [label])


def _read_derm7pt(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """The dermoscopic image; the rare diagnoses are grouped as the authors do."""
    rows = rows_of(path / "meta" / "meta.csv", ("diagnosis", "derm", "case_num"))
    name = {"train": "train", "val": "valid", "test": "test"}[split]
    for index in rows_of(path / "meta" / f"{name}_indexes.csv", ("indexes",)):
        place = int(index["indexes"])
        if place >= len(rows):
            raise ConfigError(
                f"{path / 'meta' / 'meta.csv'} has no row {place}, which {name}_indexes.csv names."
            )
        row = rows[place]
        images = ImageFiles(path / "images", (row["derm"],))
        yield dataset.diagnosis(
            f"{place}/{row['derm']}", row["case_num"], images, [_derm_group(row["diagnosis"])]
        )


def _derm_group(diagnosis: str) -> str:
    if diagnosis.startswith("melanoma"):
        return "melanoma"
    if diagnosis.endswith("nevus"):
        return "nevus"
    return "miscellaneous" if diagnosis in _DERM7PT_OTHER else diagnosis


def _read_brset(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    file = expected(*(path / name for name in _BRSET_DRUSEN))
    columns = {_BRSET_DRUSEN[file.name] if name == "drusen" else name: name for name in _BRSET}
    for row in rows_of(file, ("image_id", "patient_id", *columns)):
        if drawn_split(row["patient_id"]) == split:
            name = row["image_id"] if "." in row["image_id"] else f"{row['image_id']}.jpg"
            true = [_BRSET_WORDS[label] for column, label in columns.items() if _yes(row, column)]
            yield dataset.diagnosis(
                row["image_id"], row["patient_id"], ImageFiles(path / "fundus_photos", (name,)), true
            )


def _yes(row: Row, column: str) -> bool:
    """Whether a column that holds 0 or 1 (or 0.0 or 1.0) holds 1."""
    return row[column].strip() in ("1", "1.0")


def _read_fmc(dataset: DataSet, path: Path, split: Split, *, part: str) -> Iterator[EvaluationCase]:
    """One line an image: its name (which may have spaces) and a 0 or 1 for each label, apart by spaces or commas."""
    folder = expected(path / "MedFMC" / part, path / part)
    file = folder / {"train": "train_20.txt", "val": "val_20.txt", "test": "test_WithLabel.txt"}[split]
    named = [option for option in dataset.options if option != dataset.normal]
    count = 1 if dataset.single else len(named)
    form = re.compile(rf"(.+\.\w+)\s((?:[01][ ,]){{{count - 1}}}[01])")
    for line in lines_of(file):
        match = form.fullmatch(line)
        if match is None:
            raise ConfigError(f"{file} has a line that is not an image's name and {count} zeros and ones.")
        name, values = match[1], re.split("[ ,]", match[2])
        true = (
            [named[int(values[0])]]
            if dataset.single
            else [option for option, value in zip(named, values, strict=True) if value == "1"]
        )
        yield dataset.diagnosis(name, _fmc_patient(name), ImageFiles(folder / "images", (name,)), true)


def _fmc_patient(name: str) -> str:
    """The specimen or examination that a file name begins with, else the image itself."""
    colon = re.match(r"(\d{4}-\d{5})-|(.+?)-lv1-", name)
    if colon:
        return colon[1] or colon[2]
    endoscopy = re.match(r"(\d+_\d{4}\.\d+_\d+)_", name)
    return endoscopy[1] if endoscopy else name


def _read_cbis(dataset: DataSet, path: Path, split: Split, *, kind: str) -> Iterator[EvaluationCase]:
    """One case a mammogram, malignant if one of its abnormalities of this kind is."""
    file = path / "csv" / f"{kind}_case_description_{'test' if split == 'test' else 'train'}_set.csv"
    mammograms: dict[str, list[Row]] = {}
    for row in rows_of(file, ("patient_id", "pathology", "image file path")):
        if split == "test" or drawn_from_train(split, row["patient_id"]):
            mammograms.setdefault(row["image file path"].strip(), []).append(row)
    jpeg = _cbis_images(path / "csv" / "dicom_info.csv", list(mammograms))
    for place, rows in mammograms.items():
        malignant = any(row["pathology"] == "MALIGNANT" for row in rows)
        yield dataset.diagnosis(
            place, rows[0]["patient_id"], ImageFiles(path / "jpeg", (jpeg[place],)),
            ["malignant" if malignant else "benign"],
        )  # fmt: skip


def _cbis_images(file: Path, places: Sequence[str]) -> dict[str, str]:
    """Place of a mammogram (…/study/series/000000.dcm) -> its image, which is alone in the series' folder.

    The table's SeriesDescription is no help: it is empty for some of the mammograms.
    """
    series: dict[str, list[str]] = {}
    for row in rows_of(file, ("image_path",)):
        image = PurePosixPath(row["image_path"])
        series.setdefault(image.parent.name, []).append(f"{image.parent.name}/{image.name}")
    found = {place: series.get(PurePosixPath(place).parent.name, []) for place in places}
    if lacking := [place for place, images in found.items() if len(images) != 1]:
        raise ConfigError(
            f"{file} has none or several images for {len(lacking)} of {len(places)} mammograms, such as {lacking[0]}."
        )
    return {place: images[0] for place, images in found.items()}


def _fmc(
    part: str, title: str, modality: str, examines: str, options: tuple[str, ...], normal: str
) -> DataSet:
    return DataSet(
        f"fmc_{part}", title, Task.DIAGNOSIS, modality, examines, "OOD",
        layout=f"`MedFMC/{part}/{{train_20,val_20,test_WithLabel}}.txt`, `MedFMC/{part}/images/*.png`",
        split="official (train_20 and val_20 are parts of trainval)",
        source="[openmedlab/MedFM](https://github.com/openmedlab/MedFM)",
        reader=partial(_read_fmc, part=part), options=options, single=not normal, normal=normal,
        tested_on="its own lists, no images", assumed=("task", "options", "split", "prompt"),
    )  # fmt: skip


def _cbis(kind: str, title: str) -> DataSet:
    return DataSet(
        f"cbis_{kind}", title, Task.DIAGNOSIS, "mammography", "mammography", "OOD",
        layout=f"`csv/{kind}_case_description_{{train,test}}_set.csv`, `csv/dicom_info.csv`, `jpeg/<series>/*.jpg`",
        split="official train and test; a tenth of train's patients is val",
        source="[Kaggle awsaf49/cbis-ddsm](https://www.kaggle.com/datasets/awsaf49/cbis-ddsm-breast-cancer-image-dataset)",
        reader=partial(_read_cbis, kind=kind), options=("benign", "malignant"),
        assumed=("task", "options", "split", "prompt"),
    )  # fmt: skip


TABLES = (
    DataSet(
        "ham10000", "HAM10000", Task.DIAGNOSIS, "dermoscopy", "dermoscopy", "ID",
        layout="`HAM10000_metadata.csv`, `HAM10000_images_part_{1,2}/*.jpg`",
        split="ours, by lesion (70 / 10 / 20 %)",
        source="[Kaggle kmader/skin-cancer-mnist-ham10000](https://www.kaggle.com/datasets/kmader/skin-cancer-mnist-ham10000)",
        reader=_read_ham, options=tuple(_HAM.values()), assumed=("options", "split", "prompt"),
    ),
    DataSet(
        "derm7pt", "Derm7pt", Task.DIAGNOSIS, "dermoscopy", "dermoscopy", "OOD",
        layout="`meta/meta.csv`, `meta/{train,valid,test}_indexes.csv`, `images/`", split="official",
        source="[jeremykawahara/derm7pt](https://github.com/jeremykawahara/derm7pt)",
        reader=_read_derm7pt, options=_DERM7PT, assumed=("task", "options", "split", "prompt"),
    ),
    DataSet(
        "brset", "BRSET", Task.DIAGNOSIS, "fundus photograph", "retinography", "OOD",
        layout="`labels.csv` (release 1.0.0), `labels_brset.csv` (1.0.1) or `label_brset.csv` (1.0.2), `fundus_photos/*.jpg`",
        split="ours, by patient (70 / 10 / 20 %)",
        source="[PhysioNet brazilian-ophthalmological](https://physionet.org/content/brazilian-ophthalmological/); the paper names 1.0.0",
        reader=_read_brset, options=(*_BRSET_WORDS.values(), _NONE), single=False, normal=_NONE,
        assumed=("task", "options", "split", "prompt"),
    ),
    _fmc("chest", "FMC-Chest", "X-ray", "chest X-ray", (*_FMC_CHEST, _NONE), _NONE),
    _fmc("colon", "FMC-Colon", "histology", "colon pathology", ("normal", "tumor"), ""),
    _fmc("endo", "FMC-Endo", "endoscopy", "endoscopy", ("ulcer", "erosion", "polyp", "tumor", _NONE), _NONE),
    _cbis("mass", "CBIS-DDSM (MASS)"),
    _cbis("calc", "CBIS-DDSM (CALC)"),
)  # fmt: skip
