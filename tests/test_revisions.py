"""Through a running node: studies that are announced, late, torn, corrected, or the node's own."""

import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE

from gsco_pacs.adapters.announcement_scp import MPPS
from gsco_pacs.adapters.audit import StudyHistory
from gsco_pacs.config import shipped
from gsco_pacs.domain.job import State
from gsco_pacs.sr.reading import as_text
from gsco_pacs.testing.pacs import Answer, Arrival, LoopbackPacs
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.testing.private_process import program
from tests.announcing import created_step, finished_step
from tests.running_node import Node


def image(folder: Path, study: str, instance: str = "1", **changes: Any) -> Path:
    path = folder / f"{study}-{instance}-{len(list(folder.glob('*.dcm')))}.dcm"
    path.write_bytes(encoded(make_dx(320, 280, study=study, instance=instance, **changes)))
    return path


def storescu(node: Node, *paths: Path) -> None:
    """Send by DCMTK's storescu, which must get 0x0000 for every file."""
    receiver = node.config.receiver
    command = [
        program("storescu", "dcmtk", "/usr/bin"), "-R", "-aet", "STORESCU", "-aec", receiver.ae_title,
        "127.0.0.1", str(receiver.port), *map(str, paths),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)


def announce(node: Node, uid: str, study: str, images: list[tuple[str, str]] | None) -> None:
    """Create a performed procedure step, or complete it with ``images``."""
    ae = AE("STORESCU")
    ae.add_requested_context(MPPS)
    association = ae.associate("127.0.0.1", node.config.receiver.port, ae_title=node.config.receiver.ae_title)
    assert association.is_established
    if images is None:
        status, _ = association.send_n_create(created_step(study), MPPS, uid)
    else:
        status, _ = association.send_n_set(finished_step(images), MPPS, uid)
    assert status.Status == 0x0000
    association.release()


def dimse(*archives: LoopbackPacs) -> dict[str, Any]:
    return {
        f"pacs{number}": {
            "kind": "dimse", "ae_title": pacs.ae_title, "host": "127.0.0.1", "port": pacs.port, "timeout_seconds": 5,
        }
        for number, pacs in enumerate(archives)
    }  # fmt: skip


def routes(**changes: Any) -> list[dict[str, Any]]:
    content = yaml.safe_load(shipped("config.yaml").read_text())
    return [route | changes for route in content["routes"] if route["name"] == "chest-radiograph"]


def delivered(history: StudyHistory, revision: int) -> bool:
    newest = history.revisions[0].job
    return (newest.revision, newest.state) == (revision, State.DELIVERED)


def dataset(arrival: Arrival) -> Dataset:
    implicit = arrival.transfer_syntax_uid == ImplicitVRLittleEndian
    return read_dataset(BytesIO(arrival.data_set), is_implicit_VR=implicit, is_little_endian=True)


def reports(pacs: LoopbackPacs) -> dict[str, Dataset]:
    """SOP Instance UID -> SR, of what the PACS took, in the order of arrival."""
    taken = [dataset(arrival) for arrival in pacs.taken]
    return {str(ds.SOPInstanceUID): ds for ds in taken if ds.Modality == "SR"}


def predecessors(report: Dataset) -> list[str]:
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


def reference(path: Path) -> tuple[str, str]:
    ds = dcmread(path, stop_before_pixels=True)
    return str(ds.SOPClassUID), str(ds.SOPInstanceUID)


