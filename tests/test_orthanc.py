"""Reports at a PACS that somebody else wrote."""

import hashlib
import queue
import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pynetdicom.dimse_primitives import N_EVENT_REPORT

from gsco_pacs.adapters.archive_query import ArchiveQuery
from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.commitment_messages import on_event_report
from gsco_pacs.adapters.commitment_scu import CommitmentScu
from gsco_pacs.adapters.dimse_service import COMMITMENT, Service
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.query_scu import QueryScu
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.adapters.store_scu import StoreScu
from gsco_pacs.domain.commitment import NO_SUCH_INSTANCE, Named, Outcome
from gsco_pacs.domain.findings import ObjectKind, Report
from gsco_pacs.settings.archives import DimseArchive
from gsco_pacs.settings.receiver import Receiver, Sender
from gsco_pacs.testing.servers import OrthancServer, private_orthanc

Reports = tuple[Report, Report]


@pytest.fixture
def destination(orthanc: OrthancServer) -> StoreScu:
    peer = CalledPeer(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port, "GSCO", 30)
    return StoreScu("pacs", peer, frozenset(ObjectKind))


@pytest.fixture
def image_at_pacs(orthanc: OrthancServer, chest_dx: tuple[Path, ...]) -> str:
    """The study's images are there first, as in a hospital; gives the Study Instance UID."""
    for file in chest_dx:
        httpx.post(f"{orthanc.url}/instances", content=file.read_bytes()).raise_for_status()
    return str(dcmread(chest_dx[0]).StudyInstanceUID)


def test_both_reports_appear_in_the_study_of_the_images_in_series_of_their_own(
    orthanc: OrthancServer, destination: StoreScu, image_at_pacs: str, chest_reports: Reports
) -> None:
    receipts = destination.send(chest_reports)

    assert [receipt.status for receipt in receipts] == ["0x0000", "0x0000"]
    (study,) = orthanc.find("Study", {"StudyInstanceUID": image_at_pacs})
    series = [orthanc.get(f"/series/{key}")["MainDicomTags"] for key in study["Series"]]
    assert sorted(tags["Modality"] for tags in series) == ["DX", "SR", "SR"]
    assert {tags["SeriesInstanceUID"] for tags in series if tags["Modality"] == "SR"} == {
        report.series_instance_uid for report in chest_reports
    }
    assert all("AI DRAFT" in tags["SeriesDescription"] for tags in series if tags["Modality"] == "SR")
    assert len(orthanc.find("Patient", {"PatientID": study["PatientMainDicomTags"]["PatientID"]})) == 1


def test_the_pacs_gives_back_the_data_set_that_was_stored(
    orthanc: OrthancServer, destination: StoreScu, chest_reports: Reports
) -> None:
    destination.send(chest_reports)
    for report in chest_reports:
        (instance,) = orthanc.find("Instance", {"SOPInstanceUID": report.sop_instance_uid})
        file = httpx.get(f"{orthanc.url}/instances/{instance['ID']}/file").content
        assert _data_set(file) == _data_set(report.content)


def test_a_second_sending_changes_nothing_at_the_pacs(
    orthanc: OrthancServer, destination: StoreScu, chest_reports: Reports
) -> None:
    def at_pacs() -> dict[str, str]:
        found = orthanc.find(
            "Instance", {"SOPClassUID": "", "StudyInstanceUID": chest_reports[0].study_instance_uid}
        )
        files = {one["ID"]: httpx.get(f"{orthanc.url}/instances/{one['ID']}/file").content for one in found}
        return {key: hashlib.sha256(file).hexdigest() for key, file in files.items()}

    destination.send(chest_reports)
    before = at_pacs()
    destination.send(chest_reports)
    assert at_pacs() == before
    assert len(before) >= 2


def _data_set(file: bytes) -> bytes:
    """What follows the file meta information, whose first element is its length (PS3.10 section 7.1)."""
    head = re.compile(rb"DICM\x02\x00\x00\x00UL\x04\x00(.{4})", re.DOTALL).match(file, 128)
    assert head is not None
    return file[head.end() + int.from_bytes(head[1], "little") :]


def searching(orthanc: OrthancServer) -> ArchiveQuery:
    settings = DimseArchive(kind="dimse", ae_title="ORTHANC", host="127.0.0.1", port=orthanc.dicom_port)
    peer = CalledPeer(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port, "GSCO", 30)
    return ArchiveQuery(QueryScu("pacs", peer, settings))


def test_orthanc_commits_itself_to_what_it_has_and_says_what_it_has_not(
    tmp_path: Path, chest_reports: Reports
) -> None:
    """The request goes to Orthanc, its answer comes to our receiver on an association that Orthanc opens."""
    outcomes: queue.Queue[Outcome] = queue.Queue()

    def keep(outcome: Outcome) -> bool:
        outcomes.put(outcome)
        return True

    results = Service(COMMITMENT, {N_EVENT_REPORT: on_event_report(keep)}, both_roles=True)
    settings = Receiver(host="127.0.0.1", port=free_port(), senders=(Sender(ae_title="ORTHANC"),))
    scp = StorageScp(settings, lambda _: None, lambda _: None, [results])
    scp.start()
    with private_orthanc(peers={"node": ("GSCO", "127.0.0.1", scp.port)}) as orthanc:
        peer = CalledPeer(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port, "GSCO", 30)
        StoreScu("pacs", peer, frozenset(ObjectKind)).send(chest_reports[:1])
        asking = CommitmentScu(peer, searching(orthanc), 0, keep)
        assert asking.confirm("1.2.826.0.1.3680043.8.498.1", chest_reports) is None
        outcome = outcomes.get(timeout=20)
    scp.stop()
    kept, missing = (Named(report.sop_class_uid, report.sop_instance_uid) for report in chest_reports)
    assert outcome == Outcome("1.2.826.0.1.3680043.8.498.1", (kept,), {missing: NO_SUCH_INSTANCE})


def test_a_query_finds_at_orthanc_what_it_has(
    orthanc: OrthancServer, destination: StoreScu, chest_reports: Reports
) -> None:
    destination.send(chest_reports)
    unsent = replace(chest_reports[0], sop_instance_uid="1.2.3")
    outcome = searching(orthanc).confirm("1.9", [*chest_reports, unsent])
    assert [named.sop_instance_uid for named in outcome.committed] == [
        report.sop_instance_uid for report in chest_reports
    ]
    assert [named.sop_instance_uid for named in outcome.failed] == ["1.2.3"]
