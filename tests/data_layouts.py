"""Small made-up directories in the layout of every data set, each with the cases that must be read from it."""

import csv
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import h5py
import numpy as np
from PIL import Image

from gsco_pacs.datasets.folders import DERMNET_CLASSES
from tests.stored_images import asymmetric, written

Said = tuple[str, ...]


@dataclass(frozen=True)
class Made:
    """What was written: {key: (group, truth)}, which of it is the official test split, and a file that is needed."""

    cases: Mapping[str, tuple[str, Said]]
    test: set[str] | None
    """None if the split is drawn by us."""
    needed: Path


def picture(path: Path, grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((5, 7) if grey else (5, 7, 3), 51, np.uint8)).save(path)


def dicom(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written(path, asymmetric())


def table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def medmnist(name: str, file: str, labels: Sequence[Sequence[int]], said: Sequence[Said]) -> Any:
    """Two images in each split, of more bytes than a case may have; test has ``labels``, which mean ``said``."""

    def write(folder: Path) -> Made:
        arrays: dict[str, Any] = {}
        for split in ("train", "val", "test"):
            arrays[f"{split}_images"] = np.full((len(labels), 64, 64), 51, np.uint8)
            arrays[f"{split}_labels"] = np.array(labels, np.uint8)
        np.savez_compressed(folder / file, **arrays)
        keys = [(split, n) for split in ("train", "val", "test") for n in range(len(labels))]
        cases = {f"{name}/{split}/{n}": (f"{name}/{split}/{n}", said[n]) for split, n in keys}
        return Made(cases, {key for key in cases if "/test/" in key}, folder / file)

    return write


def pcam(folder: Path) -> Made:
    cases: dict[str, tuple[str, Said]] = {}
    for split in ("train", "valid", "test"):
        stem = folder / f"camelyonpatch_level_2_split_{split}"
        for member, array in (
            ("x", np.full((2, 4, 4, 3), 51, np.uint8)),
            ("y", np.array([[[[1]]], [[[0]]]])),
        ):
            with h5py.File(f"{stem}_{member}.h5", "w") as file:
                file[member] = array
        table(folder / f"{stem.name}_meta.csv", [{"wsi": f"slide-{split}-{n}"} for n in range(2)])
        ours = split.replace("valid", "val")
        cases |= {
            f"{ours}/0": (f"slide-{split}-0", ("tumor",)),
            f"{ours}/1": (f"slide-{split}-1", ("normal",)),
        }
    return Made(cases, {"test/0", "test/1"}, folder / "camelyonpatch_level_2_split_test_x.h5")


OCT = {"AMD": "age-related macular degeneration", "CNV": "choroidal neovascularization", "CSR": "central serous retinopathy",
       "DME": "diabetic macular edema", "DR": "diabetic retinopathy", "DRUSEN": "drusen", "MH": "macular hole",
       "NORMAL": "normal"}  # fmt: skip


def retoct(folder: Path) -> Made:
    root = folder / "RetinalOCT_Dataset" / "RetinalOCT_Dataset"
    cases: dict[str, tuple[str, Said]] = {}
    for split in ("train", "val", "test"):
        for name, words in OCT.items():
            key = f"{split}/{name}/{name.lower()}_{split}_1.jpg"
            picture(root / key, grey=True)
            cases[key] = (key, (words,))
    return Made(cases, {key for key in cases if key.startswith("test/")}, root / "test")


def dermnet(folder: Path) -> Made:
    cases: dict[str, tuple[str, Said]] = {}
    for split in ("train", "test"):
        for n, name in enumerate(DERMNET_CLASSES):
            key = f"{split}/{name}/{n}.jpg"
            picture(folder / key)
            cases[key] = (key, (name.replace(" Photos", "").replace(" pictures", ""),))
    return Made(cases, {key for key in cases if key.startswith("test/")}, folder / "test")


def ham10000(folder: Path) -> Made:
    words = {"nv": "melanocytic nevus", "mel": "melanoma", "bkl": "benign keratosis-like lesion"}
    rows, cases = [], {}
    for n in range(24):
        image, lesion, dx = f"ISIC_{n:07}", f"HAM_{n // 2:07}", tuple(words)[n // 2 % 3]
        rows.append({"lesion_id": lesion, "image_id": image, "dx": dx, "dx_type": "histo", "age": 50})
        picture(folder / f"HAM10000_images_part_{1 + n % 2}" / f"{image}.jpg")
        cases[image] = (lesion, (words[dx],))
    return Made(cases, None, table(folder / "HAM10000_metadata.csv", rows))


def derm7pt(folder: Path) -> Made:
    said = {
        "clark nevus": "nevus",
        "melanoma (in situ)": "melanoma",
        "lentigo": "miscellaneous",
        "basal cell carcinoma": "basal cell carcinoma",
    }
    rows = [
        {"case_num": 10 + n, "diagnosis": d, "derm": f"D/{n}.jpg", "clinic": "C"} for n, d in enumerate(said)
    ]
    table(folder / "meta" / "meta.csv", rows)
    for n, row in enumerate(rows):
        picture(folder / "images" / str(row["derm"]))
        split = ("train", "valid", "test", "test")[n]
        places = [{"indexes": place} for place in ((2, 3) if split == "test" else (n,))]
        table(folder / "meta" / f"{split}_indexes.csv", places)
    cases = {f"{n}/D/{n}.jpg": (str(10 + n), (said[d],)) for n, d in enumerate(said)}
    return Made(cases, {"2/D/2.jpg", "3/D/3.jpg"}, folder / "meta" / "test_indexes.csv")


def brset(folder: Path) -> Made:
    columns = ("diabetic_retinopathy", "macular_edema", "scar", "nevus", "amd", "vascular_occlusion",
               "hypertensive_retinopathy", "drusens", "hemorrhage", "retinal_detachment", "myopic_fundus",
               "increased_cup_disc", "other")  # fmt: skip
    rows, cases = [], {}
    for n in range(24):
        true = {("amd", "drusens"), ("increased_cup_disc",), ()}
        found = sorted(true, key=len)[n // 2 % 3]
        rows.append(
            {"image_id": f"img{n:05}", "patient_id": n // 2}
            | {column: int(column in found) for column in columns}
        )
        picture(folder / "fundus_photos" / f"img{n:05}.jpg")
        said = {
            (): ("No finding",),
            ("increased_cup_disc",): ("increased cup-to-disc ratio",),
            ("amd", "drusens"): ("age-related macular degeneration", "drusen"),
        }
        cases[f"img{n:05}"] = (str(n // 2), said[found])
    return Made(cases, None, table(folder / "labels_brset.csv", rows))


def fmc(part: str, lines: dict[str, tuple[str, str, Said]]) -> Callable[[Path], Made]:
    """``lines``: {split file: (image and labels, group, truth)}, one image a file."""

    def write(folder: Path) -> Made:
        root = folder / "MedFMC" / part
        cases = {}
        for file, (line, group, said) in lines.items():
            text(root / file, f"{line}\n")
            name = line[: line.index(".png") + 4]
            picture(root / "images" / name)
            cases[name] = (group, said)
        test = lines["test_WithLabel.txt"][0]
        return Made(cases, {test[: test.index(".png") + 4]}, root / "test_WithLabel.txt")

    return write


def cbis(kind: str) -> Callable[[Path], Made]:
    def write(folder: Path) -> Made:
        info, cases = [], {}
        for half in ("train", "test"):
            rows = []
            for n, pathology in enumerate(("BENIGN", "MALIGNANT", "BENIGN_WITHOUT_CALLBACK")):
                patient, series = f"P_{half}_{n // 2}", f"1.3.6.{half == 'test':d}.{n // 2}"
                place = f"{kind}-{half}_{patient}_LEFT_CC/1.3.5/{series}/000000.dcm"
                rows.append(
                    {
                        "patient_id": patient,
                        "image file path": place,
                        "pathology": pathology,
                        "abnormality id": n,
                    }
                )
                picture(folder / "jpeg" / series / "1-001.jpg", grey=True)
                if n != 1:  # the second abnormality of a mammogram
                    described = "full mammogram images" if n else ""  # as it is for some of the real ones
                    info.append(
                        {
                            "image_path": f"CBIS-DDSM/jpeg/{series}/1-001.jpg",
                            "SeriesDescription": described,
                        }
                    )
                cases[place] = (patient, ("malignant",) if n < 2 else ("benign",))
            table(folder / "csv" / f"{kind}_case_description_{half}_set.csv", rows)
        info.append({"image_path": "CBIS-DDSM/jpeg/9.9/1-001.jpg", "SeriesDescription": "cropped images"})
        return Made(
            cases, {key for key in cases if "-test_" in key}, table(folder / "csv" / "dicom_info.csv", info)
        )

    return write


def spine(folder: Path) -> Made:
    cases: dict[str, tuple[str, Said]] = {}
    for half in ("train", "test"):
        lesions = (
            ("a", "Osteophytes"),
            ("a", "Disc space narrowing"),
            ("a", "Osteophytes"),
            ("b", "No finding"),
        )
        rows = [
            {"image_id": f"{half}{i}", "study_id": f"s-{half}{i}", "lesion_type": kind} for i, kind in lesions
        ]
        needed = table(folder / "annotations" / f"{half}.csv", rows)
        for image in "ab":
            dicom(folder / f"{half}_images" / f"{half}{image}.dicom")
        cases |= {
            f"{half}a": (f"s-{half}a", ("Osteophytes", "Disc space narrowing")),
            f"{half}b": (f"s-{half}b", ("No finding",)),
        }
    return Made(cases, {"testa", "testb"}, needed)


def child(folder: Path) -> Made:
    columns = ("No finding", "Bronchitis", "Brocho-pneumonia", "Other disease", "Bronchiolitis", "Situs inversus",
               "Pneumonia", "Pleuro-pneumonia", "Diagphramatic hernia", "Tuberculosis", "Congenital emphysema", "CPAM",
               "Hyaline membrane disease", "Mediastinal tumor", "Lung tumor")  # fmt: skip
    cases: dict[str, tuple[str, Said]] = {}
    for half in ("train", "test"):
        rows = []
        for image, found in (("a", "Pneumonia"), ("a", "CPAM"), ("b", "No finding")):
            labels = {column: "1.0" if column == found else "0.0" for column in columns}
            rows.append({"image_id": f"{half}{image}", "rad_ID": "R1"} | labels)
            dicom(folder / half / f"{half}{image}.dicom")
        needed = table(folder / f"image_labels_{half}.csv", rows)
        cases |= {
            f"{half}a": (f"{half}a", ("Pneumonia", "CPAM")),
            f"{half}b": (f"{half}b", ("No finding",)),
        }
    return Made(cases, {"testa", "testb"}, needed)


def mammo(folder: Path) -> Made:
    rows, cases = [], {}
    for n, split in enumerate(("training", "training", "test", "test")):
        study, image = f"s{n // 2}", f"i{n}"
        rows.append(
            {"study_id": study, "image_id": image, "breast_birads": f"BI-RADS {n + 1}", "split": split}
        )
        dicom(folder / "images" / study / f"{image}.dicom")
        cases[image] = (study, (f"BI-RADS {n + 1}",))
    return Made(cases, {"i2", "i3"}, table(folder / "breast-level_annotations.csv", rows))


def vqa_rad(folder: Path) -> Made:
    kinds = ("freeform", "para", "test_freeform", "test_para")
    items, cases = [], {}
    for n, kind in enumerate(kinds):
        image = f"synpic{n // 3}.jpg"
        picture(folder / "VQA_RAD Image Folder" / image)
        items.append(
            {
                "qid": n,
                "image_name": image,
                "question": f"How many, {n}?",
                "answer": n,
                "phrase_type": kind,
                "answer_type": ("OPEN", "CLOSED ")[n % 2],
            }
        )
        cases[str(n)] = (image, (f"How many, {n}?", str(n)))
    return Made(cases, {"2", "3"}, text(folder / "VQA_RAD Dataset Public.json", json.dumps(items)))


def slake(folder: Path) -> Made:
    cases: dict[str, tuple[str, Said]] = {}
    for n, name in enumerate(("train", "validate", "test")):
        image = f"xmlab{n}/source.jpg"
        picture(folder / "imgs" / image)
        english = {"qid": n, "img_name": image, "question": "Which organ?", "answer": "Liver", "q_lang": "en",
                   "answer_type": "CLOSED"}  # fmt: skip
        chinese = english | {"qid": 100 + n, "q_lang": "zh"}
        needed = text(folder / f"{name}.json", json.dumps([english, chinese]))
        cases[str(n)] = (image, ("Which organ?", "Liver"))
    return Made(cases, {"2"}, needed)


def path_vqa(folder: Path) -> Made:
    cases: dict[str, tuple[str, Said]] = {}
    for split in ("train", "val", "test"):
        picture(folder / "pvqa" / "images" / split / f"{split}_0000.jpg")
        needed = folder / "pvqa" / "qas" / split / f"{split}_qa.pkl"
        needed.parent.mkdir(parents=True)
        item = {"image": f"{split}_0000", "question": "Is it necrosis?", "answer": "no"}
        needed.write_bytes(pickle.dumps([item]))
        key = f"{split}/{split}_0000.jpg"
        cases[f"{key}#0"] = (key, ("Is it necrosis?", "no"))
    return Made(cases, {"test/test_0000.jpg#0"}, needed)


def pmc_vqa(folder: Path) -> Made:
    cases: dict[str, tuple[str, Said]] = {}
    for half in ("train", "test"):
        row = {"Figure_path": f"PMC_{half}.jpg", "Caption": "A scan.", "Question": "Which plane?"}
        row |= {f"Choice {letter}": f" {letter}:{word}" for letter, word in zip("ABCD", PLANES, strict=True)}
        picture(folder / "figures" / row["Figure_path"])
        needed = table(folder / f"{half}_2.csv", [row | {"Answer": "B"}])
        cases[f"PMC_{half}.jpg#0"] = (
            f"PMC_{half}.jpg",
            ("Which plane? Choose one: Axial; Coronal; Sagittal; Oblique.", "Coronal", *PLANES),
        )
    return Made(cases, {"PMC_test.jpg#0"}, needed)


PLANES = ("Axial", "Coronal", "Sagittal", "Oblique")


def vqa_med(folder: Path) -> Made:
    places = (
        ("ImageClef-2019-VQA-Med-Training", "All_QA_Pairs_train.txt", "Train_images", "a|in what plane?|axial"),
        ("ImageClef-2019-VQA-Med-Validation", "All_QA_Pairs_val.txt", "Val_images", "b|in what plane?|axial"),
        ("VQAMed2019Test", "VQAMed2019_Test_Questions_w_Ref_Answers.txt", "VQAMed2019_Test_Images",
         "c|abnormality|what is wrong?|(large) lipoma#fatty mass"),
    )  # fmt: skip
    for root, name, pictures, line in places:
        needed = text(folder / root / name, f"{line}\n")
        picture(folder / root / pictures / f"{line[0]}.jpg")
    cases: dict[str, tuple[str, Said]] = {
        f"{image}.jpg#0": (f"{image}.jpg", ("in what plane?", "axial")) for image in "ab"
    }
    cases["c.jpg#0"] = ("c.jpg", ("what is wrong?", "(large) lipoma", "fatty mass", "lipoma"))
    return Made(cases, {"c.jpg#0"}, needed)


def omnimedvqa(folder: Path) -> Made:
    item = {"question_id": "q1", "question": "Which plane?", "gt_answer": "coronal", "modality_type": "CT"}
    item |= {"image_path": "Images/set/1.png"}
    item |= {f"option_{letter}": word for letter, word in zip("ABC", PLANES, strict=False)}
    picture(folder / "Images" / "set" / "1.png")
    text(folder / "QA_information" / "Open-access" / "set.json", json.dumps([item]))
    cases = {
        "q1": (
            "Images/set/1.png",
            ("Which plane? Choose one: Axial; Coronal; Sagittal.", "Coronal", *PLANES[:3]),
        )
    }
    return Made(cases, {"q1"}, folder / "QA_information" / "Open-access")


def r2gen(images: str, identity: dict[str, Any], group: str) -> Callable[[Path], Made]:
    def write(folder: Path) -> Made:
        studies, cases = {}, {}
        for split in ("train", "val", "test"):
            names = [f"{split}/0.png", f"{split}/1.png"]
            studies[split] = [identity | {"report": f"Clear lungs, {split}.", "image_path": names}]
            for name in names:
                picture(folder / images / name, grey=True)
                cases[name] = (group, (f"Clear lungs, {split}.",))
        needed = text(folder / "annotation.json", json.dumps(studies))
        return Made(cases, {"test/0.png", "test/1.png"}, needed)

    return write


def indiana(folder: Path) -> Made:
    reports, projections, cases = [], [], {}
    for n in range(24):
        reports.append({"uid": n, "findings": f"Clear lungs, {n}." if n else "", "impression": "Normal."})
        for view in ("Frontal", "Lateral"):
            name = f"{n}_IM-0001-{view}.dcm.png"
            projections.append({"uid": n, "filename": name, "projection": view})
            picture(folder / "images" / "images_normalized" / name, grey=True)
        if n:
            cases[str(n)] = (str(n), (f"Clear lungs, {n}.",))
    table(folder / "indiana_projections.csv", projections)
    return Made(cases, None, table(folder / "indiana_reports.csv", reports))


def openi(folder: Path) -> Made:
    cases = {}
    for n in range(24):
        names = [f"CXR{n}_IM-0001-{view}" for view in (1001, 2001)] if n != 1 else []
        sections = {
            "COMPARISON": "None.",
            "FINDINGS": f"Lungs < {n} cm & clear." if n else "",
            "IMPRESSION": "Normal.",
        }
        needed = text(folder / "ecgen-radiology" / f"{n}.xml", ecitation(f"CXR{n}", sections, names))
        for name in names:
            picture(folder / "NLMCXR_png" / f"{name}.png", grey=True)
        if n > 1:
            cases[f"CXR{n}"] = (f"CXR{n}", (f"Lungs < {n} cm & clear.",))
    return Made(cases, None, needed.parent)


def ecitation(uid: str, sections: Mapping[str, str], images: Sequence[str]) -> str:
    """A report as Open-i gives it."""
    spoken = (
        f'<AbstractText Label="{label}">{escape(said)}</AbstractText>' for label, said in sections.items()
    )
    shown = (f'<parentImage id="{name}"><caption>Xray Chest</caption></parentImage>' for name in images)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation><uId id="{uid}"/><MedlineCitation><Article><Abstract>'
        f"{''.join(spoken)}</Abstract></Article></MedlineCitation>{''.join(shown)}</eCitation>\n"
    )


def mimic(folder: Path) -> Made:
    rows, cases = [], {}
    report = "EXAMINATION: CHEST\n\nFINDINGS:\n\nThe lungs\nare clear.\n\nIMPRESSION: Normal.\n"
    for n, split in enumerate(("train", "validate", "test", "test")):
        subject, study = f"1000000{n}", f"5000000{n}"
        place = folder / "files" / "p10" / f"p{subject}"
        rows.append({"dicom_id": f"d{n}", "study_id": study, "subject_id": subject, "split": split})
        text(place / f"s{study}.txt", report if n < 3 else "IMPRESSION: Normal.\n")
        picture(place / f"s{study}" / f"d{n}.jpg", grey=True)
        if n < 3:
            cases[f"s{study}"] = (f"p{subject}", ("The lungs are clear.",))
    return Made(cases, {"s50000002"}, table(folder / "mimic-cxr-2.0.0-split.csv", rows))


CHEST_ENDS = "0,1,0,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0"
LAYOUTS: dict[str, Callable[[Path], Made]] = {
    "pathmnist": medmnist("pathmnist", "pathmnist_224.npz", [[8], [0]],
                          [("colorectal adenocarcinoma epithelium",), ("adipose",)]),
    "octmnist": medmnist("octmnist", "octmnist.npz", [[3], [1]], [("normal",), ("diabetic macular edema",)]),
    "chestmnist": medmnist("chestmnist", "chestmnist.npz", [[1, 0, 1, *[0] * 11], [0] * 14],
                           [("atelectasis", "effusion"), ("No finding",)]),
    "pneumoniamnist": medmnist("pneumoniamnist", "pneumoniamnist.npz", [[0], [1]], [("normal",), ("pneumonia",)]),
    "breastmnist": medmnist("breastmnist", "breastmnist.npz", [[0], [1]], [("malignant",), ("normal or benign",)]),
    "organamnist": medmnist("organamnist", "organamnist.npz", [[6], [10]], [("liver",), ("spleen",)]),
    "pcam200": medmnist("pcam200", "PCam200_224.npz", [[0], [1]], [("normal",), ("tumor",)]),
    "pcam": pcam,
    "retoct": retoct,
    "dermnet": dermnet,
    "ham10000": ham10000,
    "derm7pt": derm7pt,
    "brset": brset,
    "fmc_chest": fmc("chest", {
        "train_20.txt": (f"a.png {CHEST_ENDS}", "a.png", ("nodule", "tuberculosis")),
        "val_20.txt": (f"b.png {CHEST_ENDS}", "b.png", ("nodule", "tuberculosis")),
        "test_WithLabel.txt": (f"c.png {','.join('0' * 19)}", "c.png", ("No finding",)),
    }),
    "fmc_colon": fmc("colon", {
        "train_20.txt": ("2019-08974-1-5-5_2019-05-28 23_17_50-lv1-3p0018.png 0", "2019-08974", ("normal",)),
        "val_20.txt": ("D20180723501_2019-06-10 13_47_37-lv1-1p1.png 1", "D20180723501_2019-06-10 13_47_37", ("tumor",)),
        "test_WithLabel.txt": ("2019-07506-1-6-6_2019-05-29 06_02_44-lv1-3p1.png 1", "2019-07506", ("tumor",)),
    }),
    "fmc_endo": fmc("endo", {
        "train_20.txt": ("13333_2021.11_0003_55200268.png 0 0 0 0", "13333_2021.11_0003", ("No finding",)),
        "val_20.txt": ("13333_2021.11_0004_55200268.png 0 0 0 1", "13333_2021.11_0004", ("tumor",)),
        "test_WithLabel.txt": ("13333_2020.12_0002_39986569.png 1 1 0 0", "13333_2020.12_0002", ("ulcer", "erosion")),
    }),
    "cbis_mass": cbis("mass"),
    "cbis_calc": cbis("calc"),
    "vindr_spinexr": spine,
    "vindr_pcxr": child,
    "vindr_mammo": mammo,
    "vqa_rad": vqa_rad,
    "slake": slake,
    "path_vqa": path_vqa,
    "pmc_vqa": pmc_vqa,
    "vqa_med": vqa_med,
    "omnimedvqa": omnimedvqa,
    "iu_xray": r2gen("images", {"id": "CXR7_IM-0003"}, "CXR7"),
    "iu_xray_kaggle": indiana,
    "iu_xray_openi": openi,
    "mimic_cxr": mimic,
    "mimic_cxr_r2gen": r2gen("files", {"id": "x", "study_id": 5, "subject_id": 10000001}, "10000001"),
}  # fmt: skip
