"""The same SOP Instance UID with other bytes: a corrected header is followed, another image is kept aside, both are told."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.dsutils import encode

from gsco_pacs.adapters.announcements import Announcements
from gsco_pacs.adapters.archive_counts import ArchiveCounts
from gsco_pacs.adapters.audit import Audit, StudyHistory
from gsco_pacs.adapters.corrections import Corrections
from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.adapters.job_ledger import JobLedger
from gsco_pacs.adapters.ledger import Database, Ledger
from gsco_pacs.adapters.retention import Retention
from gsco_pacs.config import Config
from gsco_pacs.domain.completeness import Corrected, Decision
from gsco_pacs.domain.correction import summed_up
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.findings import ObjectKind, Receipt, Report
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.domain.registration import Registration
from gsco_pacs.domain.study import Peer, Routing
from gsco_pacs.intake import HEADER, compare_variants
from gsco_pacs.outlook import Outlooks
from gsco_pacs.steps.differ import differ
from gsco_pacs.steps.receive import receive
from gsco_pacs.steps.settle import settle
from gsco_pacs.testing.phantoms import encoded, make_dx

PEER = Peer("PACS", "GSCO", "127.0.0.1")
ROUTE = {"name": "chest", "priority": "routine"}
STUDY = str(make_dx().StudyInstanceUID)


def written(folder: Path, name: str, ds: Dataset) -> Path:
    path = folder / name
    path.write_bytes(encoded(ds))
    return path


def in_syntax(ds: Dataset, syntax: UID) -> Dataset:
    if syntax == JPEG2000Lossless:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def brighter() -> Dataset:
    ds = make_dx()
    ds.PixelData = (np.frombuffer(ds.PixelData, np.uint16) // 2).tobytes()
    return ds


def of_the_archive(**changes: str) -> Dataset:
    """The phantom with what an archive writes when it sends it on."""
    ds = make_dx()
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.RetrieveAETitle, ds.InstanceAvailability, ds.InstanceCoercionDateTime = "PACS", "ONLINE", "20260106"
    ds.private_block(0x0099, "ARCHIVE", create=True).add_new(0x01, "LO", "42")
    return ds


def test_a_header_that_was_corrected_is_told_apart_from_another_image(tmp_path: Path) -> None:
    former = written(tmp_path, "a.dcm", make_dx())
    found = differ(former, written(tmp_path, "b.dcm", make_dx(PatientID="P2", BodyPartExamined=None)))
    assert found.attributes == {"PatientID": ("PHANTOM-1", "P2"), "BodyPartExamined": ("CHEST", "")}
    assert (found.is_correction, found.concerns_the_study) == (True, True)
    found = differ(former, written(tmp_path, "c.dcm", brighter()))
    assert found.another_image == "its pixel data differs"
    assert not found.is_correction


def test_uncompressed_pixels_are_compared_whatever_the_vr_is_written_as(tmp_path: Path) -> None:
    former = written(tmp_path, "a.dcm", make_dx())
    again = written(tmp_path, "b.dcm", in_syntax(make_dx(AccessionNumber="A9"), ImplicitVRLittleEndian))
    assert differ(former, again).attributes == {"AccessionNumber": ("A1", "A9")}
    assert differ(former, again).is_correction


def test_pixels_in_another_compression_are_not_taken_for_the_same(tmp_path: Path) -> None:
    former = written(tmp_path, "a.dcm", make_dx())
    again = written(tmp_path, "b.dcm", in_syntax(make_dx(PatientID="P2"), JPEG2000Lossless))
    assert "another transfer syntax" in differ(former, again).another_image


def test_the_same_text_in_another_character_set_and_an_archives_own_notes_are_no_change(
    tmp_path: Path,
) -> None:
    former = written(tmp_path, "a.dcm", make_dx(PatientName="Müller^Jörg"))
    again = of_the_archive(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    found = differ(former, written(tmp_path, "b.dcm", again))
    assert (dict(found.attributes), found.another_image, found.is_correction) == ({}, "", False)


def test_a_file_that_is_none_is_an_error_and_no_correction(tmp_path: Path) -> None:
    (tmp_path / "b.dcm").write_bytes(b"nonsense")
    with pytest.raises(BadObjectError):
        differ(written(tmp_path, "a.dcm", make_dx()), tmp_path / "b.dcm")


class Node:
    """The intake half of a node: what the receiver and the housekeeper do, by hand."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.ledger, self.jobs = Ledger(database), JobLedger(database)
        self.corrections = Corrections(database)
        self.store = FileStore(folder / "store", 0)
        self._audit = Audit(database)
        self._outlooks = Outlooks(
            self.ledger, Announcements(database), self.corrections, ArchiveCounts(database, 15), Config()
        )

    def take(self, *images: Dataset) -> list[Registration]:
        """Receive images and compare what came before."""
        registrations = self.ledger.register(
            [(receive(_incoming(ds), self.store, HEADER), PEER) for ds in images]
        )
        compare_variants(self.corrections, self.store)
        return registrations

    def close(self) -> None:
        (collecting,) = self.ledger.collecting()
        decision = Decision(closed=True, reason="quiet", decided_at=datetime.now(UTC))
        assert self.ledger.close(collecting, decision, Routing("chest", ()), ROUTE)

    def decision(self, seconds: float) -> Decision:
        """What would be decided of the one arriving study after so many seconds."""
        (collecting,) = arriving = self.ledger.collecting()
        self._outlooks.refresh(arriving)
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        outlook = self._outlooks.of(collecting, at)
        assert outlook is not None
        return settle(outlook.standing, outlook.patience, at)

    def history(self, study: str = STUDY) -> StudyHistory:
        return self._audit.study(study)

    def odd(self, study: str = STUDY) -> list[str]:
        return list(summed_up((each.kind, each.changes) for each in self.history(study).received))

    def noted(self) -> list[tuple[str, str]]:
        return [(refusal.what, refusal.reason) for refusal in self._audit.refusals()]


