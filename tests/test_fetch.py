"""Studies are fetched from Orthanc and DCMTK by C-MOVE, C-GET and WADO-RS, through the door that every image takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import RTPlanStorage

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.database import migrate
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.send_files import send_files
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.adapters.upkeep import Upkeep
from gsco_pacs.config import Config
from gsco_pacs.domain.archive import Criteria
from gsco_pacs.domain.errors import ConfigError, NotApplicableError
from gsco_pacs.domain.fetch import FetchState
from gsco_pacs.processes.auditing import TransferAuditing
from gsco_pacs.processes.fetch import fetch_studies
from gsco_pacs.processes.filing import open_intake
from gsco_pacs.processes.parts import open_database
from gsco_pacs.testing.archive import Scripted, ScriptedArchive
from gsco_pacs.testing.dcmtk import private_dcmqrscp
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.testing.servers import OrthancServer

PATIENT = "FETCHED-1"


class Here:
    """A node's record and, while it runs, its receiver."""

    def __init__(self, folder: Path, archive: dict[str, object], port: int = 0) -> None:
        port = port or free_port()
        receiver = {"ae_title": "GSCO", "host": "127.0.0.1", "port": port, "reserve_bytes": 0}
        senders = [{"ae_title": archive["ae_title"]}] if archive.get("retrieve") == "move" else []
        self.config = Config(
            state=folder / "state", receiver=receiver | {"senders": senders}, archives={"pacs": archive}
        )
        migrate(self.config.database_url)
        self.database = open_database(self.config)
        self.audit = Audit(self.database)

    @contextmanager
    def receiving(self) -> Iterator[None]:
        with open_intake(self.config, self.database) as take:
            scp = StorageScp(self.config.receiver, take, lambda _: None)
            scp.start()
            yield
            scp.stop()

    def fetch(self, **criteria: str) -> bool:
        with self.receiving():
            return fetch_studies(self.config, "pacs", Criteria(**criteria), "tester", 0)

    def received(self, uid: str) -> dict[str, str]:
        return {each.sop_instance_uid: each.transfer_syntax_uid for each in self.audit.study(uid).received}


def uid_of(study: str) -> str:
    return str(make_dx(study=study).StudyInstanceUID)


def images(study: str, count: int = 3, **values: Any) -> list[Dataset]:
    return [make_dx(study=study, instance=str(n), PatientID=PATIENT, **values) for n in range(count)]


@pytest.fixture(scope="module")
def filled(orthanc: OrthancServer) -> OrthancServer:
    """Two studies of a patient, and one that holds an object which the node does not take."""
    plan = make_dx(study="mixed", instance="plan", PatientID=PATIENT)
    plan.SOPClassUID = plan.file_meta.MediaStorageSOPClassUID = RTPlanStorage
    stored = [*images("fetch-1"), *images("fetch-2", AccessionNumber="FETCH-2"), *images("mixed", 1), plan]
    for image in stored:
        httpx.post(f"{orthanc.url}/instances", content=encoded(image)).raise_for_status()
    return orthanc


@pytest.fixture(params=["move", "get", "dicomweb"])
def here(filled: OrthancServer, tmp_path: Path, request: pytest.FixtureRequest) -> Here:
    archive: dict[str, object] = {"kind": "dicomweb", "url": filled.dicomweb}
    if request.param != "dicomweb":
        archive = {
            "kind": "dimse",
            "ae_title": filled.ae_title,
            "host": "127.0.0.1",
            "port": filled.dicom_port,
        }
        archive["retrieve"] = request.param
    here = Here(tmp_path, archive)
    peer = {"AET": "GSCO", "Host": "127.0.0.1", "Port": here.config.receiver.port}
    httpx.put(f"{filled.url}/modalities/gsco", json=peer).raise_for_status()
    return here


def test_a_study_is_fetched_whole_and_the_record_says_by_whom_and_from_where(here: Here) -> None:
    uid = uid_of("fetch-1")
    assert here.fetch(study_instance_uid=uid)
    assert here.received(uid).keys() == {str(image.SOPInstanceUID) for image in images("fetch-1")}
    (fetch,) = here.audit.study(uid).fetches
    assert (fetch.archive, fetch.asked_by, fetch.state) == ("pacs", "tester", FetchState.COMPLETE)
    assert (fetch.listed, fetch.here, fetch.completed, fetch.tries) == (3, 3, 3, 1)
    Upkeep(here.database).cancel(uid, "tester")
    TransferAuditing(here.database, here.config).tend()
    (path,) = (here.config.state_dir / "audit").glob("*.xml")
    requestors = fromstring(path.read_bytes()).findall("ActiveParticipant[@UserIsRequestor='true']")
    assert [part.get("UserID") for part in requestors] == ["tester"]


def test_what_is_here_already_is_not_fetched_again(here: Here) -> None:
    uid = uid_of("fetch-1")
    assert here.fetch(study_instance_uid=uid)
    assert here.fetch(study_instance_uid=uid)
    assert here.audit.study(uid).fetches[0].tries == 0
    assert all(each.resent == 0 for each in here.audit.study(uid).received)


def test_studies_are_fetched_by_accession_number_and_by_patient(here: Here) -> None:
    assert here.fetch(accession_number="FETCH-2")
    assert len(here.received(uid_of("fetch-2"))) == 3
    assert here.fetch(patient_id=PATIENT)
    assert len(here.received(uid_of("fetch-1"))) == 3


