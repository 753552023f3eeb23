"""Archives that are asked what they hold: Orthanc by C-FIND and QIDO-RS, and some that misbehave."""

import json
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree.ElementTree import fromstring

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode

from gsco_pacs.adapters.archive_query import ArchiveQuery
from gsco_pacs.config import Config
from gsco_pacs.domain.archive import ArchivedSeries, Criteria
from gsco_pacs.domain.errors import (
    BadObjectError,
    ConfigError,
    PeerBusyError,
    PeerUnavailableError,
    RejectedByPeerError,
)
from gsco_pacs.domain.findings import ObjectKind, Report
from gsco_pacs.fetching import count_instances
from gsco_pacs.ports import Archive
from gsco_pacs.processes.peers import open_archive
from gsco_pacs.testing.archive import Scripted, ScriptedArchive
from gsco_pacs.testing.phantoms import encoded, make_dx, phantom_uid
from gsco_pacs.testing.servers import OrthancServer, private_orthanc

PATIENT = "ARCHIVED-1"


@pytest.fixture(scope="module")
def filled(orthanc: OrthancServer) -> OrthancServer:
    """Two studies of one patient, the older one with two series, and one of another patient whose ID begins alike."""
    images = [
        make_dx(study="old", instance="a1", PatientID=PATIENT, StudyDate="20250101"),
        make_dx(study="old", instance="a2", PatientID=PATIENT, StudyDate="20250101"),
        make_dx(study="old", series="2", instance="a3", PatientID=PATIENT, StudyDate="20250101", Modality="CR"),
        make_dx(study="new", instance="b1", PatientID=PATIENT, StudyDate="20260101", AccessionNumber="ACC-NEW"),
        make_dx(study="other", instance="c1", PatientID=f"{PATIENT}0", StudyDate="20260101"),
    ]  # fmt: skip
    for image in images:
        httpx.post(f"{orthanc.url}/instances", content=encoded(image)).raise_for_status()
    return orthanc


@pytest.fixture(params=["dimse", "dicomweb", "dicomweb in pages of one"])
def archive(filled: OrthancServer, request: pytest.FixtureRequest) -> Archive:
    settings = {
        "dimse": {
            "kind": "dimse",
            "ae_title": filled.ae_title,
            "host": "127.0.0.1",
            "port": filled.dicom_port,
        },
        "dicomweb": {"kind": "dicomweb", "url": filled.dicomweb},
        "dicomweb in pages of one": {"kind": "dicomweb", "url": filled.dicomweb, "answers_per_request": 1},
    }
    return open_archive("pacs", Config(archives={"pacs": settings[request.param]}))


def test_the_studies_of_a_patient_are_found_newest_first_and_no_other_patient_s(archive: Archive) -> None:
    found = archive.find_studies(Criteria(patient_id=PATIENT))
    assert [study.study_instance_uid for study in found] == [
        make_dx(study="new").StudyInstanceUID, make_dx(study="old").StudyInstanceUID
    ]  # fmt: skip
    assert [study.study_date for study in found] == ["20260101", "20250101"]
    assert {study.patient_id for study in found} == {PATIENT}


def test_a_wildcard_in_a_patient_id_finds_nobody(archive: Archive) -> None:
    assert archive.find_studies(Criteria(patient_id=f"{PATIENT[:-1]}*")) == ()


@pytest.mark.parametrize(
    ("criteria", "seeds"),
    [
        (Criteria(accession_number="ACC-NEW"), ["new"]),
        (Criteria(patient_id=PATIENT, study_date="20250101-20251231"), ["old"]),
        (Criteria(patient_id=PATIENT, study_date="-20251231"), ["old"]),
        (Criteria(patient_id=PATIENT, study_date="20260101"), ["new"]),
        (Criteria(patient_id=PATIENT, modality="CR"), ["old"]),
        (Criteria(patient_id=PATIENT, modality="MR"), []),
        (Criteria(patient_id="NOBODY"), []),
    ],
)
def test_studies_are_found_by_every_criterion(archive: Archive, criteria: Criteria, seeds: list[str]) -> None:
    found = archive.find_studies(criteria)
    assert [s.study_instance_uid for s in found] == [make_dx(study=seed).StudyInstanceUID for seed in seeds]


