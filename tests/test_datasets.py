"""Data sets come in as cases: lazily, in the same order, with the truth of their own files."""

import csv
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from gsco_pacs.datasets.arrays import array_of
from gsco_pacs.datasets.cases import DataSet, EvaluationCase, Split, Task
from gsco_pacs.datasets.images import ImageFiles
from gsco_pacs.datasets.registry import data_set, data_sets
from gsco_pacs.domain.errors import BadObjectError, ConfigError
from tests.data_layouts import LAYOUTS, ecitation


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
    with pytest.raises(ConfigError, match="manifest/ears has no case in split 'test'"):
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


def said(case: EvaluationCase) -> tuple[str, ...]:
    """What a case holds for true, whatever its task."""
    if case.task is Task.QUESTION:
        return (case.question, case.answer, *case.also_right, *case.options)
    return case.truth if case.task is Task.DIAGNOSIS else (case.reference,)


def every_case(name: str, folder: Path) -> dict[Split, list[EvaluationCase]]:
    """All splits; one that holds a tenth of the groups may be empty in a small directory."""
    known = data_set(name)
    return {split: list(known.reader(known, folder, split)) for split in get_args(Split)}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_data_set_reads_as_it_is_laid_out(name: str, tmp_path: Path) -> None:
    made = LAYOUTS[name](tmp_path)
    read = every_case(name, tmp_path)
    cases = [case for split in read.values() for case in split]
    assert {case.key: (case.group, said(case)) for case in cases} == made.cases
    assert len(cases) == len(made.cases)
    if made.test is not None:
        assert {case.key for case in read["test"]} == made.test
    for case in cases:
        pictures = case.images.pictures()
        assert pictures
        assert all(0 <= picture.pixels.min() <= picture.pixels.max() <= 1 for picture in pictures)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_data_set_in_a_bad_layout_says_what_was_expected_where(name: str, tmp_path: Path) -> None:
    needed = LAYOUTS[name](tmp_path).needed
    if needed.is_dir():
        shutil.rmtree(needed)
    else:
        needed.unlink()
    with pytest.raises(ConfigError) as caught:
        list(data_set(name).read(tmp_path, "test"))
    assert str(needed) in str(caught.value)


