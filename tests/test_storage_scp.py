"""The Storage SCP over the wire: real clients, the right statuses, default deny, and peers that misbehave."""

import logging
import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread, uid
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from gsco_pacs.adapters.dul import MAXIMUM_ASSOCIATE_PDU, PromptUpperLayer
from gsco_pacs.adapters.file_store import FileStore, check_reserve
from gsco_pacs.adapters.p_data import PDataUpperLayer
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.adapters.tls import server_context
from gsco_pacs.adapters.transfer_syntaxes import TRANSFER_SYNTAXES, storage_sop_classes
from gsco_pacs.domain.errors import ConfigError, OutOfResourcesError
from gsco_pacs.domain.incoming import Incoming, Refusal
from gsco_pacs.domain.study import Instance
from gsco_pacs.pixels.decoding import PLUGINS
from gsco_pacs.settings.receiver import Receiver, Sender
from gsco_pacs.steps.receive import receive
from gsco_pacs.testing.phantoms import encoded, make_ct
from gsco_pacs.testing.private_process import program
from tests.waiting import eventually

Verification = uid.UID("1.2.840.10008.1.1")
SENDERS = (
    Sender(ae_title="MODALITY", addresses=("127.0.0.1",)),
    Sender(ae_title="ELSEWHERE", addresses=("10.0.0.0/8",)),
)


class Node:
    """A receiver on a free port of loopback, and what it took and refused."""

    def __init__(
        self,
        folder: Path,
        reserve_bytes: int = 0,
        check_room: Callable[[], None] = lambda: None,
        **settings: Any,
    ) -> None:
        self.store = FileStore(folder / "store", reserve_bytes)
        self.instances: list[Instance] = []
        self.refusals: list[Refusal] = []
        receiver = Receiver(
            **({"ae_title": "GSCO", "host": "127.0.0.1", "port": 0, "senders": SENDERS} | settings)
        )
        tls = server_context(receiver.tls, Path.absolute) if receiver.tls else None
        self.scp = StorageScp(receiver, self.take, self.refusals.append, tls=tls, check_room=check_room)

    def take(self, incoming: Incoming) -> None:
        self.instances.append(receive(incoming, self.store, frozenset(["Modality"])))

    def files(self) -> list[Path]:
        return [path for path in self.store.root.rglob("*") if path.is_file()]


@pytest.fixture(params=[PDataUpperLayer, PromptUpperLayer], ids=["fast", "pynetdicom's own"])
def start(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Node]]:
    """Starts nodes; each test runs with the short way for P-DATA and with pynetdicom's."""
    monkeypatch.setattr("gsco_pacs.adapters.storage_scp.PDataUpperLayer", request.param)
    nodes: list[Node] = []

    def started(**settings: Any) -> Node:
        nodes.append(Node(tmp_path, **settings))
        nodes[-1].scp.start()
        return nodes[-1]

    yield started
    for node in nodes:
        node.scp.stop()


@pytest.fixture
def node(start: Callable[..., Node]) -> Node:
    return start()


def associate(node: Node, *contexts: Any, calling: str = "MODALITY", called: str = "GSCO") -> Association:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    wanted = list(contexts) or [
        build_context(Verification),
        build_context(CTImageStorage, uid.ExplicitVRLittleEndian),
    ]
    return ae.associate("127.0.0.1", node.scp.port, contexts=wanted, ae_title=called)


def data_set(ds: Dataset) -> bytes:
    file = BytesIO()
    Dataset(ds).save_as(file, implicit_vr=False, little_endian=True)
    return file.getvalue()