def test_series_and_objects_are_listed_and_counted(archive: Archive) -> None:
    uid = str(make_dx(study="old").StudyInstanceUID)
    series = archive.list_series(uid)
    assert sorted((one.modality, one.body_part) for one in series) == [("CR", "CHEST"), ("DX", "CHEST")]
    listed = archive.list_instances(uid, series)
    assert {one.sop_instance_uid for one in listed} == {
        make_dx(study="old", series=series, instance=instance).SOPInstanceUID
        for series, instance in (("1", "a1"), ("1", "a2"), ("2", "a3"))
    }
    assert {one.sop_class_uid for one in listed} == {str(make_dx().SOPClassUID)}
    assert count_instances(archive, uid) == 3


def test_a_study_that_the_archive_does_not_know_counts_nothing(archive: Archive) -> None:
    unknown = str(phantom_uid("unknown"))
    assert count_instances(archive, unknown) == 0
    assert archive.list_series(unknown) == ()


def _match(**values: str) -> Dataset:
    ds = Dataset()
    for keyword, value in ({"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.3"} | values).items():
        setattr(ds, keyword, value)
    return ds


@contextmanager
def _scripted(script: Scripted, **settings: object) -> Iterator[Archive]:
    with ScriptedArchive(script) as pacs:
        peer = {"kind": "dimse", "ae_title": pacs.ae_title, "host": pacs.host, "port": pacs.port, **settings}
        yield open_archive("pacs", Config(archives={"pacs": peer}))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, PeerBusyError),
        (0xFE00, PeerBusyError),
        (0xA900, RejectedByPeerError),
        (0xC001, RejectedByPeerError),
        (0x0122, RejectedByPeerError),
        (0x0124, RejectedByPeerError),
        (None, PeerUnavailableError),
    ],
)
def test_each_status_says_whether_it_may_pass(status: int | None, error: type[Exception]) -> None:
    with _scripted(Scripted([_match()], status)) as archive, pytest.raises(error, match="ARCHIVE at 127"):
        archive.find_studies(Criteria(study_instance_uid="1.2.3"))


def test_more_answers_than_allowed_are_given_up() -> None:
    matches = [_match(StudyInstanceUID=f"1.2.{n}") for n in range(5)]
    with (
        _scripted(Scripted(matches), maximum_matches=4) as archive,
        pytest.raises(RejectedByPeerError, match="too many answers"),
    ):
        archive.find_studies(Criteria(patient_id="P"))


def test_a_query_that_never_ends_is_given_up() -> None:
    dripping = Scripted([_match()] * 50, delay_seconds=0.05)
    with (
        _scripted(dripping, query_seconds=0.2) as archive,
        pytest.raises(RejectedByPeerError, match="too many answers"),
    ):
        archive.find_studies(Criteria(patient_id="P"))


def test_answers_to_another_question_and_answers_without_a_valid_uid_are_left_out() -> None:
    matches = [
        _match(StudyInstanceUID="1.2.1", PatientID="P"),
        _match(StudyInstanceUID="1.2.2", PatientID="SOMEBODY ELSE"),
        _match(StudyInstanceUID="", PatientID="P"),
        _match(StudyInstanceUID="1.2.1", PatientID="P"),
    ]
    with _scripted(Scripted(matches)) as archive:
        assert [s.study_instance_uid for s in archive.find_studies(Criteria(patient_id="P"))] == ["1.2.1"]


def test_an_archive_that_counts_no_studies_is_counted_by_its_objects() -> None:
    answer = _match(SeriesInstanceUID="1.2.4", SOPInstanceUID="1.2.5", SOPClassUID="1.2.6")
    with _scripted(Scripted([answer])) as archive:
        assert count_instances(archive, "1.2.3") == 1


def test_an_archive_that_is_away_or_unknown_is_named() -> None:
    config = Config(
        archives={
            "pacs": {
                "kind": "dimse",
                "ae_title": "AWAY",
                "host": "127.0.0.1",
                "port": 9,
                "timeout_seconds": 2,
            },
            "web": {"kind": "dicomweb", "url": "http://127.0.0.1:9/dicom-web"},
        }
    )
    for name in config.archives:
        with pytest.raises(PeerUnavailableError):
            open_archive(name, config).find_studies(Criteria(patient_id="P"))
    with pytest.raises(ConfigError, match="known: pacs, web"):
        open_archive("packs", config)


