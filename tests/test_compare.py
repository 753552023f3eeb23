"""A draft compares a study with the patient's last one by the opinions on both, and says nothing that they do not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from pydicom import Dataset, dcmread

from gsco_pacs.adapters.job_ledger import Claim
from gsco_pacs.adapters.prior_studies import PriorStudies
from gsco_pacs.adapters.structured_generalist import StructuredGeneralist
from gsco_pacs.consultation import Drafted, consult_stage, draft_stage
from gsco_pacs.domain.completeness import Decision
from gsco_pacs.domain.findings import (
    Consultation,
    Finding,
    Measurement,
    ModelIdentity,
    ObjectKind,
    Opinion,
    Presence,
    Segment,
)
from gsco_pacs.domain.job import Stage
from gsco_pacs.domain.priors import ImageReference, Prior
from gsco_pacs.domain.study import StoredFile
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.sr.evidence import Origin
from gsco_pacs.sr.reading import as_text
from gsco_pacs.steps.compare import compare
from gsco_pacs.testing.phantoms import make_dx
from tests.draft_material import CARDIOMEGALY, CXR, DX, EDEMA, EFFUSION, NORMAL, parts
from tests.recorded_node import MATCHING, RecordedNode
from tests.segmentation_material import HIPPOCAMPUS
from tests.test_saliency import Pointer

DAY = "2026-03-01"
FINDINGS = (EFFUSION, CARDIOMEGALY, EDEMA)
UNCHANGED = f"No finding assessed in both studies is held otherwise than in the study of {DAY}; size and extent were not compared."  # fmt: skip
ORDER = {"present": 0, "possible": 1, "absent": 2, "threshold": 2}
IMAGE = ImageReference("1.2.840.1.1", DX, "1.2.840.1.1.1")


def consultation(estimates: Mapping[Finding, float], **changes: Any) -> Consultation:
    opinions = tuple(Opinion(CXR.name, f, p, 0.1, 0.5, "1.2") for f, p in estimates.items())
    return replace(Consultation((CXR,), ("1.2",), opinions, (), (), region="chest X-ray"), **changes)


def prior(estimates: Mapping[Finding, float], day: str = DAY, **changes: Any) -> Prior:
    return Prior("1.2.840.1", day, consultation(estimates, **changes), (IMAGE,))


def said(then: Mapping[Finding, float], now: Mapping[Finding, float]) -> tuple[str, ...]:
    made = compare(consultation(now), [prior(then)])
    assert made is not None
    return made.sentences


def held(probability: float) -> Presence:
    return Opinion("", EFFUSION, probability, 0.1, 0.5, "").presence


def test_a_change_is_told_with_the_day_and_both_estimates() -> None:
    assert said({EFFUSION: 0.31, EDEMA: 0.7, CARDIOMEGALY: 0.2}, {EFFUSION: 0.83, EDEMA: 0.04, CARDIOMEGALY: 0.3}) == (
        "Compared with the study of 2026-03-01: pleural effusion, possible then (31 %), is present now (83 %); "
        "pulmonary edema, present then (70 %), is absent now (4 %).",
    )  # fmt: skip


def test_what_only_misses_its_threshold_now_is_not_called_absent() -> None:
    assert said({EDEMA: 0.7}, {EDEMA: 0.09})[0].endswith("is below its threshold now (9 %).")


ESTIMATES = st.lists(st.floats(0, 1), min_size=3, max_size=3)


@given(ESTIMATES, ESTIMATES)
def test_exactly_what_is_held_otherwise_is_named_and_what_is_present_now_comes_first(
    then: list[float], now: list[float]
) -> None:
    (sentence,) = said(dict(zip(FINDINGS, then, strict=True)), dict(zip(FINDINGS, now, strict=True)))
    changed = {
        finding for finding, old, new in zip(FINDINGS, then, now, strict=True) if held(old) is not held(new)
    }
    assert {finding for finding in FINDINGS if finding.text in sentence} == changed
    assert (sentence == UNCHANGED) == (not changed)
    presences = [
        part.split(" now (")[0].rsplit(" ", 1)[1] for part in sentence.split("; ") if " now (" in part
    ]
    assert presences == sorted(presences, key=lambda word: ORDER[word])


def test_that_nothing_was_found_is_no_finding_that_changes() -> None:
    assert said({NORMAL: 0.9, EDEMA: 0.01}, {NORMAL: 0.01, EDEMA: 0.02}) == (UNCHANGED,)


def test_many_changes_are_counted_after_the_first_five() -> None:
    many = [replace(EDEMA, label=f"L{n}", text=f"finding {n}") for n in range(8)]
    (sentence,) = said(dict.fromkeys(many, 0.9), dict.fromkeys(many, 0.05))
    assert sentence.count(" then (") == 5
    assert sentence.endswith("; 3 more.")


LOW, MIDDLE, HIGH = (replace(EDEMA, label=f"G{n}", text=f"grade {n}", exclusive=True) for n in (1, 2, 3))


def test_of_findings_that_exclude_one_another_the_likeliest_ones_are_compared() -> None:
    low, high = LOW, HIGH
    assert said({low: 0.6, high: 0.4}, {low: 0.3, high: 0.7}) == (
        "Compared with the study of 2026-03-01: grade 1 (60 %) was likeliest then, grade 3 (70 %) is now.",
    )
    assert said({low: 0.6, high: 0.4}, {low: 0.51, high: 0.49}) == (UNCHANGED,)


def test_a_class_that_was_only_possible_and_is_most_likely_now_is_told() -> None:
    assert said({HIGH: 0.36, LOW: 0.34, MIDDLE: 0.3}, {HIGH: 0.95, LOW: 0.03, MIDDLE: 0.02}) == (
        "Compared with the study of 2026-03-01: grade 3, possible then (36 %), is most likely now (95 %); "
        "grade 1, possible then (34 %), is absent now (3 %); grade 2, possible then (30 %), is absent now (2 %).",
    )


def test_a_class_beside_the_likeliest_that_has_become_possible_is_told() -> None:
    assert said({LOW: 0.95, HIGH: 0.05}, {LOW: 0.6, HIGH: 0.4}) == (
        "Compared with the study of 2026-03-01: grade 3, below its threshold then (5 %), is possible now (40 %).",
    )


OTHER = ModelIdentity("other_findings", "2.0.0", "ef" * 32)
MASS = replace(EDEMA, label="Mass", text="lung mass")


def by_two(mass: float | None) -> Consultation:
    """What two specialists found: the second did not assess anything if ``mass`` is None."""
    first = consultation({EFFUSION: 0.9}, specialists=(CXR, OTHER))
    second = () if mass is None else (Opinion(OTHER.name, MASS, mass, 0.1, 0.5, "1.2"),)
    return replace(first, opinions=(*first.opinions, *second))


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (None, 0.9, "other_findings 2.0.0 did not assess the study of 2026-03-01, which was read by cxr_findings 1.0.0, so "
         "what was found now cannot be compared: lung mass present (90 %)."),
        (None, 0.01, "other_findings 2.0.0 did not assess the study of 2026-03-01, which was read by cxr_findings 1.0.0, so "
         "what was found now cannot be compared."),
        (0.9, None, "other_findings 2.0.0 did not assess this study, so what was found in that of 2026-03-01 cannot be "
         "compared: lung mass present (90 %)."),
    ],
)  # fmt: skip
def test_what_was_strange_to_a_specialist_in_one_study_is_not_compared_and_the_draft_says_so(
    then: float | None, now: float | None, said: str
) -> None:
    made = compare(by_two(now), [Prior("1.2.840.1", DAY, by_two(then), (IMAGE,))])
    assert made is not None
    assert made.sentences == (UNCHANGED, said)


def test_where_every_image_was_strange_nothing_is_called_unchanged() -> None:
    made = compare(consultation({EFFUSION: 0.3}), [prior({})])
    assert made is not None
    assert made.sentences == (
        "cxr_findings 1.0.0 did not assess the study of 2026-03-01, so what was found now cannot be compared: "
        "pleural effusion possible (30 %).",
    )


FRONT, BACK = (
    Segment(replace(EDEMA, label=name, text=f"{name} hippocampus"), HIPPOCAMPUS, None, (1, 2, 3), (300, 4000))
    for name in ("anterior", "posterior")
)


def measured(*volumes: tuple[float, float], model: ModelIdentity = OTHER) -> Consultation:
    """The volumes of front and back in each series of a study."""
    found = tuple(
        Measurement(model.name, segment, size, f"1.{series}", place)
        for series, sizes in enumerate(volumes)
        for place, (segment, size) in enumerate(zip((FRONT, BACK), sizes, strict=True), start=1)
    )
    return Consultation((model,), ("1.2",), (), (), (), region="brain", measurements=found)


def test_volumes_are_told_then_and_now_with_their_difference() -> None:
    made = compare(measured((1200, 1500)), [Prior("1.2.840.1", DAY, measured((2600, 1500)), (IMAGE,))])
    assert made is not None
    assert made.sentences == (
        "Measured volumes compared with the study of 2026-03-01: "
        "anterior hippocampus 2.60 mL then, 1.20 mL now (-1.40 mL, -54 %); "
        "posterior hippocampus 1.50 mL then, 1.50 mL now (+0.00 mL, +0 %). "
        "How far two measurements of the same structure differ is not known.",
    )


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (measured((2600, 1500), (1300, 1400)),
         "A study holds several volumes that other_findings measured, so they were not compared with those of 2026-03-01."),
        (measured((2600, 1500), model=replace(OTHER, version="1.0.0", sha256="00" * 32)),
         "other_findings 2.0.0 did not assess the study of 2026-03-01, which was read by other_findings 1.0.0, so what was "
         "found now cannot be compared."),
        (measured(), "other_findings 2.0.0 did not assess the study of 2026-03-01, so what was found now cannot be compared."),
    ],
)  # fmt: skip
def test_volumes_without_a_counterpart_are_not_compared_and_the_draft_says_so(
    then: Consultation, said: str
) -> None:
    made = compare(measured((1200, 1500)), [Prior("1.2.840.1", DAY, then, (IMAGE,))])
    assert made is not None
    assert made.sentences == (said,)


def test_another_build_of_a_specialist_is_not_compared_and_the_draft_says_so() -> None:
    older = replace(CXR, version="0.9.0", sha256="00" * 32)
    made = compare(consultation({EFFUSION: 0.9}), [prior({EFFUSION: 0.05}, specialists=(older,))])
    assert made is not None
    assert made.sentences == (
        "cxr_findings 1.0.0 did not assess the study of 2026-03-01, which was read by cxr_findings 0.9.0, so what was "
        "found now cannot be compared: pleural effusion present (90 %).",
    )


def test_the_newest_study_of_the_same_region_is_taken_and_without_one_nothing_is_said() -> None:
    knee = prior({EFFUSION: 0.05}, "2026-03-02", region="knee X-ray")
    newer, older = prior({EFFUSION: 0.9}, "2026-02-02"), prior({EFFUSION: 0.05}, "2026-01-01")
    made = compare(consultation({EFFUSION: 0.9}), [knee, newer, older])
    assert made is not None
    assert made.study_date == "2026-02-02"
    assert made.sentences[0].startswith("No finding assessed in both")
    assert compare(consultation({EFFUSION: 0.9}), [knee]) is None


def test_both_reports_hold_the_comparison_and_name_the_earlier_images_as_other_evidence() -> None:
    made = parts()
    comparison = compare(consultation({EFFUSION: 0.83}), [prior({EFFUSION: 0.31})])
    compared = replace(made, draft=replace(made.draft, comparison=comparison))
    for report in compared.composed():
        assert "possible then (31 %), is present now (83 %)" in as_text(report.content)
        document = dcmread(BytesIO(report.content))
        (study,) = document.PertinentOtherEvidenceSequence
        assert study.StudyInstanceUID == "1.2.840.1"
        assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == (
            IMAGE.sop_instance_uid
        )
    for report in made.composed():
        assert "PertinentOtherEvidenceSequence" not in dcmread(BytesIO(report.content))
        assert "PREVIOUS FINDINGS" not in as_text(report.content)


@dataclass
class Ward:
    """A node that reads studies up to the draft, with a specialist whose estimates a test sets."""

    node: RecordedNode

    def study(self, name: str, estimate: float, **attributes: Any) -> Claim:
        """Receive, close and consult one study; the claim of its draft."""
        image = make_dx(32, 32, study=name, instance=name, **attributes)
        self.node.receive(image)
        (collecting,) = self.node.ledger.collecting()
        decision = Decision(closed=True, reason="quiet", decided_at=datetime.now(UTC))
        route = ROUTE.model_dump(mode="json", by_alias=True)
        assert self.node.ledger.close(collecting, decision, MATCHING, route)
        claim = self.node.claim(Stage.CONSULT)
        origin = Origin(claim.study, Equipment(), "0.1.0", ROUTE.sha256, 0, datetime.now(UTC))
        specialist = Pointer("cxr_findings", {EFFUSION: estimate, NORMAL: 0.2}, most_maps=0)
        made, _ = consult_stage(self.files(claim), [specialist], ROUTE, origin)
        self.node.jobs.finish(claim, TypeAdapter(Consultation).dump_python(made, mode="json"))
        return self.node.claim(Stage.DRAFT)

    def files(self, claim: Claim) -> list[StoredFile]:
        return [StoredFile(i, self.node.store.path_of(i)) for i in claim.study.instances]

    def draft(self, claim: Claim) -> Drafted:
        consulted = TypeAdapter(Consultation).validate_python(
            self.node.jobs.product(claim.job_id, Stage.CONSULT)
        )
        drafted, reports = draft_stage(
            claim.study, self.files(claim), consulted, StructuredGeneralist(), route=ROUTE, equipment=Equipment(),
            predecessors=(), priors=PriorStudies(self.node.database).before(claim.job_id), run=0,
            at=datetime.now(UTC),
        )  # fmt: skip
        self.node.jobs.finish(claim, TypeAdapter(Drafted).dump_python(drafted, mode="json"), reports)
        return drafted


ROUTE = RouteSettings.model_validate(
    {
        "name": "chest-radiograph",
        "when": {"tag": "Modality", "equals": "DX"},
        "specialists": ["cxr_findings"],
        "destinations": ["d"],
        "mode": "specialists",
    }
)


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(RecordedNode(tmp_path))


def test_two_studies_of_one_patient_are_compared_and_that_of_another_is_not(ward: Ward) -> None:
    ward.study("old", 0.31, PatientID="P1", StudyDate="20260301", IssuerOfPatientID="A")
    ward.study("stranger", 0.99, PatientID="P2", StudyDate="20260302", IssuerOfPatientID="A")
    claim = ward.study("new", 0.83, PatientID="P1", StudyDate="20260304", IssuerOfPatientID="A")
    comparison = ward.draft(claim).draft.comparison
    assert comparison is not None
    assert comparison.sentences == (
        "Compared with the study of 2026-03-01: pleural effusion, possible then (31 %), is present now (83 %).",
    )
    narrative = next(r for r in ward.node.jobs.reports(claim.job_id) if r.kind is ObjectKind.NARRATIVE)
    assert comparison.sentences[0] in as_text(narrative.content)


@pytest.mark.parametrize(
    ("other", "priors"),
    [
        ({}, 1),
        ({"PatientID": " P1 ", "IssuerOfPatientID": "A "}, 1),
        ({"StudyDate": "20260304", "StudyTime": "090000"}, 1),
        ({"PatientID": "P2"}, 0),
        ({"IssuerOfPatientID": "B"}, 0),
        ({"IssuerOfPatientID": ""}, 0),
        ({"StudyDate": "20260305"}, 0),
        ({"StudyDate": "20260304", "StudyTime": "235959"}, 0),
        ({"StudyDate": None}, 0),
        ({"Modality": "CR"}, 0),
    ],
)
def test_another_patient_issuer_or_modality_and_a_later_or_undated_study_are_no_priors(
    ward: Ward, other: dict[str, Any], priors: int
) -> None:
    common = {"PatientID": "P1", "StudyDate": "20260301", "StudyTime": "101010", "IssuerOfPatientID": "A"}
    ward.study("other", 0.31, **(common | other))
    claim = ward.study("new", 0.83, **(common | {"StudyDate": "20260304"}))
    assert len(PriorStudies(ward.node.database).before(claim.job_id)) == priors


def test_without_a_patient_id_there_is_no_prior(ward: Ward) -> None:
    ward.study("other", 0.31, PatientID="", StudyDate="20260301")
    claim = ward.study("new", 0.83, PatientID="", StudyDate="20260304")
    assert PriorStudies(ward.node.database).before(claim.job_id) == ()


def test_the_newest_of_several_priors_comes_first(ward: Ward) -> None:
    for day in ("20260102", "20260303", "20260201"):
        ward.study(day, 0.31, PatientID="P1", StudyDate=day)
    claim = ward.study("new", 0.83, PatientID="P1", StudyDate="20260304")
    found = PriorStudies(ward.node.database).before(claim.job_id)
    assert [each.study_date for each in found] == ["2026-03-03", "2026-02-01", "2026-01-02"]
    image: Dataset = make_dx(32, 32, study="20260303", instance="20260303")
    assert found[0].images == (
        ImageReference(image.SeriesInstanceUID, image.SOPClassUID, image.SOPInstanceUID),
    )