def _incoming(ds: Dataset) -> Incoming:
    syntax = ds.file_meta.TransferSyntaxUID
    data_set = encode(ds, syntax.is_implicit_VR, is_little_endian=True)
    assert data_set is not None
    return Incoming(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(syntax), data_set, PEER)


@pytest.fixture
def node(database: Database, tmp_path: Path) -> Node:
    return Node(database, tmp_path)


def test_a_corrected_patient_opens_a_revision_that_reads_the_new_header_and_the_old_bytes_are_kept(
    node: Node,
) -> None:
    node.take(make_dx(instance="1"), make_dx(instance="2"))
    node.close()
    assert (
        node.take(make_dx(instance="1", PatientID="P2"), make_dx(instance="2", PatientID="P2"))
        == [Registration.VARIANT] * 2
    )
    node.close()
    history = node.history()
    assert (history.patient_id, [each.kind for each in history.received]) == (
        "P2", ["kept", "kept", "corrected", "corrected"],
    )  # fmt: skip
    assert [(r.job.revision, r.job.state, r.job.images) for r in history.revisions] == [
        (2, State.QUEUED, 2), (1, State.CANCELLED, 2),
    ]  # fmt: skip
    assert node.odd() == ["2 × came with a corrected header: PatientID 'PHANTOM-1' → 'P2'."]
    claim = node.jobs.claim(Stage.CONSULT, "worker", 30)
    assert claim is not None
    assert claim.study.patient_id == "P2"
    read = [dcmread(node.store.path_of(each)).PatientID for each in claim.study.instances]
    assert read == ["P2", "P2"]
    assert all((node.store.path_of(each)).exists() for each in claim.study.instances)


def test_a_correction_of_the_patient_ends_what_is_unfinished_at_once_but_one_of_a_view_does_not(
    node: Node,
) -> None:
    node.take(make_dx())
    node.close()
    claim = node.jobs.claim(Stage.CONSULT, "worker", 30)
    assert claim is not None
    node.take(make_dx(ViewPosition="AP"))
    assert node.jobs.pulse(claim, 30) is None
    node.take(make_dx(ViewPosition="AP", PatientName="Other^Name"))
    assert node.jobs.pulse(claim, 30) is Event.SUPERSEDED
    assert node.jobs.finish(claim, {}) is State.CANCELLED
    assert "PatientName" in node.history().revisions[1].job.reason


