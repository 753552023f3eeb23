"""What is unlike anything that a specialist learnt from is not assessed, and the report says so instead of "nothing found"."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian
from sklearn.datasets import load_sample_image
from typer.testing import CliRunner

from gsco_pacs.adapters.bundle_format import CASES, METADATA, WEIGHTS, read_metadata
from gsco_pacs.adapters.bundles import BundleSpecialist, load_bundle
from gsco_pacs.adapters.labelled_images import read_images, read_pixels
from gsco_pacs.adapters.structured_generalist import StructuredGeneralist
from gsco_pacs.cli import app
from gsco_pacs.config import shipped
from gsco_pacs.consultation import consult_stage, draft_stage
from gsco_pacs.domain.familiarity import NEAREST, nearness
from gsco_pacs.domain.findings import Consultation, Draft, ModelIdentity, Referral, SimilarCase
from gsco_pacs.domain.study import Instance, StoredFile, Study
from gsco_pacs.ports import InputContract, Look, Picture, Pooling, Reading, Specialist, Thresholds
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.sr.reading import as_text
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.training.bundle_writer import rewrite_section
from gsco_pacs.training.index import build_index
from gsco_pacs.training.learning import Recipe
from gsco_pacs.training.specialist import TrainingRequest, train_specialist
from tests.briefing_material import FINDINGS
from tests.made_up_data import LABELS, write_data
from tests.stored_images import origin_of

AT = datetime(2026, 3, 4, 15, 16, 17, tzinfo=UTC)
ROUTE = RouteSettings.model_validate(
    {
        "name": "chest",
        "when": {"tag": "Modality", "equals": "DX"},
        "specialists": ["b"],
        "destinations": ["d"],
    }
)


def request(task: Path, manifest: Path, out: Path, seed: int = 1) -> TrainingRequest:
    return TrainingRequest(task, manifest, out, size=48, recipe=Recipe(epochs=1, batch=8), seed=seed)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bundle of its own, trained and indexed here; the manifest lies beside it."""
    folder = tmp_path_factory.mktemp("made_up")
    task, manifest = write_data(folder, "multi-class")
    train_specialist(request(task, manifest, folder / "bundle"), lambda *_: None)
    return build_index(folder / "bundle", manifest, lambda *_: None)


def pattern() -> NDArray[np.float64]:
    """An even grey with a little noise."""
    return np.asarray(np.random.default_rng(3).normal(90, 12, (48, 40)).clip(0, 255) / 255)


