"""Which images of a series are read, how many looks become one opinion, and that the report says both."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID

from gsco_pacs.adapters.bundle_format import GscoSection, ReadingEntry
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.config import shipped
from gsco_pacs.consultation import consult_stage
from gsco_pacs.domain.findings import Code, Finding, ModelIdentity, SimilarCase
from gsco_pacs.domain.study import StoredFile
from gsco_pacs.pixels.choice import Candidate, choose, every
from gsco_pacs.ports import InputContract, Look, Picture, Pooling, Reading, Thresholds
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.sr.key_objects import SELECTION, key_images
from gsco_pacs.steps.consult import consult
from gsco_pacs.steps.prepare import prepare
from gsco_pacs.testing.phantoms import encoded, make_ct, phantom_uid
from gsco_pacs.training.learning import Recipe
from gsco_pacs.training.specialist import TrainingRequest, train_specialist
from gsco_pacs.training.task import read_task
from tests.draft_material import STUDY_UID, parts
from tests.made_up_data import write_data
from tests.stored_images import origin_of, stored_file, written

CONTRACT = InputContract(("CT",), (), (), (), 1, 1, max_images=4)


def ct_study(folder: Path, slices: int) -> list[StoredFile]:
    files = []
    for number in range(1, slices + 1):
        path = folder / f"{number}.dcm"
        path.write_bytes(encoded(make_ct(16, 16, slice_number=number)))
        files.append(stored_file(path, slice_uid(number)))
    return files


def slice_uid(number: int) -> str:
    return phantom_uid("instance", "1", "1", str(number))


def key_object(folder: Path, title: str, *slices: int, frame: int | None = None) -> StoredFile:
    """A Key Object Selection Document that names ``slices`` of the study under ``title`` (CID 7010)."""
    ds = make_ct(16, 16)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(ds, keyword)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = UID(SELECTION), phantom_uid("key", title, slices), "KO"
    ds.file_meta.MediaStorageSOPClassUID = UID(SELECTION)
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = title, "DCM", "a title"
    ds.ConceptNameCodeSequence = Items([name])
    items = []
    for number in slices:
        reference, item = Dataset(), Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = "1.2", slice_uid(number)
        if frame is not None:
            reference.ReferencedFrameNumber = frame
        item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
        item.ReferencedSOPSequence = Items([reference])
        items.append(item)
    ds.ContentSequence = Items(items)
    path = folder / f"key-{title}-{slices}.dcm"
    path.write_bytes(encoded(ds))
    file = stored_file(path, ds.SOPInstanceUID)
    return replace(file, instance=replace(file.instance, sop_class_uid=SELECTION))


def numbers(files: Sequence[StoredFile], reading: Reading) -> tuple[list[int], str]:
    prepared = prepare(files, replace(CONTRACT, reading=reading))
    uids = [picture.sop_instance_uid for picture in prepared.pictures]
    return [number for number in range(1, 41) if slice_uid(number) in uids], prepared.how


def test_the_metadata_say_which_images_are_read_and_the_words_say_it_too(tmp_path: Path) -> None:
    files = ct_study(tmp_path, 12)
    assert numbers(files, Reading()) == ([2, 5, 8, 11], "4 of 12 fitting images were read, evenly spread")
    assert numbers(files, Reading("all")) == (list(range(1, 13)), "all 12 fitting images were read")
    third = "4 of 12 fitting images were read, every 3rd of a series"
    assert numbers(files, Reading("every", every=3)) == ([2, 5, 8, 11], third)
    assert numbers(files, Reading("every", every=20))[0] == [7]


def test_key_images_are_those_that_a_person_picked_else_the_middle_ones(tmp_path: Path) -> None:
    files = ct_study(tmp_path, 12)
    reading = Reading("key")
    picked = [*files, key_object(tmp_path, "113000", 3, 11)]
    assert numbers(picked, reading) == (
        [3, 11],
        "2 of 12 fitting images were read, named by a Key Object Selection",
    )
    rejected = [*files, key_object(tmp_path, "113001", 3, 11)]
    middle, how = numbers(rejected, reading)
    assert middle == [5, 6, 7, 8]
    assert how.endswith("read, the middle ones, since none is named as key image")


def test_a_key_object_selection_that_a_node_made_is_no_persons(tmp_path: Path) -> None:
    (made,) = parts().key_objects()
    path = tmp_path / "made.dcm"
    path.write_bytes(made.content)
    assert key_images([path]) == {}
    by_hand = dcmread(path)
    by_hand.SeriesDescription = "Key images"
    by_hand.save_as(path)
    assert list(key_images([path])) == [f"{STUDY_UID}.1.1"]


def test_a_key_object_that_cannot_be_read_picks_nothing(tmp_path: Path) -> None:
    files = ct_study(tmp_path, 6)
    broken = key_object(tmp_path, "113000", 3)
    broken.path.write_bytes(broken.path.read_bytes()[:400])
    assert numbers([*files, broken], Reading("key"))[0] == [2, 3, 4, 5]


def test_a_key_object_with_a_vr_that_does_not_exist_picks_nothing(tmp_path: Path) -> None:
    files = ct_study(tmp_path, 6)
    odd = key_object(tmp_path, "113000", 3)
    title = b"\x40\x00\x43\xa0SQ"
    content = odd.path.read_bytes()
    assert title in content
    odd.path.write_bytes(content.replace(title, title[:4] + b"QQ"))
    assert numbers([*files, odd], Reading("key"))[0] == [2, 3, 4, 5]


def test_each_frame_counts_where_the_metadata_say_so(tmp_path: Path) -> None:
    frames = np.arange(10)[:, None, None] * np.ones((1, 16, 16))
    path = written(tmp_path / "cine", frames.astype(np.int64), Modality="US")
    contract = replace(CONTRACT, modalities=("US",))
    assert [p.frame for p in prepare([stored_file(path)], contract).pictures] == [1]
    prepared = prepare([stored_file(path)], replace(contract, reading=Reading(frames="all")))
    assert [picture.frame for picture in prepared.pictures] == [2, 4, 7, 9]
    assert prepared.how == "4 of 10 fitting frames were read, evenly spread"
    assert prepared.exclusions == ()


@given(st.lists(st.sampled_from(["a", "b"]), max_size=40), st.integers(1, 9), st.integers(1, 9))
def test_whatever_is_chosen_exists_is_in_order_and_never_too_much(
    series: list[str], step: int, most: int
) -> None:
    candidates = [Candidate(str(number), 1, name) for number, name in enumerate(sorted(series))]
    for images in ("spread", "key"):
        chosen = choose(candidates, Reading(images), most, {}).numbers
        assert len(chosen) == min(most, len(candidates))
        assert list(chosen) == sorted(set(chosen))
    runs = every(candidates, step)
    assert list(runs) == sorted(set(runs))
    assert len(runs) == sum(-(-series.count(name) // step) for name in set(series))


# From many looks to one opinion


class Seer:
    """A specialist that has seen what a test says."""

    identity = ModelIdentity("seer", "1", "0" * 64)
    contract = CONTRACT
    examines = "CT"
    bundle = "seer"
    familiar_from = None

    def __init__(self, pooling: Pooling, rows: Sequence[tuple[float, ...]], *, exclusive: bool) -> None:
        code = Code("1", "DCM", "x")
        self.pooling, self.rows = pooling, rows
        self.findings = (
            Finding("a", "a", code, exclusive=exclusive),
            Finding("b", "b", code, exclusive=exclusive),
            Finding("n", "n", code, normal=True, exclusive=exclusive),
        )
        self.thresholds = (Thresholds(0.2, 0.5),) * 3

    def look(self, pictures: Sequence[Picture]) -> tuple[Look, ...]:
        return tuple(Look(row, np.ones(1, np.float32)) for row in self.rows)

    def similar(self, look: Look, k: int, patient_id: str) -> tuple[SimilarCase, ...]:
        return ()


ROWS = [(0.1, 0.1, 0.8), (0.7, 0.1, 0.2), (0.2, 0.5, 0.3), (0.0, 0.0, 1.0)]


def pooled(pooling: Pooling, *, exclusive: bool) -> tuple[list[float], list[str], str]:
    pictures = [Picture(str(n), np.zeros((2, 2), np.float32)) for n in range(len(ROWS))]
    consulted = consult(Seer(pooling, ROWS, exclusive=exclusive), pictures, "somebody")
    said = [round(opinion.probability, 6) for opinion in consulted.opinions]
    return said, [opinion.sop_instance_uid for opinion in consulted.opinions], consulted.how


def test_labels_that_stand_alone_are_pooled_each_for_itself() -> None:
    assert pooled(Pooling(), exclusive=False) == (
        [0.7, 0.5, 0.2],
        ["1", "2", "1"],
        "the highest estimate counts",
    )
    assert pooled(Pooling("top", 2), exclusive=False)[0] == [0.45, 0.3, 0.25]
    assert pooled(Pooling("mean"), exclusive=False)[0] == [0.25, 0.175, 0.575]


def test_labels_that_exclude_each_other_are_pooled_over_the_same_images_so_that_normal_is_what_is_left() -> (
    None
):
    most = pooled(Pooling(), exclusive=True)
    assert most == ([0.7, 0.1, 0.2], ["1", "1", "1"], "the most telling image counts")
    two = pooled(Pooling("top", 2), exclusive=True)
    assert two[0] == [0.45, 0.3, 0.25]
    assert two[1][:2] == ["1", "2"]
    assert two[2] == "the mean of the 2 most telling images counts"
    for pooling in (Pooling(), Pooling("top", 2), Pooling("top", 9), Pooling("mean")):
        assert sum(pooled(pooling, exclusive=True)[0]) == pytest.approx(1)


# From the task file into the bundle, and from the bundle into the report


def test_the_task_file_carries_the_policy_into_the_bundle_and_the_consultation_follows_it(
    tmp_path: Path,
) -> None:
    task, manifest = write_data(tmp_path, "multi-class")
    policy = "reading: {images: every, every: 2}\npooling: {how: top, top: 2}\n"
    task.write_text(task.read_text().replace("DX", "CT") + policy)
    assert read_task(task).reading == ReadingEntry(images="every", every=2)
    request = TrainingRequest(task, manifest, tmp_path / "net", size=32, recipe=Recipe(epochs=1, batch=8))
    (specialist,) = load_bundle(train_specialist(request, lambda *_: None))
    assert specialist.contract.reading == Reading("every", every=2)
    assert specialist.pooling == Pooling("top", 2)
    assert "reading=images=every every=2 frames=one max_images=2" in specialist.identity.parameters
    route = RouteSettings.model_validate(
        {
            "name": "r",
            "when": {"tag": "Modality", "equals": "CT"},
            "specialists": ["x"],
            "destinations": ["d"],
        }
    )
    files = ct_study(tmp_path, 6)
    consultation, _ = consult_stage(files, [specialist], route, origin_of(*files))
    assert consultation.read == (slice_uid(2), slice_uid(4), slice_uid(6))
    assert consultation.reading == (
        "test pattern: 3 of 6 fitting images were read, every 2nd of a series; "
        "the mean of the 2 most telling images counts.",
    )
    assert sum(opinion.probability for opinion in consultation.opinions) == pytest.approx(1)


def test_both_reports_say_what_was_read() -> None:
    sentence = "brain MR: 12 of 240 fitting images were read, evenly spread; the highest estimate counts."
    told = parts()
    told = replace(told, consultation=replace(told.consultation, reading=(sentence,)))
    for report in told.composed():
        assert sentence.encode() in report.content


def test_a_bundle_without_a_policy_reads_and_pools_as_it_always_did() -> None:
    path = shipped("models") / "cxr_findings/configs/metadata.json"
    bare = json.loads(path.read_text())["gsco"]
    section = GscoSection.model_validate({k: v for k, v in bare.items() if k not in ("reading", "pooling")})
    assert section.reading == ReadingEntry(images="spread", every=1, frames="one")
    assert section.pooling.how == "max"