def test_a_correction_that_comes_while_the_study_is_arriving_joins_it(node: Node) -> None:
    node.take(make_dx(instance="1"))
    node.take(make_dx(instance="1", AccessionNumber="A9"))
    (collecting,) = node.ledger.collecting()
    assert collecting.revision == 1
    assert node.history().accession_number == "A9"
    assert len(node.ledger.study(collecting.job_id).instances) == 1


def test_a_half_corrected_study_waits_for_the_rest_and_at_the_deadline_the_newest_word_stands_first(
    node: Node,
) -> None:
    node.take(*(make_dx(instance=number) for number in "123"))
    node.close()
    node.take(make_dx(instance="2", PatientName="Right^Name"))
    assert node.corrections.of(STUDY) == Corrected(("PatientName",), 1, 2)
    assert not node.decision(3500).closed
    late = node.decision(3601)
    assert late.closed
    assert (
        late.incomplete == "Corrected: PatientName; images that have the new values: 1, the former ones: 2."
    )
    (collecting,) = node.ledger.collecting()
    study = node.ledger.study(collecting.job_id)
    assert study.instances[0].sop_instance_uid == str(make_dx(instance="2").SOPInstanceUID)
    node.take(*(make_dx(instance=number, PatientName="Right^Name") for number in "13"))
    assert node.decision(61).closed
    assert node.corrections.of(STUDY) == Corrected(("PatientName",), 3, 0)


def test_an_image_that_comes_late_with_the_former_patient_is_not_overlooked(node: Node) -> None:
    node.take(make_dx(instance="1"))
    node.close()
    node.take(make_dx(instance="1", PatientID="P2"))
    node.take(make_dx(instance="2"))
    assert node.corrections.of(STUDY) == Corrected(("PatientID",), 1, 1)


def test_another_image_under_a_known_uid_is_kept_aside_and_told_once(node: Node) -> None:
    node.take(make_dx())
    node.close()
    node.take(brighter())
    assert node.ledger.collecting() == []
    assert [each.kind for each in node.history().received] == ["kept", "variant"]
    assert node.odd() == ["1 × came with a known SOP Instance UID and other bytes: kept aside."]
    assert [what for what, _ in node.noted()] == ["variant"]
    assert "its pixel data differs" in node.noted()[0][1]


def test_the_same_content_in_other_bytes_opens_nothing_and_alarms_nobody(node: Node) -> None:
    node.take(make_dx())
    node.close()
    node.take(of_the_archive(), in_syntax(make_dx(), ImplicitVRLittleEndian))
    assert node.ledger.collecting() == []
    assert node.noted() == []


def test_the_former_bytes_again_after_a_correction_are_counted_and_take_nothing_back(node: Node) -> None:
    node.take(make_dx())
    node.close()
    node.take(make_dx(PatientID="P2"))
    node.close()
    assert node.take(make_dx()) == [Registration.EQUAL]
    assert node.ledger.collecting() == []
    assert (node.history().patient_id, node.history().received[0].resent) == ("P2", 1)


def test_images_that_come_again_in_another_study_are_kept_in_both_and_told(node: Node) -> None:
    node.take(make_dx(instance="1"), make_dx(instance="2"))
    node.close()
    merged = [make_dx(instance=number, StudyInstanceUID="1.2.3.4") for number in "12"]
    assert node.take(*merged) == [Registration.KEPT] * 2
    node.close()
    assert len(node.history("1.2.3.4").received) == 2
    assert node.noted() == [
        ("moved", f"Images of study {STUDY} came again in study 1.2.3.4: they are kept in both.")
    ]
    assert "came in another study before" in node.odd("1.2.3.4")[0]