def checks() -> NDArray[np.float64]:
    """Black and white."""
    return np.asarray(np.indices((48, 40)).sum(axis=0) // 8 % 2, float)


class Evenness:
    """A member of a bundle called "even": how bright and how uneven a picture is, is all that it sees."""

    contract = InputContract(("DX",), (), (), (), min_rows=1, min_columns=1, max_images=4)
    findings = FINDINGS
    thresholds = (Thresholds(0.1, 0.5),) * len(FINDINGS)
    examines = "test pattern"
    pooling = Pooling()
    bundle = "even"

    def __init__(self, number: int, familiar_from: float | None) -> None:
        self.identity = ModelIdentity(f"even.{number}", "1", f"{number}" * 64)
        self.familiar_from = familiar_from

    def look(self, pictures: Sequence[Picture]) -> tuple[Look, ...]:
        seen = [np.array([p.pixels.mean(), p.pixels.std()], np.float32) for p in pictures]
        return tuple(Look((float(f[0]),) * len(FINDINGS), f / np.linalg.norm(f)) for f in seen)

    def similar(self, look: Look, k: int, patient_id: str) -> tuple[SimilarCase, ...]:
        if self.familiar_from is None:  # as the further members of a bundle, it has no reference cases
            return ()
        return (SimilarCase(self.identity.name, "case-1", ("Mass",), float(look.features[0]), ""),)


MEMBERS = (Evenness(1, 0.9), Evenness(2, None))


@pytest.fixture(scope="module")
def chest() -> BundleSpecialist:
    """The shipped chest specialist."""
    return load_bundle(shipped("models") / "cxr_findings")[0]


def photograph() -> NDArray[np.float64]:
    return np.asarray(load_sample_image("china.jpg").mean(2) / 255)


def noise() -> NDArray[np.float64]:
    return np.random.default_rng(1).random((320, 280))


STRANGE: dict[str, Callable[[], NDArray[np.float64]]] = {
    "a photograph": photograph,
    "noise": noise,
    "all black": lambda: np.zeros((320, 280)),
    "all white": lambda: np.ones((320, 280)),
}


def radiograph(folder: Path, pixels: NDArray[np.float64], number: int = 1) -> StoredFile:
    """``pixels`` (rows and columns, or frames of them) as a chest radiograph, if one believes its header."""
    *frames, rows, columns = pixels.shape
    ds = make_dx(rows, columns, instance=str(number), InstanceNumber=str(number))
    ds.PixelData = np.rint(pixels * 4095).astype("<u2").tobytes()
    if frames:
        ds.NumberOfFrames = frames[0]
    path = folder / f"{number}.dcm"
    path.write_bytes(encoded(ds))
    instance = Instance(
        study_instance_uid=str(ds.StudyInstanceUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        sha256="11" * 32,
        size=1,
        path=path.name,
    )
    return StoredFile(instance, path)


def consulted(files: Sequence[StoredFile], specialists: Sequence[Specialist]) -> Consultation:
    consultation, _ = consult_stage(files, specialists, ROUTE, origin_of(*files))
    return consultation


def reported(files: Sequence[StoredFile], consultation: Consultation) -> tuple[Draft, str, str]:
    """The draft, and the narrative and the coded report as text."""
    study = Study(files[0].instance.study_instance_uid, 1, tuple(file.instance for file in files))
    made, reports = draft_stage(
        study, files, consultation, StructuredGeneralist(), route=ROUTE, equipment=Equipment(),
        predecessors=(), priors=(), run=0, at=AT,
    )  # fmt: skip
    narrative, coded, *_ = (as_text(report.content) for report in reports)
    return made.draft, narrative, coded


@pytest.mark.parametrize("what", STRANGE)
def test_what_is_no_chest_radiograph_is_not_assessed_whatever_its_header_says(
    what: str, chest: BundleSpecialist, tmp_path: Path
) -> None:
    file = radiograph(tmp_path, STRANGE[what]())
    found = consulted([file], [chest])
    assert (found.opinions, found.cases, found.read) == ((), (), ())
    assert [e.strange_to for e in found.exclusions] == ["cxr_findings"]
    assert found.exclusions[0].reason.startswith(
        "It is unlike the reference images of cxr_findings: similarity"
    )
    draft, narrative, coded = reported([file], found)
    said = [statement.text for statement in (*draft.findings, *draft.impression)]
    assert said == [
        "Not assessed by cxr_findings: the image is unlike its reference images.",
        "No finding was assessed.",
    ]
    assert draft.referral == Referral(made=False, reasons=("no specialist gave an opinion",))
    assert "0 of 1 image read" in narrative
    assert "is unlike its reference images" in narrative
    assert "threshold" not in narrative
    assert "No algorithms succeeded; without findings" in coded


def test_a_strange_image_beside_a_familiar_one_adds_nothing_to_the_opinions(tmp_path: Path) -> None:
    familiar, strange = radiograph(tmp_path, pattern(), 1), radiograph(tmp_path, checks(), 2)
    alone = consulted([familiar], MEMBERS[:1])
    both = consulted([familiar, strange], MEMBERS[:1])
    assert both.opinions == alone.opinions
    assert both.read == (familiar.instance.sop_instance_uid,)
    assert [(e.subject, e.strange_to) for e in both.exclusions] == [
        (strange.instance.sop_instance_uid, "even")
    ]
    assert [each.familiar_from for each in both.familiarity] == [0.9]
    draft, narrative, _ = reported([familiar, strange], both)
    assert not any("Not assessed" in statement.text for statement in draft.findings)
    assert "1 of 2 images read" in narrative
    assert "It is unlike the reference images of even" in narrative


def test_what_is_strange_to_the_member_with_the_reference_cases_no_member_assesses(tmp_path: Path) -> None:
    familiar, strange = radiograph(tmp_path, pattern(), 1), radiograph(tmp_path, checks(), 2)
    both = consulted([familiar, strange], MEMBERS)
    assert {opinion.specialist for opinion in both.opinions} == {"even.1", "even.2"}
    assert {opinion.sop_instance_uid for opinion in both.opinions} == {familiar.instance.sop_instance_uid}
    nothing = consulted([strange], MEMBERS)
    assert nothing.opinions == ()
    assert [e.strange_to for e in nothing.unassessed] == ["even"]


def test_of_a_loop_with_one_strange_frame_every_member_assesses_the_others_and_frames_are_named(
    tmp_path: Path,
) -> None:
    class OfEachFrame(Evenness):
        contract = replace(Evenness.contract, reading=Reading(frames="all"))

    loop = radiograph(tmp_path, np.stack([pattern(), checks(), pattern() + 0.2]))
    found = consulted([loop], (OfEachFrame(1, 0.9), OfEachFrame(2, None)))
    assert [(e.frame, e.strange_to) for e in found.exclusions] == [(2, "even")]
    told = {(each.specialist, each.frame) for each in found.opinions if not each.finding.normal}
    assert told == {("even.1", 3), ("even.2", 3)}
    _, narrative, _ = reported([loop], found)
    assert "image 1 frame 2: It is unlike the reference images" in narrative


def test_one_bundle_that_must_not_assess_is_named_beside_the_findings_of_another(
    chest: BundleSpecialist, tmp_path: Path
) -> None:
    file = radiograph(tmp_path, np.tile(pattern(), (7, 7)))
    found = consulted([file], (*MEMBERS, chest))
    draft, _, coded = reported([file], found)
    assert {opinion.specialist for opinion in found.opinions} == {"even.1", "even.2"}
    assert (
        draft.findings[-1].text == "Not assessed by cxr_findings: the image is unlike its reference images."
    )
    assert "Not all algorithms succeeded" in coded


def test_two_in_a_hundred_validation_images_are_less_familiar_than_a_bundle_asks_for(made_up: Path) -> None:
    (specialist,) = load_bundle(made_up)
    cases = read_images(made_up.parent / "manifest.csv", "made_up", "val", LABELS)
    looks = specialist.look([Picture("", read_pixels(case.path, 1)) for case in cases])
    near = [
        nearness([each.similarity for each in specialist.similar(look, NEAREST, case.group)])
        for look, case in zip(looks, cases, strict=True)
    ]
    assert specialist.familiar_from == pytest.approx(np.quantile(near, 0.02), abs=1e-3)


def test_fitting_anew_finds_the_same_limit_and_leaves_the_weights(made_up: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(made_up, tmp_path / "copy")
    rewrite_section(copy, {"familiar_from": None, "patient_salt": None})
    before = {name: (made_up / name).read_bytes() for name in (WEIGHTS, METADATA, CASES)}
    ended = CliRunner().invoke(
        app, ["models", "fit", str(copy), "--manifest", str(made_up.parent / "manifest.csv")]
    )
    assert ended.exit_code == 0, ended.output
    assert (copy / WEIGHTS).read_bytes() == before[WEIGHTS]
    assert (copy / CASES).read_bytes() != before[CASES]
    old, new = (read_metadata(content)[1] for content in (before[METADATA], (copy / METADATA).read_bytes()))
    assert new.familiar_from == pytest.approx(old.familiar_from)


@pytest.mark.parametrize(("limit", "kept"), [(-1, 2), (1, 0)])
def test_a_command_counts_what_a_bundle_assesses_of_every_module(
    made_up: Path, tmp_path: Path, limit: float, kept: int
) -> None:
    """The small network sees all pictures alike, so the limit alone decides."""
    manifest = made_up.parent / "manifest.csv"
    other = manifest.with_name("two-modules.csv")
    rows = manifest.read_text().replace(",made_up,", ",another,").splitlines()[1:]
    other.write_text("\n".join([*manifest.read_text().splitlines(), *rows]))
    bundle = shutil.copytree(made_up, tmp_path / "bundle")
    rewrite_section(bundle, {"familiar_from": limit})
    command = ["evaluate", "familiarity", str(bundle), "--manifest", str(other), "--n", "2"]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    assert f"| another | {kept} of 2 |\n| made_up | **{kept} of 2** |" in ended.output


def test_a_bundle_without_a_limit_is_told_how_to_get_one(made_up: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(made_up, tmp_path / "bundle")
    rewrite_section(bundle, {"familiar_from": None, "patient_salt": None})
    command = ["evaluate", "familiarity", str(bundle), "--manifest", str(made_up.parent / "manifest.csv")]
    ended = CliRunner().invoke(app, command)
    assert "models fit" in str(ended.exception)