def c_store(association: Association, ds: Dataset, content: bytes | None = None, **changes: Any) -> C_STORE:
    """The response to a C-STORE whose command and data set need not be what pynetdicom would send."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID = changes.get("sop_class", ds.SOPClassUID)
    request.AffectedSOPInstanceUID = changes.get("sop_instance", ds.SOPInstanceUID)
    request.DataSet = BytesIO(data_set(ds) if content is None else content)
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.001)
    context = next(c for c in association.accepted_contexts if c.abstract_syntax != Verification)
    association.dimse.send_msg(request, context.context_id or 0)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert isinstance(response, C_STORE)
    return response


def wire(association: Association) -> socket.socket:
    assert association.dul.socket is not None
    assert association.dul.socket.socket is not None
    return association.dul.socket.socket


def dcmtk(tool: str, node: Node, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [
        program(tool, "dcmtk", "/usr/bin"),
        "-v",
        "-aet",
        "MODALITY",
        "-aec",
        "GSCO",
        "127.0.0.1",
        str(node.scp.port),
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)


# Real clients


def test_a_pynetdicom_sender_gets_success_and_the_file_is_there(node: Node) -> None:
    association = associate(node)
    ds = make_ct()
    assert association.send_c_echo().Status == 0x0000
    assert association.send_c_store(ds).Status == 0x0000
    assert dcmread(node.store.path_of(node.instances[0])).SOPInstanceUID == ds.SOPInstanceUID
    association.release()
    assert association.is_released


@pytest.mark.parametrize("tool", ["storescu", "dcmsend"])
def test_dcmtk_sends_a_study_and_every_file_is_there(node: Node, tmp_path: Path, tool: str) -> None:
    slices = [make_ct(rows=256, columns=256, slice_number=n) for n in range(1, 6)]
    for number, ds in enumerate(slices):
        (tmp_path / f"{number}.dcm").write_bytes(encoded(ds))
    done = dcmtk(tool, node, *(str(tmp_path / f"{number}.dcm") for number in range(5)))
    assert done.returncode == 0, done.stderr
    assert {i.sop_instance_uid for i in node.instances} == {str(ds.SOPInstanceUID) for ds in slices}
    assert [dcmread(path).pixel_array.shape for path in node.files()] == 5 * [(256, 256)]


def test_dcmtk_echoes(node: Node) -> None:
    assert dcmtk("echoscu", node).returncode == 0


def test_objects_larger_than_many_pdus_arrive_whole(start: Callable[..., Node]) -> None:
    node = start(maximum_pdu=16384)
    association = associate(node)
    ds = make_ct(rows=1024, columns=1024)
    assert association.send_c_store(ds).Status == 0x0000
    association.release()
    assert node.store.path_of(node.instances[0]).read_bytes().endswith(data_set(ds))


def test_several_associations_may_bring_one_study(node: Node) -> None:
    def send(number: int) -> None:
        association = associate(node)
        assert association.send_c_store(make_ct(slice_number=number)).Status == 0x0000
        association.release()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({i.sop_instance_uid for i in node.instances}) == 6
    assert len({i.study_instance_uid for i in node.instances}) == 1


# Statuses


def test_an_equal_resend_is_answered_with_success_and_kept_once(node: Node) -> None:
    association = associate(node)
    assert [c_store(association, make_ct()).Status for _ in range(2)] == [0x0000, 0x0000]
    association.release()
    assert len(node.files()) == 1


def test_each_kind_of_bad_object_has_its_status_and_the_association_goes_on(node: Node) -> None:
    association, ds = associate(node), make_ct()
    whole = data_set(ds)
    truncated = c_store(association, ds, whole[: len(whole) // 2])
    other_class = c_store(association, ds, sop_class=MRImageStorage)
    other_instance = c_store(association, ds, sop_instance="1.2.3")
    unknown_class = c_store(association, ds, sop_class="1.2.3.4")
    path_like = c_store(association, ds, sop_instance="../../../etc/passwd")
    answers = [truncated, other_class, other_instance, unknown_class, path_like]
    assert [f"{answer.Status:04X}" for answer in answers] == ["C000", "A900", "A900", "0122", "0117"]
    assert all(answer.ErrorComment for answer in answers)
    assert len(node.refusals) == len(answers)
    assert node.files() == []
    assert c_store(association, ds).Status == 0x0000
    association.release()


def test_a_class_that_was_not_negotiated_is_refused_in_the_context_of_another(node: Node) -> None:
    association = associate(node)
    ds = make_ct(SOPClassUID=uid.EncapsulatedPDFStorage)
    assert c_store(association, ds, sop_class=uid.EncapsulatedPDFStorage).Status == 0x0122
    association.release()
    assert node.files() == []


def test_a_uid_of_64_characters_is_stored(node: Node) -> None:
    association = associate(node)
    ds = make_ct(SOPInstanceUID="1." + 62 * "9")
    assert c_store(association, ds).Status == 0x0000
    association.release()


def test_an_error_comment_tells_nothing_of_the_patient(node: Node) -> None:
    association = associate(node)
    ds = make_ct(PatientName="Secret^Name", PatientID="SECRET-ID")
    answer = c_store(association, ds, sop_instance="Secret^Name")
    association.release()
    assert "Secret" not in str(answer.ErrorComment)
    assert len(str(answer.ErrorComment)) <= 64


@pytest.mark.parametrize(
    "error", [OutOfResourcesError(), ZeroDivisionError("a mistake of ours"), MemoryError()]
)
def test_what_is_not_the_objects_fault_is_answered_with_a700(
    start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    node = start()

    def fail(_incoming: Incoming) -> None:
        raise error

    monkeypatch.setattr(node.scp, "_on_store", fail)
    association = associate(node)
    assert c_store(association, make_ct()).Status == 0xA700
    association.release()


def test_a_disk_below_its_reserve_is_answered_with_a700_and_nothing_is_left_behind(
    start: Callable[..., Node], tmp_path: Path
) -> None:
    disk = os.statvfs(tmp_path)
    node = start(reserve_bytes=disk.f_blocks * disk.f_frsize)
    association = associate(node)
    assert c_store(association, make_ct()).Status == 0xA700
    association.release()
    assert node.files() == []
    assert "reserve_bytes" in node.refusals[0].reason


# Less disk space than the reserve


_GIGABYTE = 1_000_000_000


@pytest.fixture
def full(tmp_path: Path) -> tuple[Path, Callable[[], None]]:
    """A file of two gigabytes, and a check of the reserve that fails by one gigabyte as long as the file is there."""
    disk = os.statvfs(tmp_path)
    reserve_bytes = disk.f_bavail * disk.f_frsize - _GIGABYTE
    others = tmp_path / "others"
    with others.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 2 * _GIGABYTE)
    return others, partial(check_reserve, tmp_path, reserve_bytes)


def test_associations_for_storage_wait_for_space_and_are_taken_again_by_themselves(
    full: tuple[Path, Callable[[], None]], start: Callable[..., Node]
) -> None:
    others, check_room = full
    node = start(check_room=check_room)
    assert rejection(associate(node)) == (2, 3, 1)
    assert "reserve_bytes" in node.refusals[0].reason
    echo = associate(node, build_context(Verification))
    assert echo.send_c_echo().Status == 0x0000
    echo.release()
    others.unlink()
    association = associate(node)
    assert c_store(association, make_ct()).Status == 0x0000
    association.release()


def test_a_stranger_is_not_told_that_the_disk_is_full(
    full: tuple[Path, Callable[[], None]], start: Callable[..., Node]
) -> None:
    node = start(check_room=full[1])
    assert rejection(associate(node, calling="STRANGER")) == (1, 1, 3)


# Who may send


def rejection(association: Association) -> tuple[int | None, ...]:
    answer = association.acceptor.primitive
    assert association.is_rejected
    assert answer is not None
    return answer.result, answer.result_source, answer.diagnostic


def test_an_unknown_caller_is_rejected_and_the_log_says_how_to_admit_it(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert rejection(associate(node, calling="STRANGER")) == (1, 1, 3)
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("gsco_pacs")]
    assert "- {ae_title: STRANGER, addresses: [127.0.0.1]}" in line
    assert "receiver.senders" in line
    assert node.refusals[0].peer.calling_ae == "STRANGER"
    assert node.refusals[0].what == "association"


def test_a_known_title_at_an_unknown_address_is_rejected(node: Node) -> None:
    assert rejection(associate(node, calling="ELSEWHERE")) == (1, 1, 3)
    assert "another address" in node.refusals[0].reason


def test_an_unknown_caller_can_not_even_echo(node: Node) -> None:
    assert rejection(associate(node, build_context(Verification), calling="STRANGER")) == (1, 1, 3)


def test_a_wrong_called_title_is_rejected(node: Node) -> None:
    assert rejection(associate(node, called="SOMEBODY")) == (1, 1, 7)
    assert "receiver.ae_title is 'GSCO'" in node.refusals[0].reason


def test_without_senders_nobody_may_send(start: Callable[..., Node]) -> None:
    assert rejection(associate(start(senders=()))) == (1, 1, 3)


def test_more_associations_than_allowed_are_rejected_as_transient(start: Callable[..., Node]) -> None:
    node = start(maximum_associations=1)
    first = associate(node)
    assert first.is_established
    assert rejection(associate(node)) == (2, 3, 2)
    first.release()
    assert eventually(lambda: associate(node).is_established)


def test_an_address_that_is_none_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MODALITY"):
        Node(tmp_path, senders=(Sender(ae_title="MODALITY", addresses=("ct.hospital",)),))


def test_a_port_that_is_taken_is_a_mistake_in_the_configuration(node: Node, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in use"):
        Node(tmp_path, port=node.scp.port).scp.start()


# Negotiation


def test_every_listed_class_is_taken_with_every_listed_transfer_syntax(node: Node) -> None:
    classes = storage_sop_classes()
    assert len(classes) > 80
    accepted: set[tuple[str, str]] = set()
    for syntax in TRANSFER_SYNTAXES:
        association = associate(node, *(build_context(sop_class, syntax) for sop_class in classes))
        accepted |= {
            (str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts
        }
        association.release()
    assert accepted == {(sop_class, str(syntax)) for sop_class in classes for syntax in TRANSFER_SYNTAXES}


def test_every_transfer_syntax_that_is_taken_can_be_decoded() -> None:
    assert set(TRANSFER_SYNTAXES) <= PLUGINS.keys()


@pytest.mark.parametrize(
    "syntax",
    [
        uid.DeflatedExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.MPEG2MPML,
        uid.JPIPHTJ2KReferenced,
        uid.HTJ2K,
    ],
    ids=lambda syntax: syntax.name,
)
def test_what_could_not_be_read_safely_is_refused_at_negotiation(node: Node, syntax: uid.UID) -> None:
    association = associate(node, build_context(CTImageStorage, syntax))
    assert [context.result for context in association.rejected_contexts] == [0x04]


def test_of_several_transfer_syntaxes_one_that_loses_nothing_is_chosen(node: Node) -> None:
    offer = build_context(CTImageStorage, [uid.JPEGBaseline8Bit, uid.JPEG2000, uid.JPEGLSLossless])
    association = associate(node, offer)
    assert association.accepted_contexts[0].transfer_syntax == [uid.JPEGLSLossless]
    association.release()


# Peers that misbehave


def is_ended(connection: socket.socket) -> bool:
    """Read until the other side ends the connection, by A-ABORT and FIN or by a reset."""
    connection.settimeout(15)
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def bytes_taken(connection: socket.socket, limit: int) -> int:
    """How many zeros the other side takes before it hangs up."""
    connection.settimeout(15)
    sent = 0
    try:
        while sent < limit:
            sent += connection.send(bytes(1 << 16))
    except OSError:
        pass
    return sent


def test_what_was_acknowledged_before_an_abort_stays(node: Node) -> None:
    association = associate(node)
    for number in (1, 2):
        assert c_store(association, make_ct(slice_number=number)).Status == 0x0000
    third = data_set(make_ct(slice_number=3))
    wire(association).sendall(struct.pack(">BxLLBB", 4, len(third) + 6, len(third) + 2, 3, 0) + third[:1000])
    association.abort()
    assert len(node.files()) == 2
    assert eventually(lambda: not node.scp._ae.active_associations)
    later = associate(node)
    assert c_store(later, make_ct(slice_number=3)).Status == 0x0000
    later.release()


def test_a_request_that_says_to_be_gigabytes_long_is_not_read(node: Node) -> None:
    with socket.create_connection(("127.0.0.1", node.scp.port)) as connection:
        connection.sendall(struct.pack(">BxL", 1, 0xFFFFFFFF))
        assert bytes_taken(connection, 200 << 20) < 64 << 20
    assert associate(node).is_established


def test_p_data_longer_than_agreed_ends_the_association(node: Node) -> None:
    association = associate(node)
    wire(association).sendall(struct.pack(">BxLLBB", 4, 0x7FFFFFFF, 0x7FFFFFF0, 3, 0))
    assert eventually(lambda: not association.is_established)


def test_an_object_that_never_ends_is_not_collected_for_ever(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gsco_pacs.adapters.upper_layer.MAXIMUM_OBJECT", 1 << 20)
    association = associate(node)
    assert c_store(association, make_ct(rows=512, columns=512)).Status == 0x0000
    request = C_STORE()
    request.MessageID, request.Priority = 8, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, uid.UID("1.2.3")
    request.DataSet = BytesIO(bytes(2 << 20))
    association.dimse.send_msg(request, association.accepted_contexts[-1].context_id or 0)
    assert eventually(lambda: association.is_aborted)
    assert len(node.files()) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack(">BxL", 1, 4) + b"\0\1\0\0",
        struct.pack(">BxL", 1, 200) + random.Random(1).randbytes(200),
        struct.pack(">BxLLBB", 4, 6, 2, 1, 3) + b"ab",
        struct.pack(">BxL4x", 5, 4),
        struct.pack(">BxL4x", 7, 4),
    ],
    ids=["http", "short request", "noise", "early data", "early release", "early abort"],
)
def test_a_peer_that_does_not_speak_dicom_is_hung_up_on(node: Node, content: bytes) -> None:
    with socket.create_connection(("127.0.0.1", node.scp.port)) as connection:
        connection.sendall(content)
        with suppress(OSError):  # it may have hung up on us already
            connection.shutdown(socket.SHUT_WR)
        assert is_ended(connection)
    assert eventually(lambda: not node.scp._ae.active_associations)


@pytest.mark.parametrize("first", [b"", b"\1\0\0"], ids=["nothing", "half a head"])
def test_a_connection_that_stalls_is_ended(
    start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr("gsco_pacs.adapters.storage_scp._NEGOTIATION_SECONDS", 1)
    node = start(idle_seconds=1)
    with socket.create_connection(("127.0.0.1", node.scp.port)) as connection:
        connection.sendall(first)
        assert is_ended(connection)
    assert eventually(lambda: not node.scp._ae.active_associations)


def test_an_association_in_which_nothing_happens_is_ended(start: Callable[..., Node]) -> None:
    node = start(idle_seconds=1)
    association = associate(node)
    assert eventually(lambda: association.is_aborted)
    assert eventually(lambda: not node.scp._ae.active_associations)


@pytest.mark.parametrize("command", [b"", b"\xff" * 40, struct.pack("<HHLH", 0, 0x0100, 2, 0x7777)])
def test_a_command_that_can_not_be_read_ends_its_association_only(node: Node, command: bytes) -> None:
    association = associate(node)
    length = len(command) + 2
    wire(association).sendall(struct.pack(">BxLLBB", 4, length + 4, length, 3, 3) + command)
    assert eventually(lambda: not association.is_established)
    assert eventually(lambda: not node.scp._ae.active_associations)
    assert associate(node).is_established


def test_a_request_other_than_echo_and_store_ends_the_association(node: Node) -> None:
    association = associate(node)
    command = b"".join(
        struct.pack("<HHL", 0, tag, len(value)) + value
        for tag, value in (
            (0x0002, b"1.2.840.10008.5.1.4.1.2.2.1\0"),
            (0x0100, struct.pack("<H", 0x0020)),
            (0x0110, struct.pack("<H", 1)),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 0x0101)),
        )
    )
    length = len(command) + 2
    wire(association).sendall(struct.pack(">BxLLBB", 4, length + 4, length, 3, 3) + command)
    assert eventually(lambda: association.is_aborted)
    assert eventually(lambda: not node.scp._ae.active_associations)


def test_an_association_request_may_be_long_but_not_endless() -> None:
    classes, syntaxes = 128, len(TRANSFER_SYNTAXES) + 10
    assert classes * (64 + syntaxes * (64 + 4)) < MAXIMUM_ASSOCIATE_PDU


def test_nothing_is_left_open_behind_many_associations(node: Node) -> None:
    def use() -> None:
        association = associate(node)
        association.send_c_echo()
        association.release()

    use()
    assert eventually(lambda: not node.scp._ae.active_associations)
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(10):
        use()
    assert eventually(lambda: threading.active_count() <= threads)
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_stopping_ends_running_associations_and_frees_the_port(start: Callable[..., Node]) -> None:
    node = start()
    association = associate(node)
    node.scp.stop()
    assert eventually(lambda: association.is_aborted)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", node.scp.port)) != 0


def test_stopping_waits_for_the_object_in_hand(
    start: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start()
    in_hand, go_on = threading.Event(), threading.Event()
    take = node.scp._on_store

    def slowly(incoming: Incoming) -> None:
        in_hand.set()
        go_on.wait(20)
        take(incoming)

    monkeypatch.setattr(node.scp, "_on_store", slowly)
    association = associate(node)
    sender = threading.Thread(target=association.send_c_store, args=(make_ct(),))
    sender.start()
    assert in_hand.wait(20)
    stopping = threading.Thread(target=node.scp.stop)
    stopping.start()
    stopping.join(0.5)
    assert stopping.is_alive()
    go_on.set()
    stopping.join(20)
    sender.join(30)
    assert not stopping.is_alive()
    assert len(node.files()) == 1
    assert association.is_aborted
