"""Evidence beside the reports: whole, valid objects of the source's patient and study, with UIDs that can be trusted."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from gsco_pacs.domain.findings import Evidence, ModelIdentity, Report
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.sr.capture import capture
from gsco_pacs.sr.evidence import Origin, Part
from tests.draft_material import CXR, header, study_of

AT = datetime(2026, 3, 4, 15, 16, 17)  # noqa: DTZ001 - reports are dated in local time
PICTURE = np.arange(21 * 15 * 3, dtype=np.uint8).reshape(21, 15, 3)


def origin(*headers: Dataset, **changes: Any) -> Origin:
    held = headers or (header(1, 1), header(1, 2))
    return replace(Origin(study_of(held, 1), Equipment(), "0.1.0", "ef" * 32, 0, AT), **changes)


def part(source: Dataset, labels: Sequence[str] = ("Effusion",), specialist: ModelIdentity = CXR) -> Part:
    return Part(specialist, tuple(labels), (str(source.SOPInstanceUID),), 1)


def captured(source: Dataset | None = None, **changes: Any) -> tuple[Evidence, Report]:
    image = source or header(1, 1)
    return capture(PICTURE, "A heat map.", part(image), origin(image, **changes), image)


def read_back(report: Report) -> Dataset:
    return dcmread(BytesIO(report.content))


def test_a_capture_is_an_image_of_the_sources_patient_and_study_in_a_series_of_its_own() -> None:
    evidence, report = captured()
    document = read_back(report)
    assert np.array_equal(document.pixel_array, PICTURE)
    assert (document.PatientID, document.PatientName, document.AccessionNumber) == (
        "EX-1",
        "Example^Chest",
        "ACC1",
    )
    assert document.StudyInstanceUID == header().StudyInstanceUID
    assert document.SeriesInstanceUID == evidence.series_instance_uid != header().SeriesInstanceUID
    assert document.SOPInstanceUID == evidence.sop_instance_uid == report.sop_instance_uid
    assert document.SeriesNumber == 9003
    assert document.SeriesDescription.startswith("AI DRAFT - NOT FOR DIAGNOSIS - cxr_findings 1.0.0")
    assert document.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert document.BurnedInAnnotation == "YES"
    assert document.SourceImageSequence[0].ReferencedSOPInstanceUID == header(1, 1).SOPInstanceUID
    assert document.ContributingEquipmentSequence[0].ManufacturerModelName == "cxr_findings"


def test_the_names_bytes_are_those_of_the_source() -> None:
    source = header(1, 1, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    document = read_back(captured(source)[1])
    assert document.SpecificCharacterSet == "ISO_IR 100"
    assert document.PatientName == "Müller^Jörg"


def test_the_same_stage_makes_the_same_bytes() -> None:
    assert captured() == captured()


@pytest.mark.parametrize(
    "changes",
    [
        {"run": 1},
        {"config_sha256": "00" * 32},
        {"node_version": "0.2.0"},
        {"study": study_of((header(1, 1), header(1, 2)), 2)},
    ],
)
def test_a_forced_run_another_setting_and_a_new_revision_make_new_uids(changes: dict[str, Any]) -> None:
    (first, _), (second, _) = captured(), captured(**changes)
    assert first.sop_instance_uid != second.sop_instance_uid
    assert first.series_instance_uid != second.series_instance_uid


def test_captures_of_one_specialist_share_a_series_and_those_of_two_do_not() -> None:
    image = header(1, 1)
    other = replace(CXR, name="second")
    parts = (part(image), part(image, ["Mass"]), part(image, specialist=other))
    one, two, third = (capture(PICTURE, "x", each, origin(image), image)[0] for each in parts)
    assert one.series_instance_uid == two.series_instance_uid != third.series_instance_uid
    assert len({one.sop_instance_uid, two.sop_instance_uid, third.sop_instance_uid}) == 3


def test_lossy_compression_of_the_source_stays_declared() -> None:
    source = header(1, 1, LossyImageCompression="01", LossyImageCompressionRatio="10")
    document = read_back(captured(source)[1])
    assert (document.LossyImageCompression, document.LossyImageCompressionRatio) == ("01", 10)