def test_a_list_that_orthanc_cuts_without_a_word_is_not_taken_for_the_whole() -> None:
    images = [
        make_dx(study="cut", series=series, instance=f"{series}{n}") for series in "123" for n in range(3)
    ]
    uid = str(images[0].StudyInstanceUID)
    with private_orthanc(LimitFindResults=1, LimitFindInstances=1) as server:
        for image in images:
            httpx.post(f"{server.url}/instances", content=encoded(image)).raise_for_status()
        archive = open_archive("web", Config(archives={"web": {"kind": "dicomweb", "url": server.dicomweb}}))
        assert count_instances(archive, uid) == 9  # Orthanc counts them all
        one_series = ArchivedSeries(str(images[0].SeriesInstanceUID), "DX", "CHEST", 3)
        report = Report(ObjectKind.CODED, "1.2.9", uid, one_series.series_instance_uid, "1.2.5", b"", "")
        for question in (
            lambda: archive.list_series(uid),
            lambda: archive.list_instances(uid, [one_series]),
            lambda: count_instances(archive, uid, leave_out={"1.2.3"}),
            lambda: ArchiveQuery(archive).confirm("1.2.4", [report]),
        ):
            with pytest.raises(RejectedByPeerError, match="2 answers where it has more"):
                question()


Answer = tuple[int, bytes, dict[str, str]]
"""Status, body and headers."""


