"""Reports on their way to a PACS by STOW-RS: Orthanc takes them, and a server that answers by script does not."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from gsco_pacs.adapters.http_peer import HttpPeer
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.stow import StowRs
from gsco_pacs.adapters.tls import https_context
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import (
    GscoError,
    PeerBusyError,
    PeerUnavailableError,
    RejectedByPeerError,
    TransientError,
)
from gsco_pacs.domain.findings import ObjectKind, Report
from gsco_pacs.ports import Destination
from gsco_pacs.processes.choices import open_confirming, open_destination
from gsco_pacs.settings.destinations import Confirmation, DicomwebDestination
from gsco_pacs.settings.dicomweb import HttpsTls
from gsco_pacs.settings.tls import ClientTls
from gsco_pacs.testing.certificates import Authority, Certificate
from gsco_pacs.testing.servers import OrthancServer

Reports = tuple[Report, Report]


class ScriptedServer(ThreadingHTTPServer):
    """Answers every POST in the same way and keeps what came; over TLS with a certificate."""

    def __init__(self, own: Certificate | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if own:
            settings = HttpsTls(certificate=own.certificate, private_key=own.private_key)
            self.socket = https_context(settings, "", Path.absolute).wrap_socket(
                self.socket, server_side=True
            )
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self.body: Any = {}
        self.requests: list[tuple[str, Mapping[str, str], bytes]] = []

    def destination(self, token: str = "") -> StowRs:
        peer = HttpPeer(
            f"http://127.0.0.1:{self.server_port}/dicom-web", 5, None, (lambda: token) if token else None
        )
        return StowRs("pacs", peer, frozenset(ObjectKind))


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def do_POST(self) -> None:
        content = b""
        while length := int(self.rfile.readline(), 16):  # httpx sends chunks
            content += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        self.server.requests.append((self.path, dict(self.headers.items()), content))
        body = self.server.body
        said = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(self.server.status)
        for name, value in {"Content-Length": str(len(said)), **self.server.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with serving(ScriptedServer()) as server:
        yield server


@contextmanager
def serving(server: ScriptedServer) -> Iterator[ScriptedServer]:
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def result(taken: Mapping[str, int] = {}, failed: Mapping[str, int] = {}) -> dict[str, Any]:
    """A Store Instances Response Module: SOP Instance UID -> warning or failure reason."""

    def items(told: Mapping[str, int], reason: str) -> dict[str, Any]:
        values = [
            {"00081155": {"vr": "UI", "Value": [uid]}}
            | ({reason: {"vr": "US", "Value": [code]}} if code else {})
            for uid, code in told.items()
        ]
        return {"vr": "SQ", "Value": values}

    return {"00081199": items(taken, "00081196"), "00081198": items(failed, "00081197")}


def test_orthanc_takes_the_reports_as_the_bytes_that_were_stored_and_a_second_time_too(
    orthanc: OrthancServer, chest_reports: Reports
) -> None:
    for report in chest_reports:  # another test may have sent them by C-STORE, in another file's head
        for known in orthanc.find("Instance", {"SOPInstanceUID": report.sop_instance_uid}):
            httpx.delete(f"{orthanc.url}/instances/{known['ID']}").raise_for_status()
    destination = StowRs("pacs", HttpPeer(orthanc.dicomweb, 30), frozenset(ObjectKind))
    for _ in range(2):
        receipts = destination.send(chest_reports)
        assert [receipt.status for receipt in receipts] == ["HTTP 200", "HTTP 200"]
    for report in chest_reports:
        (instance,) = orthanc.find("Instance", {"SOPInstanceUID": report.sop_instance_uid})
        assert httpx.get(f"{orthanc.url}/instances/{instance['ID']}/file").content == report.content


def test_a_destination_of_the_configuration_sends_to_orthanc_and_finds_there_what_it_sent(
    orthanc: OrthancServer, chest_reports: Reports, tmp_path: Path
) -> None:
    settings = DicomwebDestination(kind="dicomweb", url=orthanc.dicomweb, confirm=Confirmation(by="query"))
    config = Config(state=tmp_path, destinations={"web": settings})
    open_destination("web", config).send(chest_reports)
    outcome = open_confirming("web", config, lambda _: True).confirm("1.9", chest_reports)
    assert outcome is not None
    assert [one.sop_instance_uid for one in outcome.committed] == [r.sop_instance_uid for r in chest_reports]
    assert outcome.failed == {}


def test_a_request_holds_each_report_as_a_part_and_the_token(
    server: ScriptedServer, chest_reports: Reports
) -> None:
    server.destination(token="secret").send(chest_reports)
    ((path, headers, content),) = server.requests
    assert path == "/dicom-web/studies"
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Accept"] == "application/dicom+json"
    message = message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + content)
    assert message.get_param("type") == "application/dicom"
    assert [part.get_content_type() for part in message.get_payload()] == ["application/dicom"] * 2  # type: ignore[union-attr]
    assert all(report.content in content for report in chest_reports)


def test_a_warning_counts_as_taken_and_the_receipt_says_which(
    server: ScriptedServer, chest_reports: Reports
) -> None:
    server.status, server.body = 202, result({report.sop_instance_uid: 0xB000 for report in chest_reports})
    assert {r.status for r in server.destination().send(chest_reports)} == {"HTTP 202, warning 0xB000"}


def test_a_duplicate_counts_as_taken(server: ScriptedServer, chest_reports: Reports) -> None:
    server.status, server.body = 409, result(failed={chest_reports[0].sop_instance_uid: 0x0111})
    assert [r.status for r in server.destination().send(chest_reports[:1])] == ["HTTP 409"]


@pytest.mark.parametrize(
    ("reason", "error", "advice"),
    [
        (0xA700, PeerBusyError, "no resources"),
        (0x0110, PeerBusyError, "no resources"),
        (0x0122, RejectedByPeerError, "switch on the SOP class"),
        (0x0124, RejectedByPeerError, "allow our AE title"),
        (0xC000, RejectedByPeerError, "log"),
    ],
)
@pytest.mark.parametrize("status", [200, 202, 409])
def test_a_failure_is_told_with_its_reason_whatever_the_http_status(
    server: ScriptedServer,
    chest_reports: Reports,
    status: int,
    reason: int,
    error: type[GscoError],
    advice: str,
) -> None:
    narrative, coded = (report.sop_instance_uid for report in chest_reports)
    server.status, server.body = status, result({narrative: 0}, {coded: reason})
    with pytest.raises(error, match=rf"Comprehensive 3D SR.*0x{reason:04X}.*{advice}"):
        server.destination().send(chest_reports)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (503, PeerBusyError, "503"), (500, PeerBusyError, "500"), (429, PeerBusyError, "429"),
        (401, RejectedByPeerError, "set token_env"), (404, RejectedByPeerError, "url"),
        (415, RejectedByPeerError, "415"), (302, RejectedByPeerError, "302"),
        (409, RejectedByPeerError, "does not say why"), (202, PeerBusyError, "does not say what became"),
    ],
)  # fmt: skip
def test_a_status_without_a_word_about_the_report_is_no_receipt(
    server: ScriptedServer, chest_reports: Reports, status: int, error: type[GscoError], words: str
) -> None:
    server.status = status
    with pytest.raises(error, match=words):
        server.destination().send(chest_reports)


def test_a_server_that_asks_to_come_again_may_be_tried_again(
    server: ScriptedServer, chest_reports: Reports
) -> None:
    server.status, server.headers = 503, {"Retry-After": "120"}
    with pytest.raises(TransientError, match="HTTP 503: it cannot do it at present"):
        server.destination().send(chest_reports)
    server.status, server.headers = 200, {}
    assert len(server.destination().send(chest_reports)) == 2


def test_over_https_only_a_server_of_the_configured_authority_gets_the_reports(
    chest_reports: Reports, tmp_path: Path
) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other", "Stranger")

    def destination(port: int, authority: Authority, host: str = "127.0.0.1") -> Destination:
        tls = ClientTls(authorities=authority.certificate)
        settings = DicomwebDestination(kind="dicomweb", url=f"https://{host}:{port}/dicom-web", tls=tls)
        return open_destination("web", Config(state=tmp_path, destinations={"web": settings}))

    with serving(ScriptedServer(ours.issue("pacs"))) as server:
        port = server.server_port
        assert len(destination(port, ours).send(chest_reports)) == 2
        with pytest.raises(
            PeerUnavailableError, match=r"certificate is not accepted: unable to get local issuer"
        ):
            destination(port, other).send(chest_reports)
        with pytest.raises(PeerUnavailableError, match=r"cannot be looked up: .*[^.]\.$"):
            destination(port, ours, "nowhere.invalid").send(chest_reports)
        assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"<html>stored</html>", b"[]", b"[1]", b'{"00081199": 7}'])
def test_a_server_that_answers_200_without_an_understandable_list_has_taken_all(
    server: ScriptedServer, chest_reports: Reports, body: bytes
) -> None:
    server.body = body
    assert len(server.destination().send(chest_reports)) == 2


def test_an_answer_without_end_is_not_read_to_it(server: ScriptedServer, chest_reports: Reports) -> None:
    server.body = b" " * 1_000_000
    with pytest.raises(RejectedByPeerError, match="longer"):
        server.destination().send(chest_reports)


def test_a_server_that_is_down_is_unavailable(chest_reports: Reports) -> None:
    with pytest.raises(PeerUnavailableError, match="cannot be reached"):
        StowRs("pacs", HttpPeer(f"http://127.0.0.1:{free_port()}", 5), frozenset(ObjectKind)).send(
            chest_reports
        )


def test_over_dicomweb_only_a_query_confirms() -> None:
    with pytest.raises(ValidationError, match="over DICOMweb it must be query"):
        DicomwebDestination(kind="dicomweb", url="https://pacs.example/dicom-web", confirm=Confirmation())
