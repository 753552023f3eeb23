"""Data sets with a folder for each class: Retinal OCT-C8 and DermNet."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from gsco_pacs.datasets.cases import DataSet, EvaluationCase, Split, Task
from gsco_pacs.datasets.files import drawn_from_train, expected
from gsco_pacs.datasets.images import ImageFiles
from gsco_pacs.domain.errors import ConfigError

_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_OCT = {
    "AMD": "age-related macular degeneration",
    "CNV": "choroidal neovascularization",
    "CSR": "central serous retinopathy",
    "DME": "diabetic macular edema",
    "DR": "diabetic retinopathy",
    "DRUSEN": "drusen",
    "MH": "macular hole",
    "NORMAL": "normal",
}
DERMNET_CLASSES = (
    "Acne and Rosacea Photos",
    "Actinic Keratosis Basal Cell Carcinoma and other Malignant Lesions",
    "Atopic Dermatitis Photos",
    "Bullous Disease Photos",
    "Cellulitis Impetigo and other Bacterial Infections",
    "Eczema Photos",
    "Exanthems and Drug Eruptions",
    "Hair Loss Photos Alopecia and other Hair Diseases",
    "Herpes HPV and other STDs Photos",
    "Light Diseases and Disorders of Pigmentation",
    "Lupus and other Connective Tissue diseases",
    "Melanoma Skin Cancer Nevi and Moles",
    "Nail Fungus and other Nail Disease",
    "Poison Ivy Photos and other Contact Dermatitis",
    "Psoriasis pictures Lichen Planus and related diseases",
    "Scabies Lyme Disease and other Infestations and Bites",
    "Seborrheic Keratoses and other Benign Tumors",
    "Systemic Disease",
    "Tinea Ringworm Candidiasis and other Fungal Infections",
    "Urticaria Hives",
    "Vascular Tumors",
    "Vasculitis Photos",
    "Warts Molluscum and other Viral Infections",
)
_DERMNET_WORDS = {name: name.replace(" Photos", "").replace(" pictures", "") for name in DERMNET_CLASSES}


def _read(
    dataset: DataSet, path: Path, split: Split, *, words: Mapping[str, str], own_val: bool
) -> Iterator[EvaluationCase]:
    """``path`` holds train/, test/ (and val/) with one folder a class; the Kaggle archives have two folders around them."""
    inner = path / "RetinalOCT_Dataset"
    root = expected(path / "test", inner / "test", inner / inner.name / "test").parent
    folder = expected(root / (split if own_val or split == "test" else "train"))
    if unknown := {place.name for place in folder.iterdir() if place.is_dir()} - set(words):
        raise ConfigError(f"{folder} has folders that are no class of {dataset.name}: {sorted(unknown)}.")
    for name, option in words.items():
        for file in sorted(expected(folder / name).iterdir()):
            key = file.relative_to(root).as_posix()
            if file.suffix.lower() in _IMAGES and (
                own_val or split == "test" or drawn_from_train(split, file.stem)
            ):
                yield dataset.diagnosis(key, key, ImageFiles(root, (key,)), [option])


FOLDERS = (
    DataSet(
        "retoct", "Retinal OCT-C8", Task.DIAGNOSIS, "OCT", "retinal OCT", "ID",
        layout="`{train,val,test}/{AMD,CNV,CSR,DME,DR,DRUSEN,MH,NORMAL}/*`, also below `RetinalOCT_Dataset/` (once or twice)",
        split="official",
        source="[Kaggle obulisainaren/retinal-oct-c8](https://www.kaggle.com/datasets/obulisainaren/retinal-oct-c8)",
        reader=partial(_read, words=_OCT, own_val=True), options=tuple(_OCT.values()),
        assumed=("options", "split", "prompt"),
    ),
    DataSet(
        "dermnet", "DermNet", Task.DIAGNOSIS, "photograph", "dermatology", "ID",
        layout="`{train,test}/<one of 23 classes>/*.jpg`",
        split="official train and test; a tenth of train is val",
        source="[Kaggle shubhamgoel27/dermnet](https://www.kaggle.com/datasets/shubhamgoel27/dermnet)",
        reader=partial(_read, words=_DERMNET_WORDS, own_val=False), options=tuple(_DERMNET_WORDS.values()),
        assumed=("options", "split", "prompt"),
    ),
)  # fmt: skip