def test_a_report_of_another_node_that_changes_is_never_taken_for_a_correction(node: Node) -> None:
    node.take(make_dx(instance="1"))
    node.close()
    report = make_dx(instance="9", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")
    assert node.take(report) == [Registration.ATTACHED]
    report.PatientID = "P2"
    assert node.take(report) == [Registration.VARIANT]
    assert node.ledger.collecting() == []


_MADE = {
    ObjectKind.NARRATIVE: EnhancedSRStorage,
    ObjectKind.CODED: Comprehensive3DSRStorage,
    ObjectKind.CAPTURE: SecondaryCaptureImageStorage,
    ObjectKind.SEGMENTATION: SegmentationStorage,
    ObjectKind.PARAMETRIC_MAP: ParametricMapStorage,
    ObjectKind.KEY_OBJECTS: KeyObjectSelectionDocumentStorage,
}


@pytest.mark.parametrize("kind", ObjectKind)
def test_a_result_that_comes_back_is_known_by_its_uid_whatever_became_of_it_in_the_archive(
    node: Node, kind: ObjectKind
) -> None:
    node.take(make_dx())
    node.close()
    claim = node.jobs.claim(Stage.CONSULT, "worker", 30)
    assert claim is not None
    result = make_dx(instance=kind, SOPClassUID=_MADE[kind])
    made = Report(kind, _MADE[kind], STUDY, "2.25.1", str(result.SOPInstanceUID), encoded(result), "0" * 64)
    node.jobs.finish(claim, {}, [made])
    changed = make_dx(instance=kind, SOPClassUID=_MADE[kind], PatientID="P2")
    merged = make_dx(instance=kind, SOPClassUID=_MADE[kind], StudyInstanceUID="1.2.3.4")
    assert node.take(result, in_syntax(changed, ImplicitVRLittleEndian), merged) == [Registration.OWN] * 3
    assert node.take(result) == [Registration.EQUAL]
    assert node.ledger.collecting() == []
    assert node.odd() == ["2 × is a result of this node that came back: counted, not read."]
    assert (node.history().patient_id, node.noted()) == ("PHANTOM-1", [])


def test_each_of_three_revisions_names_the_newest_draft_that_some_destination_took(node: Node) -> None:
    def predecessors_after(revision: int, taken: tuple[ObjectKind, ...]) -> set[str]:
        """Those of this revision, whose SRs of the kinds ``taken`` then reach a destination before it is superseded."""
        node.take(make_dx(instance=str(revision)))
        node.close()
        consult = node.jobs.claim(Stage.CONSULT, "worker", 30)
        assert consult is not None
        node.jobs.finish(consult, {})
        claim = node.jobs.claim(Stage.DRAFT, "worker", 30)
        assert claim is not None
        found = {each.sop_instance_uid for each in node.jobs.predecessors(claim.job_id)}
        made = [
            Report(kind, _MADE[kind], STUDY, f"1.{n}.{revision}", f"1.{n}.{revision}.1", b"x", "0" * 64)
            for n, kind in enumerate((ObjectKind.NARRATIVE, ObjectKind.CODED))
        ]
        node.jobs.finish(claim, {}, made)
        receipts = [
            Receipt("one of two", each.sop_instance_uid, "0x0000") for each in made if each.kind in taken
        ]
        node.jobs.keep_receipts(claim.job_id, receipts)
        return found

    assert predecessors_after(1, (ObjectKind.NARRATIVE, ObjectKind.CODED)) == set()
    assert predecessors_after(2, (ObjectKind.NARRATIVE,)) == {"1.0.1.1", "1.1.1.1"}
    assert predecessors_after(3, ()) == {"1.0.2.1", "1.1.1.1"}
    assert predecessors_after(4, ()) == {"1.0.2.1", "1.1.1.1"}


def test_a_correction_of_a_study_whose_images_were_deleted_is_followed_by_what_the_record_has(
    node: Node, database: Database
) -> None:
    node.take(make_dx())
    node.close()
    claim = node.jobs.claim(Stage.CONSULT, "worker", 30)
    assert claim is not None
    node.jobs.end(claim, Event.NOT_APPLICABLE, "nothing fits")
    retention = Retention(database, ())
    retention.give_up_images(0)
    assert retention.delete_images(node.store.delete) == 1
    node.take(make_dx(PatientID="P2"))
    (collecting,) = node.ledger.collecting()
    study = node.ledger.study(collecting.job_id)
    assert (study.patient_id, len(study.instances)) == ("P2", 1)
    assert node.odd() == ["1 × came with a corrected header: PatientID 'PHANTOM-1' → 'P2'."]
