"""Audit messages: in the standard's form, durable, and sent by syslog over TLS as soon as the collector takes them."""

import base64
import re
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from gsco_pacs.adapters.audit_message import application_activity, security_alert
from gsco_pacs.adapters.audit_spool import AuditSpool
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.domain.errors import PeerUnavailableError
from gsco_pacs.domain.incoming import Alert, Refusal
from gsco_pacs.domain.study import Peer
from tests.test_receiver_tls import Hospital

AT = datetime(2026, 1, 5, 10, 30, tzinfo=UTC)
REFUSAL = Refusal(
    Peer("CT<1>", "GSCO", "10.1.2.3"), "association", "it is unknown.", Alert.NODE_AUTHENTICATION, 3
)


def collect(door: socket.socket, context: ssl.SSLContext, taken: list[bytes]) -> None:
    connection, _ = door.accept()
    with context.wrap_socket(connection, server_side=True) as secured:
        content = b""
        while piece := secured.recv(65536):
            content += piece
        secured.unwrap()
    while content:
        count, _, content = content.partition(b" ")
        taken.append(content[: int(count)])
        content = content[int(count) :]


def test_a_refusal_is_a_security_alert_in_the_order_of_the_schema() -> None:
    message = fromstring(security_alert(REFUSAL, "GSCO", AT))
    assert [part.tag for part in message] == [
        "EventIdentification", "ActiveParticipant", "ActiveParticipant", "AuditSourceIdentification",
        "ParticipantObjectIdentification",
    ]  # fmt: skip
    event = message[0]
    assert [(part.tag, part.get("csd-code")) for part in event] == [
        ("EventID", "110113"),
        ("EventTypeCode", "110126"),
    ]
    assert (event.get("EventActionCode"), event.get("EventOutcomeIndicator")) == ("E", "8")
    assert event.get("EventDateTime") == "2026-01-05T10:30:00.000+00:00"
    assert (message[2].get("UserID"), message[2].get("NetworkAccessPointID")) == ("CT<1>", "10.1.2.3")
    detail = message[4][2]
    assert detail.get("type") == "Alert Description"
    assert base64.b64decode(detail.get("value", "")) == b"association: it is unknown. (3 times)"


@pytest.mark.parametrize(("starts", "code"), [(True, "110120"), (False, "110121")])
def test_start_and_stop_name_the_application_and_its_launcher(starts: bool, code: str) -> None:
    message = fromstring(application_activity("GSCO", AT, starts=starts))
    assert message[0][1].get("csd-code") == code
    assert [part[0].get("csd-code") for part in message.findall("ActiveParticipant")] == ["110150", "110151"]


def test_messages_wait_for_the_collector_and_are_sent_once_in_order(tmp_path: Path) -> None:
    hospital, port, taken = Hospital(tmp_path / "hospital"), free_port(), list[bytes]()
    arguments = (hospital.client(hospital.modality), "localhost")
    spool = AuditSpool(tmp_path / "audit")
    for number in range(3):
        spool.write(f"<message number='{number}'/>".encode())
    with pytest.raises(PeerUnavailableError, match="audit collector"):
        spool.send("127.0.0.1", port, arguments)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(hospital.node.certificate, hospital.node.private_key)
    with socket.create_server(("127.0.0.1", port)) as door:
        collector = threading.Thread(target=collect, args=(door, server, taken))
        collector.start()
        assert AuditSpool(tmp_path / "audit").send("127.0.0.1", port, arguments) == 3
        collector.join(10)
    assert [re.findall(rb"number='(\d)'", message) for message in taken] == [[b"0"], [b"1"], [b"2"]]
    assert all(re.match(rb"<85>1 \S+ \S+ gsco-pacs \d+ DICOM\+RFC3881 - \xef\xbb\xbf<", m) for m in taken)
    assert spool.send("127.0.0.1", port, arguments) == 0


def test_messages_are_forgotten_when_they_are_old_but_never_before_they_are_sent(tmp_path: Path) -> None:
    spool = AuditSpool(tmp_path)
    spool.write(b"<a/>")
    spool.forget(0, unsent=False)
    spool.forget(1, unsent=True)
    assert len(list(tmp_path.glob("*.xml"))) == 1
    spool.forget(0, unsent=True)
    assert not list(tmp_path.glob("*.xml"))
