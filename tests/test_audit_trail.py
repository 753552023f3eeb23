"""Audit messages: in the standard's form, durable, and sent by syslog over TLS as soon as the collector takes them."""

import base64
import re
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest

from gsco_pacs.adapters.audit_message import application_activity, security_alert
from gsco_pacs.adapters.audit_spool import AuditSpool
from gsco_pacs.adapters.fetch_ledger import Fetches
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.question_ledger import ATTEMPTS, Questions
from gsco_pacs.adapters.transfers import untold
from gsco_pacs.adapters.upkeep import Upkeep
from gsco_pacs.domain.errors import PeerUnavailableError
from gsco_pacs.domain.fetch import FetchState
from gsco_pacs.domain.findings import Receipt
from gsco_pacs.domain.incoming import Alert, Refusal
from gsco_pacs.domain.job import Stage
from gsco_pacs.domain.question import QuestionState
from gsco_pacs.domain.study import Peer, Routing
from gsco_pacs.processes.auditing import TransferAuditing
from gsco_pacs.settings.archives import DimseArchive
from gsco_pacs.settings.audit import AuditTrail
from gsco_pacs.settings.destinations import DicomwebDestination, DimseDestination, FolderDestination
from gsco_pacs.testing.phantoms import make_dx
from tests.recorded_node import ROOM, RecordedNode
from tests.test_questions import REPLY
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


@pytest.fixture
def recorded(url: str, tmp_path: Path) -> RecordedNode:
    node = RecordedNode(tmp_path, database=url)
    destinations = {
        "pacs": DimseDestination(kind="dimse", ae_title="PACS", host="pacs.hospital", port=104),
        "web": DicomwebDestination(kind="dicomweb", url="https://web.hospital/rs"),
        "folder": FolderDestination(kind="folder", path=Path("/srv/results")),
    }
    archive = DimseArchive(kind="dimse", ae_title=ROOM.calling_ae, host="10.1.2.3", port=104)
    node.config = node.config.model_copy(update={"destinations": destinations, "archives": {"old": archive}})
    return node


def written(node: RecordedNode) -> list[Path]:
    """The messages that wait to be sent after a round, oldest first."""
    TransferAuditing(node.database, node.config).tend()
    waiting = (node.config.state_dir / "audit").glob("*.xml")
    return sorted(waiting, key=lambda path: int(path.stem.rpartition("transfer")[2]))


def told(node: RecordedNode) -> list[Element]:
    """Every message that the audit trail holds after a round, each checked against the schema and the tables; then none."""
    paths = written(node)
    messages = [fromstring(path.read_bytes()) for path in paths]
    for path, message in zip(paths, messages, strict=True):
        must_tell_of_a_study(message)
        path.unlink()
    return messages


def must_tell_of_a_study(message: Element) -> None:
    """The order and the mandatory parts of PS3.15 sections A.5.1.1, A.5.3.4, A.5.3.6 and A.5.3.7."""
    tags = [part.tag for part in message]
    people = tags.count("ActiveParticipant")
    assert tags == [
        "EventIdentification", *["ActiveParticipant"] * people, "AuditSourceIdentification",
        "ParticipantObjectIdentification", "ParticipantObjectIdentification",
    ]  # fmt: skip
    event, participants = message[0], message.findall("ActiveParticipant")
    assert event.get("EventOutcomeIndicator") in ("0", "8")
    assert datetime.fromisoformat(event.get("EventDateTime", "")).tzinfo
    assert [part.get("UserIsRequestor") for part in participants].count("true") == 1
    assert all(part.get("UserID") for part in participants)
    study, patient = message.findall("ParticipantObjectIdentification")
    for part, kind, role, code in (
        (study, "2", "3", ("110180", "DCM")),
        (patient, "1", "1", ("2", "RFC-3881")),
    ):
        assert (part.get("ParticipantObjectTypeCode"), part.get("ParticipantObjectTypeCodeRole")) == (
            kind,
            role,
        )
        assert part[0].tag == "ParticipantObjectIDTypeCode"
        assert (part[0].get("csd-code"), part[0].get("codeSystemName")) == code
        assert part[1].tag == "ParticipantObjectName"
    for coded in message.iter():
        assert (
            "csd-code" not in coded.attrib or coded.tag == "AuditSourceTypeCode" or coded.get("originalText")
        )