@pytest.mark.parametrize("name", ["ham10000", "brset", "iu_xray_kaggle", "iu_xray_openi"])
def test_no_patient_stands_in_two_splits_that_we_draw(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    groups = [{case.group for case in cases} for cases in every_case(name, tmp_path).values()]
    assert sum(map(bool, groups)) > 1
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_every_data_set_of_the_registry_is_read_in_its_layout_here() -> None:
    assert [known.name for known in data_sets()][1:] == list(LAYOUTS)


def test_the_paper_s_data_sets_are_all_there() -> None:
    papers = [known for known in data_sets() if known.standing != "–" and known.name != "mimic_cxr_r2gen"]
    counts = {task: sum(known.task is task for known in papers) for task in Task}
    assert counts == {Task.QUESTION: 6, Task.REPORT: 2, Task.DIAGNOSIS: 20}


@pytest.mark.parametrize("known", data_sets(), ids=lambda known: known.name)
def test_what_is_ours_where_the_paper_has_its_own_is_called_assumed(known: DataSet) -> None:
    papers = known.standing != "–"
    assert ("split" in known.assumed) >= (papers and "ours" in known.split)
    assert ("prompt" in known.assumed) >= (papers and not known.prompt)
    assert papers or not known.assumed


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("pathmnist", "pathmnist_224.npz", b"PK no archive", "is not a NumPy archive"),
        ("slake", "test.json", b"[{", "is not a readable JSON file"),
        ("slake", "test.json", b'[{"qid": 1}]', "an entry without img_name"),
        ("brset", "labels_brset.csv", b"image_id,patient_id\n1,2\n", "has no column diabetic_retinopathy"),
        ("fmc_endo", "MedFMC/endo/test_WithLabel.txt", b"a.png 0 1\n", "4 zeros and ones"),
        ("pcam", "camelyonpatch_level_2_split_test_x.h5", b"no HDF5", "is not an HDF5 file"),
        ("vqa_med", "VQAMed2019Test/VQAMed2019_Test_Questions_w_Ref_Answers.txt", b"a|b\n", "does not have image"),
        ("iu_xray", "annotation.json", b'{"train": []}', "has no list 'test'"),
        ("iu_xray_openi", "ecgen-radiology/5.xml", b"<eCitation>", "is not a readable XML file"),
        ("iu_xray_openi", "ecgen-radiology/5.xml", b"<eCitation/>", "has no uId"),
        ("iu_xray_openi", "ecgen-radiology/5.xml", b'<!DOCTYPE e [<!ENTITY a "b">]><e>&a;</e>', "has a document type"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_named(name: str, file: str, content: bytes, said: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        list(data_set(name).read(tmp_path, "test"))
    assert said in str(caught.value)
    assert Path(file).name in str(caught.value)


def test_a_label_that_no_option_names_is_refused(tmp_path: Path) -> None:
    LAYOUTS["vindr_mammo"](tmp_path)
    file = tmp_path / "breast-level_annotations.csv"
    file.write_text(file.read_text().replace("BI-RADS 3", "BI-RADS 7"))
    with pytest.raises(ConfigError, match="a label that is not expected"):
        list(data_set("vindr_mammo").read(tmp_path, "test"))


def test_a_mammogram_without_one_image_is_named_and_all_such_are_counted(tmp_path: Path) -> None:
    LAYOUTS["cbis_mass"](tmp_path)
    file = tmp_path / "csv" / "dicom_info.csv"
    file.write_text(file.read_text().replace("1.3.6.1.1/1-001.jpg", "9.9/1-001.jpg"))
    with pytest.raises(ConfigError, match=r"1 of 2 mammograms.*such as mass-test_P_test_1_LEFT_CC"):
        list(data_set("cbis_mass").read(tmp_path, "test"))


@pytest.mark.parametrize(
    ("file", "column"),
    [("labels.csv", "drusens"), ("labels_brset.csv", "drusens"), ("label_brset.csv", "drusen")],
)
def test_brset_is_read_under_the_names_of_each_of_its_releases(
    file: str, column: str, tmp_path: Path
) -> None:
    made = LAYOUTS["brset"](tmp_path)
    content = made.needed.read_text().replace("drusens", column)
    made.needed.unlink()
    (tmp_path / file).write_text(content)
    cases = [case for split in every_case("brset", tmp_path).values() for case in split]
    assert {case.key: (case.group, said(case)) for case in cases} == made.cases


def test_a_question_is_closed_where_its_data_set_says_so_else_where_it_is_answered_by_yes_or_no(
    tmp_path: Path,
) -> None:
    for name in ("slake", "vqa_rad", "path_vqa"):
        (tmp_path / name).mkdir()
        LAYOUTS[name](tmp_path / name)
    closed = {
        name: [
            case.closed
            for cases in every_case(name, tmp_path / name).values()
            for case in sorted(cases, key=lambda case: case.key)
        ]
        for name in ("slake", "vqa_rad", "path_vqa")
    }
    assert closed == {"slake": [True] * 3, "vqa_rad": [False, True] * 2, "path_vqa": [True] * 3}
    file = tmp_path / "slake" / "test.json"
    for stated, answer, expected in (("OPEN", "Yes", False), ("", "Yes", True), ("", "Liver", False)):
        (item,) = (item for item in json.loads(file.read_text()) if item["q_lang"] == "en")
        file.write_text(json.dumps([item | {"answer": answer, "answer_type": stated}]))
        (case,) = data_set("slake").read(tmp_path / "slake", "test")
        assert case.closed is expected


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    LAYOUTS["path_vqa"](tmp_path)
    (tmp_path / "pvqa/qas/test/test_qa.pkl").write_bytes(pickle.dumps([Path("x")]))
    with pytest.raises(ConfigError, match="not a pickle of plain data"):
        list(data_set("path_vqa").read(tmp_path, "test"))


def test_pmc_vqa_of_version_1_is_read_where_version_2_is_not_unpacked(tmp_path: Path) -> None:
    LAYOUTS["pmc_vqa"](tmp_path)
    (tmp_path / "figures").rename(tmp_path / "images")
    new = (tmp_path / "test_2.csv").read_text().replace("Answer\r\n", "Answer,Answer_label\r\n")
    (tmp_path / "test.csv").write_text(new.replace(",B\n", ",Coronal,B\n"))
    (case,) = data_set("pmc_vqa").read(tmp_path, "test")
    assert (case.answer, len(case.images.pictures())) == ("Coronal", 1)


@pytest.mark.parametrize("name", LAYOUTS)
def test_cases_hold_no_pixels(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    assert all(len(pickle.dumps(case)) < 3000 for case in data_set(name).read(tmp_path, "test"))


def test_a_case_of_every_data_set_can_be_looked_at_in_another_process(tmp_path: Path) -> None:
    for name in LAYOUTS:
        (tmp_path / name).mkdir()
        LAYOUTS[name](tmp_path / name)
    cases = [next(data_set(name).read(tmp_path / name, "test")) for name in LAYOUTS]
    look = (
        "import pickle, sys; print(*(len(case.images.pictures()) for case in pickle.load(sys.stdin.buffer)))"
    )
    seen = subprocess.run(
        [sys.executable, "-c", look], input=pickle.dumps(cases), capture_output=True, check=True
    )
    assert seen.stdout.split() == [str(len(case.images.pictures())).encode() for case in cases]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_is_read_row_by_row_unless_it_is_packed(save: Callable[..., None], tmp_path: Path) -> None:
    images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    save(tmp_path / "breastmnist.npz", test_labels=[[0], [1], [0]], test_images=images)
    cases = list(data_set("breastmnist").read(tmp_path, "test"))
    for case, image in zip(cases, images, strict=True):
        assert case.images.pictures()[0].pixels == pytest.approx(image / 255)
    kept = array_of(tmp_path / "breastmnist.npz", "test_images")
    assert isinstance(kept, np.memmap) == (save is np.savez)


def test_an_array_of_pickled_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "breastmnist.npz", test_labels=[[0]], test_images=np.array([Path("x")], object))
    with pytest.raises(ConfigError, match="with an array 'test_images'"):
        list(data_set("breastmnist").read(tmp_path, "test"))


def test_sixteen_bit_images_keep_their_scale(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    (picture,) = ImageFiles(tmp_path, ("deep.png",)).pictures()
    assert picture.pixels.tolist() == [[0, pytest.approx(0.5, abs=1e-4), 1]]


def test_the_real_vqa_rad_reads_in_its_official_layout(shared_data: Path, tmp_path: Path) -> None:
    asked = json.loads((shared_data / "vqa_rad" / "qa.json").read_text())
    items = [
        {"qid": f"{image}#{n}", "image_name": image, "question": item["q"], "answer": item["a"],
         "phrase_type": "test_freeform" if item["set"] == "testset" else "freeform"}
        for image, questions in asked.items() for n, item in enumerate(questions)
    ]  # fmt: skip
    (tmp_path / "VQA_RAD Dataset Public.json").write_text(json.dumps(items))
    (tmp_path / "VQA_RAD Image Folder").symlink_to(shared_data / "vqa_rad")
    cases = every_case("vqa_rad", tmp_path)
    assert sum(map(len, cases.values())) == len(items)
    assert len(cases["test"]) == sum(item["phrase_type"] == "test_freeform" for item in items) > 400
    assert cases["test"][0].images.pictures()[0].pixels.size > 1000


def test_the_real_reports_of_iu_xray_read_in_r2gen_s_layout(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "annotation.json").symlink_to(shared_data / "reports_openi" / "r2gen_split_annotation.json")
    cases = list(data_set("iu_xray").read(tmp_path, "test"))
    assert len(cases) == 1180  # the paper's count of images, 590 studies
    assert all(case.reference for case in cases)


def test_the_real_reports_of_iu_xray_read_in_open_i_s_layout(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "ecgen-radiology").mkdir()
    lines = (shared_data / "reports_openi" / "reports.jsonl").read_text().splitlines()
    reports = [json.loads(line) for line in lines[:400]]
    for report in reports:
        sections = {"FINDINGS": report["findings"], "IMPRESSION": report["impression"]}
        file = tmp_path / "ecgen-radiology" / f"{report['id'][3:]}.xml"
        file.write_text(ecitation(report["id"], sections, report["images"]), encoding="utf-8")
    cases = {case.key: case for split in every_case("iu_xray_openi", tmp_path).values() for case in split}
    whole = [report for report in reports if report["findings"].strip() and report["images"]]
    assert len(cases) == len(whole) > 300
    for report in whole:
        case = cases[report["id"]]
        assert case.reference == " ".join(report["findings"].split())
        assert case.images == ImageFiles(tmp_path, tuple(f"{name}.png" for name in report["images"]))


def test_a_study_of_iu_xray_is_in_the_same_split_from_kaggle_and_from_open_i(tmp_path: Path) -> None:
    splits = {}
    for name in ("iu_xray_kaggle", "iu_xray_openi"):
        (tmp_path / name).mkdir()
        LAYOUTS[name](tmp_path / name)
        read = every_case(name, tmp_path / name)
        splits[name] = {
            case.key.removeprefix("CXR"): split for split, cases in read.items() for case in cases
        }
    assert splits["iu_xray_openi"].items() <= splits["iu_xray_kaggle"].items()
