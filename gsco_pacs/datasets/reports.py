"""Sets of reports: IU-Xray and MIMIC-CXR, in R2Gen's annotation.json or as they are published."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gsco_pacs.datasets.cases import DataSet, EvaluationCase, Split, Task
from gsco_pacs.datasets.files import drawn_split, entries, expected, json_of, rows_of, xml_of
from gsco_pacs.datasets.images import ImageFiles
from gsco_pacs.domain.errors import BadObjectError, ConfigError

_PROMPT = (
    "You are a helpful medical assistant. Your task is report generation. You are given a chest x-ray image and you are "
    "required to generate a summary report about the image."
)
_HEADING = re.compile(r"^\s*([A-Z][A-Z /,()-]+):", re.MULTILINE)
_IU_PATIENT = re.compile(r"(CXR\d+)_")


def _read_r2gen(dataset: DataSet, path: Path, split: Split, *, images: str) -> Iterator[EvaluationCase]:
    """One case an image, with the findings of its study, as the paper counts."""
    file = expected(path / "annotation.json", path / "mimic_annotation_all.json")
    studies = json_of(file)
    if not isinstance(studies, dict) or split not in studies:
        raise ConfigError(f"{file} has no list {split!r}.")
    for study in entries(file, studies[split], ("id", "report", "image_path")):
        patient = _IU_PATIENT.match(str(study["id"]))
        group = str(study.get("subject_id") or (patient[1] if patient else study["id"]))
        for name in map(str, study["image_path"]):
            yield dataset.reported(name, group, ImageFiles(path / images, (name,)), str(study["report"]))


def _read_indiana(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """One case a study with findings, all its views."""
    views: dict[str, list[str]] = {}
    for row in rows_of(path / "indiana_projections.csv", ("uid", "filename")):
        views.setdefault(row["uid"], []).append(row["filename"])
    folder = expected(path / "images" / "images_normalized", path / "images")
    for row in rows_of(path / "indiana_reports.csv", ("uid", "findings")):
        if row["findings"].strip() and row["uid"] in views and drawn_split(row["uid"]) == split:
            images = ImageFiles(folder, tuple(views[row["uid"]]))
            yield dataset.reported(row["uid"], row["uid"], images, row["findings"])


def _read_openi(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """One case a study with findings, all its views; in the split of the same study in Kaggle's copy."""
    folder = expected(path / "ecgen-radiology", path / "NLMCXR_reports" / "ecgen-radiology")
    pictures = path / "NLMCXR_png"
    for file in sorted(folder.glob("*.xml")):
        report = xml_of(file)
        named = report.find("uId")
        if named is None:
            raise ConfigError(f"{file} has no uId.")
        uid = named.get("id", "")
        names = tuple(f"{image.get('id', '')}.png" for image in report.iter("parentImage"))
        found = [text for text in report.iter("AbstractText") if text.get("Label") == "FINDINGS"]
        findings = " ".join(" ".join("".join(text.itertext()).split()) for text in found)
        if findings and names and drawn_split(uid.removeprefix("CXR")) == split:
            images = ImageFiles(pictures if pictures.is_dir() else path, names)
            yield dataset.reported(uid, uid, images, findings)


def _read_mimic(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """One case a study whose report has a FINDINGS section, all its images as MIMIC-CXR-JPG has them."""
    name = {"train": "train", "val": "validate", "test": "test"}[split]
    studies: dict[tuple[str, str], list[str]] = {}
    file = expected(*(path / f"mimic-cxr-2.0.0-split.csv{packed}" for packed in ("", ".gz")))
    for row in rows_of(file, ("dicom_id", "study_id", "subject_id", "split")):
        if row["split"] == name:
            studies.setdefault((row["subject_id"], row["study_id"]), []).append(row["dicom_id"])
    for (subject, study), images in studies.items():
        folder = f"files/p{subject[:2]}/p{subject}"
        report = path / folder / f"s{study}.txt"
        try:
            text = expected(report).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadObjectError(
                f"{report.name} is not a readable report ({type(error).__name__})."
            ) from error
        if found := findings_of(text):
            names = tuple(f"{folder}/s{study}/{image}.jpg" for image in images)
            yield dataset.reported(f"s{study}", f"p{subject}", ImageFiles(path, names), found)


def findings_of(report: str) -> str:
    """The text of the FINDINGS section on one line, "" without one."""
    headings = list(_HEADING.finditer(report))
    for n, heading in enumerate(headings):
        if heading[1].strip() == "FINDINGS":
            end = headings[n + 1].start() if n + 1 < len(headings) else len(report)
            return " ".join(report[heading.end() : end].split())
    return ""


REPORTS = (
    DataSet(
        "iu_xray", "IU-Xray", Task.REPORT, "X-ray", "chest X-ray", "ID",
        layout="`annotation.json`, `images/<study>/{0,1}.png`, as R2Gen distributes it", split="R2Gen's, which the paper uses",
        source="[R2Gen](https://github.com/cuhksz-nlp/R2Gen); [MedDr](https://github.com/sunanhe/MedDr), data/iu_mrg_meta.jsonl",
        reader=partial(_read_r2gen, images="images"), prompt=_PROMPT, tested_on="real content put into this layout",
    ),
    DataSet(
        "iu_xray_kaggle", "IU-Xray (Kaggle)", Task.REPORT, "X-ray", "chest X-ray", "–",
        layout="`indiana_reports.csv`, `indiana_projections.csv`, `images/images_normalized/*.png`",
        split="ours, by study (70 / 10 / 20 %)",
        source="[Kaggle raddar/chest-xrays-indiana-university](https://www.kaggle.com/datasets/raddar/chest-xrays-indiana-university)",
        reader=_read_indiana, prompt=_PROMPT,
    ),
    DataSet(
        "iu_xray_openi", "IU-Xray (Open-i)", Task.REPORT, "X-ray", "chest X-ray", "–",
        layout="`ecgen-radiology/*.xml`, `NLMCXR_png/*.png` (or the images beside the folder of reports)",
        split="ours, by study (70 / 10 / 20 %), the same as Kaggle's copy has here",
        source="[Open-i](https://openi.nlm.nih.gov/faq#collection), NLMCXR_reports.tgz and NLMCXR_png.tgz",
        reader=_read_openi, prompt=_PROMPT, tested_on="real content put into this layout",
    ),
    DataSet(
        "mimic_cxr", "MIMIC-CXR", Task.REPORT, "X-ray", "chest X-ray", "ID",
        layout="`mimic-cxr-2.0.0-split.csv[.gz]`, `files/p10/p<subject>/s<study>.txt`, `files/p10/p<subject>/s<study>/*.jpg`",
        split="official", source="[PhysioNet mimic-cxr-jpg](https://physionet.org/content/mimic-cxr-jpg/)",
        reader=_read_mimic, prompt=_PROMPT, assumed=("task", "split"),
    ),
    DataSet(
        "mimic_cxr_r2gen", "MIMIC-CXR (R2Gen)", Task.REPORT, "X-ray", "chest X-ray", "ID",
        layout="`annotation.json`, `files/p10/p<subject>/s<study>/*.jpg`, as R2Gen distributes it", split="R2Gen's",
        source="[R2Gen](https://github.com/cuhksz-nlp/R2Gen)",
        reader=partial(_read_r2gen, images="files"), prompt=_PROMPT, assumed=("split",),
    ),
)  # fmt: skip