def event(message: Element) -> tuple[str | None, str | None]:
    return message[0][0].get("csd-code"), message[0].get("EventActionCode")


def people(message: Element) -> list[tuple[str | None, str | None]]:
    """Role and network address of each participant."""
    return [
        (role.get("csd-code") if (role := part.find("RoleIDCode")) is not None else None, part.get("NetworkAccessPointID"))
        for part in message.findall("ActiveParticipant")
    ]  # fmt: skip


def counts(message: Element) -> dict[str | None, str | None]:
    return {each.get("UID"): each.get("NumberOfInstances") for each in message.iter("SOPClass")}


def test_a_study_is_told_once_for_each_sender_when_it_is_closed_however_often_that_is(
    recorded: RecordedNode,
) -> None:
    other = Peer("CR_ROOM2", "GSCO", "10.1.2.4")
    uid = recorded.receive(make_dx(instance="1"), make_dx(instance="2"))
    recorded.receive(make_dx(instance="3"), peer=other)
    assert not told(recorded)
    recorded.close(uid, Routing(None, ()))
    first, second = told(recorded)
    assert event(first) == event(second) == ("110104", "C")
    assert people(first) == [("110153", "10.1.2.3"), ("110152", socket.gethostname())]
    assert first[1].get("UserID") == "CR_ROOM1"
    assert first[4].get("ParticipantObjectID") == uid
    assert first[5].get("ParticipantObjectID") == str(make_dx().PatientID)
    assert (counts(first), counts(second)) == ({make_dx().SOPClassUID: "2"}, {make_dx().SOPClassUID: "1"})
    upkeep = Upkeep(recorded.database)
    upkeep.requeue(uid, "operator")
    recorded.close(uid)
    assert not told(recorded)
    recorded.receive(make_dx(instance="4"))
    upkeep.cancel(uid, "operator")
    assert [counts(message) for message in told(recorded)] == [{make_dx().SOPClassUID: "1"}]


def test_what_comes_again_is_told_with_what_it_means_to_the_node(recorded: RecordedNode) -> None:
    recorded.delivered(make_dx())
    told(recorded)
    recorded.receive(make_dx(), make_dx(PatientID="OTHER"))
    assert {event(message) for message in told(recorded)} == {("110104", "R"), ("110104", "U")}


def test_each_destination_that_took_results_is_told_once_and_a_folder_as_an_export(
    recorded: RecordedNode,
) -> None:
    recorded.close(recorded.receive(make_dx()))
    recorded.consult()
    reports = recorded.draft()
    told(recorded)
    claim = recorded.claim(Stage.DELIVER)
    for name in ("pacs", "web", "folder"):
        receipts = [Receipt(name, report.sop_instance_uid, "0x0000") for report in reports]
        recorded.jobs.keep_receipts(claim.job_id, receipts[:1])
        recorded.jobs.keep_receipts(claim.job_id, receipts)
    messages = told(recorded)
    here = ("110153", socket.gethostname())
    assert [event(message) for message in messages] == [("110104", "R")] * 4 + [("110106", "R")] * 2
    assert [people(message) for message in messages[::2]] == [
        [here, ("110152", "pacs.hospital")], [here, ("110152", "https://web.hospital/rs")], [here, ("110154", None)],
    ]  # fmt: skip
    assert counts(messages[0]) == {reports[0].sop_class_uid: "1"}
    medium = messages[4][2]
    assert medium.get("UserID") == "file:///srv/results"
    assert [part.get("csd-code") for part in medium.iter("MediaType")] == ["110037"]