def test_an_announced_study_closes_when_it_is_whole_and_a_torn_one_at_the_deadline_with_a_draft_that_says_so(
    tmp_path: Path,
) -> None:
    whole, torn = image(tmp_path, "whole"), image(tmp_path, "torn")
    missing = reference(image(tmp_path, "torn", "2"))
    study, other = (str(dcmread(path).StudyInstanceUID) for path in (whole, torn))
    with LoopbackPacs() as pacs:
        (ordinary,) = routes(destinations=["pacs0"])
        hasty = {"name": "torn", "deadline_seconds": 3, "when": {"tag": "AccessionNumber", "equals": "Atorn"}}
        node = Node(
            tmp_path,
            settle={"quiet_seconds": 600},
            destinations=dimse(pacs),
            routes=[ordinary | hasty, ordinary],
        )
        with node.running():
            announce(node, "2.25.1", study, None)
            storescu(node, whole)
            announce(node, "2.25.1", study, [reference(whole)])
            complete = node.wait(study, lambda history: delivered(history, 1))
            announce(node, "2.25.2", other, None)
            storescu(node, torn)
            announce(node, "2.25.2", other, [reference(torn), missing])
            incomplete = node.wait(other, lambda history: delivered(history, 1))
    (closed,) = (m for m in complete.revisions[0].moments if m.event == "study_closed")
    assert closed.reason == "All announced images are here: 1, by MPPS of STORESCU."
    (closed,) = (m for m in incomplete.revisions[0].moments if m.event == "study_closed")
    assert closed.detail["incomplete"] == "MPPS of STORESCU: 1 of 2 announced images have not come."
    drafts = [ds for ds in reports(pacs).values() if ds.StudyInstanceUID == other]
    assert [ds.CompletionFlag for ds in drafts] == ["PARTIAL", "PARTIAL"]
    for line in incomplete.revisions[0].reports:
        if line.kind in ("narrative", "coded"):
            assert "INCOMPLETE STUDY: MPPS of STORESCU: 1 of 2" in as_text(
                node.audit.report(line.sop_instance_uid)
            )


def test_a_corrected_patient_gets_new_drafts_a_late_image_newer_ones_and_results_that_come_back_none(
    tmp_path: Path,
) -> None:
    first, late = image(tmp_path, "c"), image(tmp_path, "c", "2", PatientID="P2", PatientName="Right^Name")
    corrected = image(tmp_path, "c", PatientID="P2", PatientName="Right^Name")
    study = str(dcmread(first).StudyInstanceUID)
    with LoopbackPacs() as pacs, LoopbackPacs([Answer(0xA700)] * 1000) as full:
        node = Node(
            tmp_path, destinations=dimse(pacs, full),
            routes=routes(destinations=["pacs0", "pacs1"]),
            retry={"first_seconds": 60, "longest_seconds": 60},
        )  # fmt: skip
        with node.running():
            storescu(node, first)
            node.wait(study, lambda history: history.revisions[0].job.state == State.WAITING)
            old = list(reports(pacs))
            full.start_anew()
            storescu(node, corrected)
            history = node.wait(study, lambda history: delivered(history, 2))
            middle = list(reports(pacs))[2:]
            storescu(node, late, corrected)
            node.wait(study, lambda history: delivered(history, 3))
            new = list(reports(pacs))[4:]
            back = [_sent_back(tmp_path, number, arrival) for number, arrival in enumerate(pacs.taken)]
            storescu(node, *back)
            again = node.wait(study, lambda h: sum(r.kind == "own" for r in h.received) == len(back))
    assert [(r.job.revision, r.job.state) for r in history.revisions] == [
        (2, State.DELIVERED), (1, State.CANCELLED),
    ]  # fmt: skip
    by_uid = reports(pacs)
    assert (len(old), len(middle), len(new)) == (2, 2, 2)
    assert list(reports(full)) == [*middle, *new]
    assert [str(by_uid[uid].PatientID) for uid in (*old, *middle, *new)] == ["PHANTOM-c"] * 2 + ["P2"] * 4
    assert {str(by_uid[uid].PatientName) for uid in (*middle, *new)} == {"Right^Name"}
    assert [predecessors(by_uid[uid]) for uid in (*middle, *new)] == [[uid] for uid in (*old, *middle)]
    assert len(again.revisions) == 3
    assert again.patient_id == "P2"


def _sent_back(folder: Path, number: int, arrival: Arrival) -> Path:
    """A result as a PACS may send it: in another transfer syntax, and of a patient who was corrected meanwhile."""
    ds = dataset(arrival)
    ds.PatientID = "P3"
    path = folder / f"back-{number}.dcm"
    ds.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    ds = dcmread(path, force=True)
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    return path
