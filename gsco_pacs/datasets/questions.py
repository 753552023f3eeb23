"""Sets of questions: VQA-RAD, SLAKE, PathVQA, PMC-VQA, VQA-Med 2019 and OmniMedVQA."""

import io
import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from gsco_pacs.datasets.cases import DataSet, EvaluationCase, Split, Standing, Task
from gsco_pacs.datasets.files import drawn_from_train, entries, expected, json_of, lines_of, rows_of
from gsco_pacs.datasets.images import ImageFiles
from gsco_pacs.domain.errors import ConfigError

_PROMPT = (
    "You are a helpful medical assistant.You are require to answer the question based on the medical image."
    "The question is $question."
)
"""As published, for PMC-VQA; the paper's code has no other prompt for questions."""
_RAD = "VQA_RAD Dataset Public.json"
_MED = {
    "train": ("ImageClef-2019-VQA-Med-Training", "All_QA_Pairs_train.txt", "Train_images"),
    "val": ("ImageClef-2019-VQA-Med-Validation", "All_QA_Pairs_val.txt", "Val_images"),
    "test": ("VQAMed2019Test", "VQAMed2019_Test_Questions_w_Ref_Answers.txt", "VQAMed2019_Test_Images"),
}
_LETTERS = "ABCD"
_CHOICES = tuple(f"Choice {letter}" for letter in _LETTERS)


