"""Data sets come in as cases: lazily, in the same order, with the truth of their own files."""

import csv
import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsco_pacs.datasets.cases import Task
from gsco_pacs.datasets.registry import data_set
from gsco_pacs.domain.errors import BadObjectError, ConfigError


def write_manifest(folder: Path, labels: list[str]) -> Path:
    """A manifest of one patient a label; images have the grey value of their row."""
    (folder / "eyes").mkdir()
    rows = []
    for n, label in enumerate(labels):
        Image.fromarray(np.full((4, 6), n * 51, np.uint8)).save(folder / "eyes" / f"{n}.png")
        rows.append(
            {"path": f"eyes/{n}.png", "module": "eyes", "label": label, "group": f"p{n}", "split": "test"}
        )
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def test_a_manifest_gives_one_case_an_image_with_all_labels_as_options(tmp_path: Path) -> None:
    write_manifest(tmp_path, ["Drusen|Oedema", "None", "Drusen"])
    cases = list(data_set("manifest/eyes").read(tmp_path, "test"))
    assert [case.truth for case in cases] == [("Drusen", "Oedema"), ("None",), ("Drusen",)]
    assert {case.options for case in cases} == {("Drusen", "None", "Oedema")}
    assert [case.single for case in cases] == [False] * 3
    assert [case.group for case in cases] == ["p0", "p1", "p2"]
    (picture,) = cases[1].images.pictures()
    assert picture.pixels.shape == (4, 6)
    assert picture.pixels[0, 0] == pytest.approx(0.2)


def test_a_manifest_of_single_labels_is_single_label(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, ["Drusen", "None"])
    assert all(case.single for case in data_set("manifest/eyes").read(manifest, "test"))


def test_a_module_with_a_file_of_questions_asks_them(tmp_path: Path) -> None:
    write_manifest(tmp_path, ["HEAD", "HEAD"])
    asked = {"0.png": [{"q": "Is it bright? ", "a": "No"}, {"q": "Which organ?", "a": "brain"}]}
    (tmp_path / "eyes" / "qa.json").write_text(json.dumps(asked))
    cases = list(data_set("manifest/eyes").read(tmp_path, "test"))
    assert [(case.key, case.question, case.answer, case.closed) for case in cases] == [
        ("eyes/0.png#0", "Is it bright?", "No", True),
        ("eyes/0.png#1", "Which organ?", "brain", False),
    ]
    assert {case.task for case in cases} == {Task.QUESTION}


def test_a_missing_manifest_module_or_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"manifest\.csv"):
        data_set("manifest/eyes").read(tmp_path, "test")
    write_manifest(tmp_path, ["Drusen"])
    with pytest.raises(ConfigError, match="'ears' in split 'test'"):
        data_set("manifest/ears").read(tmp_path, "test")
    (case,) = data_set("manifest/eyes").read(tmp_path, "test")
    (tmp_path / "eyes" / "0.png").write_text("no image")
    with pytest.raises(BadObjectError, match=r"0\.png"):
        case.images.pictures()
    (tmp_path / "eyes" / "0.png").unlink()
    with pytest.raises(ConfigError, match=r"0\.png is missing"):
        case.images.pictures()


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="no data set 'mnist'"):
        data_set("mnist")


@pytest.mark.parametrize(
    ("module", "n", "single"),
    [
        ("cxr_nih", 128, False),
        ("cxr_kermany", 304, True),
        ("mr_tumor", 446, True),
        ("ct_lung", 102, True),
        ("us_busi", 67, True),
        ("dx_knee", 141, True),
    ],
)
def test_the_real_modules_read_as_their_description_says(
    shared_data: Path, module: str, n: int, single: bool
) -> None:
    cases = list(data_set(f"manifest/{module}").read(shared_data / "manifest.csv", "test"))
    assert (len(cases), {case.single for case in cases}) == (n, {single})
    for case in islice(cases, 0, None, 50):
        assert case.images.pictures()[0].pixels.max() <= 1


def test_the_real_questions_belong_to_the_images_of_the_split(shared_data: Path) -> None:
    cases = list(data_set("manifest/vqa_rad").read(shared_data, "test"))
    assert len({case.group for case in cases}) == 25
    assert len({case.key for case in cases}) == len(cases) > 100
    assert sum(case.closed for case in cases) > 50