def test_a_single_object_that_is_missing_is_fetched_alone(here: Here) -> None:
    uid = uid_of("fetch-1")
    assert here.fetch(study_instance_uid=uid)
    missing = str(images("fetch-1")[0].SOPInstanceUID)
    with here.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM instance WHERE sop_instance_uid = ?", (missing,))
    assert here.fetch(study_instance_uid=uid)
    assert missing in here.received(uid)
    assert here.audit.study(uid).fetches[0].completed == 1


def test_an_object_of_a_kind_that_nobody_may_send_is_counted_and_does_not_fail_the_fetch(here: Here) -> None:
    uid = uid_of("mixed")
    assert here.fetch(study_instance_uid=uid)
    (fetch,) = here.audit.study(uid).fetches
    assert (fetch.listed, fetch.here, fetch.not_taken) == (2, 1, 1)


def test_a_study_that_the_archive_does_not_have_fails_and_is_recorded(
    here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not here.fetch(study_instance_uid="1.2.3.4")
    assert "pacs has nothing of the study 1.2.3.4" in capsys.readouterr().out
    assert [each.state for each in here.audit.fetches(5)] == [FetchState.FAILED]
    with pytest.raises(NotApplicableError, match="no such study"):
        here.fetch(accession_number="NONE")


def test_an_archive_that_moves_must_be_allowed_to_send(tmp_path: Path) -> None:
    here = Here(tmp_path, {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": 9})
    with pytest.raises(
        ConfigError, match=r"PACS sends the images to the receiver, but it is not in receiver\.senders"
    ):
        here.fetch(study_instance_uid="1.2.3")


def test_without_a_criterion_nothing_is_asked(tmp_path: Path) -> None:
    here = Here(tmp_path, {"kind": "dicomweb", "url": "http://127.0.0.1:9"})
    with pytest.raises(ConfigError, match="Say which study"):
        here.fetch(study_date="20260101")


@contextmanager
def scripted(folder: Path, gets: list[tuple[list[Dataset], int]]) -> Iterator[tuple[Here, ScriptedArchive]]:
    """An archive that lists three objects and sends by script."""
    answers = [_listed(image) for image in images("scripted")]
    with ScriptedArchive(Scripted(answers), gets) as archive:
        settings = {"kind": "dimse", "ae_title": archive.ae_title, "host": archive.host, "port": archive.port}
        yield Here(folder, settings | {"retrieve": "get", "pauses": [0.01, 0.01]}), archive


def _listed(image: Dataset) -> Dataset:
    ds = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality"):
        setattr(ds, keyword, image[keyword].value)
    return ds


def test_what_failed_is_asked_for_again_and_only_that(tmp_path: Path) -> None:
    sent = images("scripted")
    with scripted(tmp_path, [(sent[:2], 0xB000), (sent[2:], 0x0000)]) as (here, archive):
        here.fetch(study_instance_uid=uid_of("scripted"))
    (fetch,) = here.audit.fetches(5)
    assert (fetch.state, fetch.here, fetch.tries) == (FetchState.COMPLETE, 3, 2)
    assert archive.queries[-1].QueryRetrieveLevel == "IMAGE"
    assert archive.queries[-1].SOPInstanceUID == sent[2].SOPInstanceUID


def test_a_fetch_that_stays_incomplete_says_so(tmp_path: Path) -> None:
    sent = images("scripted")
    with scripted(tmp_path, [(sent[:1], 0xA702), (sent[:1], 0xA702), (sent[1:2], 0xA702)]) as (here, _):
        assert not here.fetch(study_instance_uid=uid_of("scripted"))
    (fetch,) = here.audit.fetches(5)
    assert (fetch.state, fetch.here, fetch.listed, fetch.tries) == (FetchState.INCOMPLETE, 2, 3, 3)
    assert "0xA702" in fetch.reason


def test_what_an_archive_lists_but_does_not_send_is_missing_whatever_it_counts(tmp_path: Path) -> None:
    sent = images("scripted")
    with scripted(tmp_path, [(sent[:2], 0x0000), ([sent[0]], 0x0000), ([sent[1]], 0x0000)]) as (here, _):
        assert not here.fetch(study_instance_uid=uid_of("scripted"))
    (fetch,) = here.audit.fetches(5)
    assert (fetch.here, fetch.completed, fetch.reason) == (
        2,
        4,
        "The archive did not send all that it lists.",
    )


@pytest.mark.parametrize("retrieve", ["move", "get"])
def test_dcmtk_s_archive_is_asked_and_fetched_from(tmp_path: Path, retrieve: str) -> None:
    port = free_port()
    with private_dcmqrscp("GSCO", port) as archive:
        settings = {"kind": "dimse", "ae_title": archive.ae_title, "host": "127.0.0.1", "port": archive.port}
        here = Here(tmp_path, settings | {"retrieve": retrieve}, port)
        for n, image in enumerate(images("dcmtk")):
            (tmp_path / f"{n}.dcm").write_bytes(encoded(image))
        sent = send_files(
            sorted(tmp_path.glob("*.dcm")),
            CalledPeer(archive.ae_title, "127.0.0.1", archive.port, "CT1", 30),
            lambda _: None,
        )
        assert [each.status for each in sent] == [0, 0, 0]
        assert here.fetch(patient_id=PATIENT)
        assert here.received(uid_of("dcmtk")).keys() == {str(i.SOPInstanceUID) for i in images("dcmtk")}