@contextmanager
def _served(answer: Callable[[BaseHTTPRequestHandler], Answer], **settings: object) -> Iterator[Archive]:
    """An archive that gives ``answer`` to every GET."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = answer(self)
            self.send_response(status)
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/dicom-web"
        yield open_archive("web", Config(archives={"web": {"kind": "dicomweb", "url": url, **settings}}))
        server.shutdown()


@contextmanager
def _web_archive(
    status: int, body: bytes, tokens: list[str | None] | None = None, **settings: object
) -> Iterator[Archive]:
    """An archive that answers everything alike; ``tokens`` gets what it was shown."""

    def answer(asked: BaseHTTPRequestHandler) -> Answer:
        (tokens if tokens is not None else []).append(asked.headers["Authorization"])
        return status, body, {}

    with _served(answer, **settings) as archive:
        yield archive


def _paging(
    studies: range, *, most: int, knows_offset: bool = True, warns: bool = False
) -> Callable[[BaseHTTPRequestHandler], Answer]:
    """How a server answers that gives at most ``most`` of its studies at a time."""

    def answer(asked: BaseHTTPRequestHandler) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        offset = int(query.get("offset", ["0"])[0]) if knows_offset else 0
        given = studies[offset:][: min(most, int(query["limit"][0]))]
        left = len(studies) - offset - len(given)
        told = {"Warning": f'299 127.0.0.1: "There are {left} additional results that can be requested"'}
        body = [
            {"0020000D": {"vr": "UI", "Value": [f"1.2.{n}"]}, "00100020": {"vr": "LO", "Value": ["P"]}}
            for n in given
        ]
        return 200, json.dumps(body).encode(), told if warns and left > 0 else {}

    return answer


@pytest.mark.parametrize("warns", [True, False])
def test_an_archive_that_gives_fewer_than_asked_for_is_asked_until_all_are_there(warns: bool) -> None:
    with _served(_paging(range(7), most=3, warns=warns)) as archive:
        assert len(archive.find_studies(Criteria(patient_id="P"))) == 7


def test_an_archive_that_knows_no_pages_is_asked_once_more_and_gives_all_it_has() -> None:
    asked = 0
    everything = _paging(range(7), most=7, knows_offset=False)

    def answer(handler: BaseHTTPRequestHandler) -> Answer:
        nonlocal asked
        asked += 1
        return everything(handler)

    with _served(answer) as archive:
        assert len(archive.find_studies(Criteria(patient_id="P"))) == 7
    assert asked == 2


def test_a_count_that_is_older_than_the_list_cuts_nothing() -> None:
    def answer(asked: BaseHTTPRequestHandler) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        offset, limit = int(query.get("offset", ["0"])[0]), int(query["limit"][0])
        objects = [_match(SOPInstanceUID=f"1.2.3.{n}", SOPClassUID="1.2.6") for n in range(5)]
        return 200, json.dumps([ds.to_json_dict() for ds in objects[offset:][:limit]]).encode(), {}

    with _served(answer, answers_per_request=2) as archive:
        series = ArchivedSeries("1.2.4", "CT", "CHEST", 2)
        assert len(archive.list_instances("1.2.3", [series])) == 5


def test_an_archive_that_has_more_but_never_gives_it_is_not_believed() -> None:
    with (
        _served(_paging(range(7), most=3, knows_offset=False, warns=True)) as archive,
        pytest.raises(RejectedByPeerError, match="3 answers where it has more"),
    ):
        archive.find_studies(Criteria(patient_id="P"))


@pytest.mark.parametrize("settings", [{"maximum_matches": 20}, {"query_seconds": 0.2}])
def test_pages_without_end_are_given_up(settings: dict[str, float]) -> None:
    with _served(_paging(range(10**9), most=3), **settings) as archive, pytest.raises(RejectedByPeerError):
        archive.find_studies(Criteria(patient_id="P"))


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (503, b"", PeerBusyError),
        (401, b"", RejectedByPeerError),
        (302, b"", RejectedByPeerError),
        (200, b"<html>", BadObjectError),
        (200, b'{"00080005": 1}', BadObjectError),
        (200, b'[{"0020000D": {"vr": "UI", "Value": 7}}]', BadObjectError),
        (200, b'[{"00201206": {"vr": "IS", "Value": [1e400]}}]', BadObjectError),
        (200, b"[" * 100_000, BadObjectError),
        (200, b" " * 50_000, RejectedByPeerError),
    ],
)
def test_each_answer_over_http_says_whether_it_may_pass(
    status: int, body: bytes, error: type[Exception]
) -> None:
    with (
        _web_archive(status, body, maximum_matches=1 if len(body) == 50_000 else 1000) as archive,
        pytest.raises(error),
    ):
        archive.find_studies(Criteria(patient_id="P"))


def test_a_token_goes_along_and_a_missing_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[str | None] = []
    with _web_archive(200, b"[]", tokens, token_env="PACS_TOKEN") as archive:
        with pytest.raises(ConfigError, match=r"archives\.web\.token_env: the environment has no PACS_TOKEN"):
            archive.find_studies(Criteria(patient_id="P"))
        monkeypatch.setenv("PACS_TOKEN", "secret")
        assert archive.find_studies(Criteria(patient_id="P")) == ()
    assert tokens == ["Bearer secret"]


def test_a_query_is_told_to_the_audit_trail_as_it_goes_out(filled: OrthancServer, tmp_path: Path) -> None:
    settings = {"kind": "dimse", "ae_title": filled.ae_title, "host": "127.0.0.1", "port": filled.dicom_port}
    config = Config(state=tmp_path, archives={"pacs": settings}, audit={"queries": True})
    open_archive("pacs", config).find_studies(Criteria(patient_id=PATIENT))
    (path,) = (config.state_dir / "audit").glob("*.xml")
    message = fromstring(path.read_bytes())
    assert [part.tag for part in message] == [
        "EventIdentification", "ActiveParticipant", "ActiveParticipant", "AuditSourceIdentification",
        "ParticipantObjectIdentification",
    ]  # fmt: skip
    assert (message[0][0].get("csd-code"), message[0].get("EventActionCode")) == ("110112", "E")
    assert [part[0].get("csd-code") for part in message[1:3]] == ["110153", "110152"]
    assert message[2].get("UserID") == filled.ae_title
    kind, query, detail = message[4]
    assert (kind.get("csd-code"), message[4].get("ParticipantObjectID")) == (
        "110181",
        "1.2.840.10008.5.1.4.1.2.2.1",
    )
    syntax = UID(b64decode(detail.get("value", "")).decode())
    asked = decode(BytesIO(b64decode(query.text or "")), syntax.is_implicit_VR, syntax.is_little_endian)
    assert (asked.PatientID, asked.QueryRetrieveLevel) == (PATIENT, "STUDY")