def test_a_fetched_study_is_told_with_who_wanted_it(recorded: RecordedNode) -> None:
    uid = str(make_dx().StudyInstanceUID)
    fetches = Fetches(recorded.database)
    number, other = fetches.begin(uid, "old", "doctor@ward"), fetches.begin(uid, "web", "nurse@ward")
    recorded.receive(make_dx())
    recorded.receive(make_dx(instance="2"), peer=Peer("CR_ROOM2", "GSCO", "10.1.2.4"))
    for one in (number, other):
        fetches.end(one, FetchState.COMPLETE, "")
    recorded.close(uid)
    fetched, sent = told(recorded)
    assert [part.get("UserID") for part in fetched[1:4]][::2] == ["CR_ROOM1", "doctor@ward"]
    assert people(sent)[0] == ("110153", "10.1.2.4")
    assert len(people(sent)) == 2


@pytest.fixture
def asked_about(recorded: RecordedNode) -> tuple[RecordedNode, Questions]:
    """A node with a study of two images that somebody has asked about; nothing else is left to tell."""
    uid = recorded.receive(make_dx(instance="1"), make_dx(instance="2"))
    recorded.close(uid)
    recorded.consult()
    questions = Questions(recorded.database)
    questions.ask(uid, "Is there a mass?", "doctor@ward", to_be_filed=True)
    told(recorded)
    return recorded, questions


def test_a_question_is_told_once_with_who_asked_about_which_study_of_whom(
    asked_about: tuple[RecordedNode, Questions],
) -> None:
    node, questions = asked_about
    first = questions.claim(Stage.DRAFT, "ward:1", 60)
    assert first is not None
    questions.answered(first, REPLY, 1.0)
    (message,) = told(node)
    assert (event(message), message[0].get("EventOutcomeIndicator")) == (("110103", "R"), "0")
    assert (message[1].get("UserID"), message[1].get("UserIsRequestor")) == ("doctor@ward", "true")
    assert people(message)[1] == (None, socket.gethostname())
    assert message[4].get("ParticipantObjectID") == str(make_dx().StudyInstanceUID)
    assert message[5].get("ParticipantObjectID") == str(make_dx().PatientID)
    assert counts(message) == {make_dx().SOPClassUID: "2"}
    filing = questions.claim(Stage.DELIVER, "ward:1", 60)
    assert filing is not None
    questions.end(filing, QuestionState.FAILED, "The folder is full.")
    assert not told(node)


@pytest.mark.parametrize("workers_die", [False, True])
def test_a_question_that_failed_is_told_as_a_failure(
    workers_die: bool, asked_about: tuple[RecordedNode, Questions]
) -> None:
    node, questions = asked_about
    claims = [questions.claim(Stage.DRAFT, "ward:1", -1) for _ in range(ATTEMPTS)]
    assert claims[-1] is not None
    assert not told(node)
    if workers_die:
        assert questions.claim(Stage.DRAFT, "ward:1", 60) is None
    else:
        questions.postpone(claims[-1], "No memory.")
    (message,) = told(node)
    assert (event(message), message[0].get("EventOutcomeIndicator")) == (("110103", "R"), "8")
    assert message[1].get("UserID") == "doctor@ward"


def test_a_transfer_is_told_once_whenever_the_housekeeper_dies_and_not_at_all_if_that_is_not_wanted(
    recorded: RecordedNode,
) -> None:
    recorded.close(recorded.receive(make_dx()))
    sql("CREATE TABLE noted AS SELECT * FROM transfer", recorded)
    (path,), folder = written(recorded), recorded.config.state_dir / "audit"
    sql("INSERT INTO transfer SELECT * FROM noted", recorded)  # as if it had died before it dropped the note
    assert written(recorded) == [path]
    path.replace(folder / "sent" / path.name)
    sql("INSERT INTO transfer SELECT * FROM noted", recorded)
    assert written(recorded) == []
    audit = AuditTrail(transfers=False)
    recorded.config = recorded.config.model_copy(update={"audit": audit})
    recorded.close(recorded.receive(make_dx(study="2")))
    assert written(recorded) == []
    with recorded.database.reading() as connection:
        assert not untold(connection, 1)


def sql(statement: str, node: RecordedNode) -> None:
    with node.database.writing() as connection:
        connection.exec_driver_sql(statement)