def _read_rad(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """The test questions are those whose phrase_type begins with "test"; an image may have questions in both splits."""
    keys = ("qid", "image_name", "question", "answer", "phrase_type")
    for item in entries(path / _RAD, json_of(path / _RAD), keys):
        image = str(item["image_name"])
        test = str(item["phrase_type"]).startswith("test")
        if test if split == "test" else not test and drawn_from_train(split, image):
            images = ImageFiles(path / "VQA_RAD Image Folder", (image,))
            yield _typed(dataset, item, image, images)


def _read_slake(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """The English questions."""
    names = {"train": ("train.json",), "val": ("validate.json", "validation.json"), "test": ("test.json",)}
    file = expected(*(path / name for name in names[split]))
    for item in entries(file, json_of(file), ("qid", "img_name", "question", "answer", "q_lang")):
        if item["q_lang"] == "en":
            image = str(item["img_name"])
            images = ImageFiles(path / "imgs", (image,))
            yield _typed(dataset, item, image, images)


def _typed(dataset: DataSet, item: Mapping[str, Any], image: str, images: ImageFiles) -> EvaluationCase:
    """A question of VQA-RAD or SLAKE, closed or open as its ``answer_type`` says (some have a blank behind it)."""
    stated = {"CLOSED": True, "OPEN": False}.get(str(item.get("answer_type", "")).strip().upper())
    return dataset.asked(
        str(item["qid"]), image, images, str(item["question"]), str(item["answer"]), closed=stated
    )


def _read_path(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    root = expected(path / "pvqa" / "qas", path / "qas").parent
    file = expected(root / "qas" / split / f"{split}_qa.pkl", root / "qas" / f"{split}_qa.pkl")
    for n, item in enumerate(entries(file, _plain_pickle(file), ("image", "question", "answer"))):
        image = f"{split}/{item['image']}.jpg"
        images = ImageFiles(root / "images", (image,))
        yield dataset.asked(f"{image}#{n}", image, images, str(item["question"]), str(item["answer"]))


class _PlainUnpickler(pickle.Unpickler):
    """Lists, dicts, texts and numbers only: a pickle may run nothing."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


def _plain_pickle(file: Path) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(file.read_bytes())).load()
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError) as error:
        raise ConfigError(f"{file} is not a pickle of plain data ({type(error).__name__}).") from error


def _read_pmc(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """Version 2 (figures of one panel), else version 1; the right answer is a letter or the words of a choice."""
    half = "test" if split == "test" else "train"
    versions = ((path / f"{half}_2.csv", path / "figures"), (path / f"{half}.csv", path / "images"))
    there = [version for version in versions if version[0].exists() and version[1].exists()]
    file, folder = there[0] if there else (expected(path / f"{half}_2.csv"), expected(path / "figures"))
    for n, row in enumerate(rows_of(file, ("Figure_path", "Question", "Answer", *_CHOICES))):
        image = row["Figure_path"].strip()
        if split == "test" or drawn_from_train(split, image):
            offered = tuple(row[choice].strip().removeprefix(f"{choice[-1]}:").strip() for choice in _CHOICES)
            said = row.get("Answer_label", "").strip() or row["Answer"].strip()
            answer = offered[_LETTERS.index(said)] if said in tuple(_LETTERS) else said
            images = ImageFiles(folder, (image,))
            yield _chosen(dataset, f"{image}#{n}", image, images, row["Question"], answer, offered)


def _read_med(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """Image, (category in test,) question and answer with bars between them.

    Several right answers have a # between them, and what stands in parentheses need not be said.
    """
    folder, name, pictures = _MED[split]
    root = expected(path / folder, path)
    for n, line in enumerate(lines_of(root / name)):
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != (4 if split == "test" else 3):
            raise ConfigError(f"{root / name} has a line that does not have image, question and answer.")
        image, question, answer = f"{parts[0]}.jpg", parts[-2], parts[-1]
        images = ImageFiles(root / pictures, (image,))
        right = answer.split("#")
        right += [" ".join(re.sub(r"\([^)]*\)", " ", one).split()) for one in right if "(" in one]
        yield dataset.asked(f"{image}#{n}", image, images, question, *filter(None, right))


def _read_omni(dataset: DataSet, path: Path, split: Split) -> Iterator[EvaluationCase]:
    """The open-access questions, all of them test."""
    if split != "test":
        return
    folder = expected(path / "QA_information" / "Open-access")
    for file in sorted(folder.glob("*.json")):
        for item in entries(file, json_of(file), ("question_id", "question", "gt_answer", "image_path")):
            image = str(item["image_path"])
            modality = str(item.get("modality_type") or item.get("modality") or dataset.examines)
            offered = tuple(
                str(item[f"option_{letter}"]) for letter in _LETTERS if item.get(f"option_{letter}")
            )
            yield _chosen(
                replace(dataset, examines=modality), str(item["question_id"]), image,
                ImageFiles(path, (image,)), str(item["question"]), str(item["gt_answer"]), offered,
            )  # fmt: skip


def _chosen(
    dataset: DataSet,
    key: str,
    group: str,
    images: ImageFiles,
    question: str,
    answer: str,
    choices: tuple[str, ...],
) -> EvaluationCase:
    """A question that ends with its choices; ConfigError if the answer is none of them."""
    offered: Mapping[str, str] = {choice.strip().casefold(): choice.strip() for choice in choices}
    right = offered.get(answer.strip().casefold())
    if right is None:
        raise ConfigError(f"{dataset.name}: the right answer of {key} is none of its choices.")
    options = tuple(offered.values())
    asked = f"{question.strip()} Choose one: {'; '.join(options)}."
    return replace(dataset.asked(key, group, images, asked, right), options=options)


def _questions(
    name: str, title: str, standing: Standing, layout: str, split: str, source: str, reader: Any, **more: Any
) -> DataSet:
    return DataSet(
        name, title, Task.QUESTION, "mixed", more.pop("examines", "radiology"), standing, layout, split, source, reader,
        prompt=_PROMPT, **more,
    )  # fmt: skip


QUESTIONS = (
    _questions(
        "vqa_rad", "VQA-RAD", "ID", f"`{_RAD}`, `VQA_RAD Image Folder/`",
        "official (phrase_type); a tenth of the other images is val",
        "[OSF 89kps](https://osf.io/89kps/)", _read_rad, tested_on="real content put into this layout",
        assumed=("split", "prompt"),
    ),
    _questions(
        "slake", "Slake-VQA", "ID", "`{train,validate,test}.json`, `imgs/<img_name>`; English questions", "official",
        "[SLAKE](https://www.med-vqa.com/slake/)", _read_slake, assumed=("task", "split", "prompt"),
    ),
    _questions(
        "path_vqa", "Path-VQA", "ID", "`pvqa/qas/{train,val,test}/…_qa.pkl`, `pvqa/images/{train,val,test}/*.jpg`",
        "official", "[UCSD-AI4H/PathVQA](https://github.com/UCSD-AI4H/PathVQA)", _read_path, examines="pathology",
        assumed=("release", "split", "prompt"),
    ),
    _questions(
        "pmc_vqa", "PMC-VQA", "ID", "`{train,test}_2.csv` and `figures/` (version 2), else `{train,test}.csv` and `images/`",
        "official train and test; a tenth of train's images is val",
        "[xmcmic/PMC-VQA](https://huggingface.co/datasets/xmcmic/PMC-VQA)", _read_pmc, examines="medical",
        assumed=("release", "task"),
    ),
    _questions(
        "vqa_med", "VQA-Med 2019", "OOD",
        "`ImageClef-2019-VQA-Med-{Training,Validation}/All_QA_Pairs_….txt`, "
        "`VQAMed2019Test/VQAMed2019_Test_Questions_w_Ref_Answers.txt`, image folders beside them",
        "official", "[abachaa/VQA-Med-2019](https://github.com/abachaa/VQA-Med-2019)", _read_med,
        tested_on="its own lists, no images", assumed=("split", "prompt"),
    ),
    _questions(
        "omnimedvqa", "OmniMedVQA", "OOD", "`QA_information/Open-access/*.json`, `Images/`", "all of it is test",
        "[OmniMedVQA](https://openxlab.org.cn/datasets/GMAI/OmniMedVQA)", _read_omni, examines="medical",
        assumed=("release", "task", "prompt"),
    ),
)  # fmt: skip
