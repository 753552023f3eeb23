"""The receiver over TLS: real clients, certificates that prove AE titles, and peers that misbehave before or in TLS."""

import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from typer.testing import CliRunner

from gsco_pacs import cli
from gsco_pacs.adapters.database import migrate
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.tls import client_context, server_context
from gsco_pacs.config import load_config
from gsco_pacs.domain.incoming import Alert
from gsco_pacs.settings.receiver import Limits, Sender
from gsco_pacs.settings.tls import ClientTls, ServerTls
from gsco_pacs.testing.certificates import Authority, Certificate
from gsco_pacs.testing.phantoms import encoded, make_ct
from gsco_pacs.testing.private_process import program
from tests.test_storage_scp import Node, Verification, c_store, is_ended, rejection, wire
from tests.waiting import eventually


class Hospital:
    """An authority and the certificates of its modality and its node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.node = self.authority.issue("node")
        self.modality = self.authority.issue("modality", "DNS:modality.hospital")
        self.other = self.authority.issue("other", "DNS:other.hospital")
        self.stranger = Authority(folder / "elsewhere", "Elsewhere").issue("modality")

    def server(self, **changes: Any) -> ServerTls:
        return ServerTls(
            port=0,
            certificate=self.node.certificate,
            private_key=self.node.private_key,
            authorities=self.authority.certificate,
            **changes,
        )

    def client(self, own: Certificate | None) -> ssl.SSLContext:
        mine = {"certificate": own.certificate, "private_key": own.private_key} if own else {}
        return client_context(ClientTls(authorities=self.authority.certificate, **mine), "tls", Path.absolute)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return Hospital(tmp_path_factory.mktemp("hospital"))


@pytest.fixture
def start(tmp_path: Path, hospital: Hospital) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def started(**settings: Any) -> Node:
        nodes.append(Node(tmp_path, **({"tls": hospital.server()} | settings)))
        nodes[-1].scp.start()
        return nodes[-1]

    yield started
    for node in nodes:
        node.scp.stop()


@pytest.fixture
def node(start: Callable[..., Node]) -> Node:
    return start()


def associate(
    node: Node, context: ssl.SSLContext | None, calling: str = "MODALITY", port: int = 0, **more: Any
) -> Association:
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    contexts = [build_context(Verification), build_context(CTImageStorage, ExplicitVRLittleEndian)]
    port = port or (node.scp.tls_port if context else node.scp.port)
    tls = (context, "localhost") if context else None
    return ae.associate("127.0.0.1", port, contexts=contexts, ae_title="GSCO", tls_args=tls, **more)


def dcmtk(
    tool: str, node: Node, hospital: Hospital, own: Certificate, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    command = [program(tool, "dcmtk", "/usr/bin"), "-v", "-aet", "MODALITY", "-aec", "GSCO"]
    command += [
        "+tls",
        str(own.private_key),
        str(own.certificate),
        "+cf",
        str(hospital.authority.certificate),
    ]
    command += ["127.0.0.1", str(node.scp.tls_port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def s_client(node: Node, hospital: Hospital, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [program("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{node.scp.tls_port}"]
    command += ["-cert", str(hospital.modality.certificate), "-key", str(hospital.modality.private_key)]
    command += ["-CAfile", str(hospital.authority.certificate), *arguments]
    return subprocess.run(command, capture_output=True, text=True, input="", timeout=30, check=False)


# Real clients


def test_dcmtk_echoes_and_stores_over_tls(node: Node, hospital: Hospital, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"{number}.dcm").write_bytes(encoded(make_ct(rows=512, columns=512, slice_number=number)))
    echo = dcmtk("echoscu", node, hospital, hospital.modality)
    assert echo.returncode == 0, echo.stderr
    files = [str(tmp_path / f"{number}.dcm") for number in (1, 2, 3)]
    store = dcmtk("storescu", node, hospital, hospital.modality, *files)
    assert store.returncode == 0, store.stderr
    assert len(node.files()) == len(node.instances) == 3


def test_dcmtk_with_a_certificate_of_another_authority_is_refused_and_recorded(
    node: Node, hospital: Hospital
) -> None:
    assert dcmtk("echoscu", node, hospital, hospital.stranger).returncode != 0
    assert eventually(lambda: bool(node.refusals))
    assert "its certificate is not accepted" in node.refusals[0].reason
    assert node.refusals[0].alert is Alert.NODE_AUTHENTICATION


def test_files_are_sent_over_tls_by_the_command(node: Node, hospital: Hospital, tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(encoded(make_ct()))
    plain, tls_port = free_port(), node.scp.tls_port
    receiver = {
        "host": "127.0.0.1",
        "port": plain,
        "tls": hospital.server().model_dump(mode="json") | {"port": tls_port},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"receiver": receiver}))
    tls = ["--tls-ca", str(hospital.authority.certificate)]
    own = [
        "--tls-certificate",
        str(hospital.modality.certificate),
        "--tls-key",
        str(hospital.modality.private_key),
    ]

    def send(*options: str) -> str:
        """What went wrong; "" if all is well."""
        command = [
            "--config",
            str(tmp_path / "config.yaml"),
            "send",
            str(file),
            "--calling-ae",
            "MODALITY",
            *options,
        ]
        result = CliRunner().invoke(cli.app, command)
        return str(result.exception or "")

    assert send(*tls, *own) == send("--host", "localhost", "--port", str(tls_port), *tls, *own) == ""
    assert len(node.files()) == 1
    assert len(node.instances) == 2
    assert "asks for a certificate" in send(*tls)
    assert "belong together" in send(*tls, *own[:2])
    assert "authorities: /none: No such file" in send("--tls-ca", "/none")
    assert "nowhere.invalid cannot be looked up: " in send("--host", "nowhere.invalid")


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_tls_1_2_and_1_3_are_spoken(node: Node, hospital: Hospital, version: str) -> None:
    context = hospital.client(hospital.modality)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[f"TLSv{version}"]
    association = associate(node, context)
    assert association.send_c_echo().Status == 0x0000
    assert c_store(association, make_ct(rows=1024, columns=1024)).Status == 0x0000
    association.release()
    assert association.is_released


@pytest.mark.parametrize("version", ["-tls1_1", "-tls1"])
def test_older_tls_is_refused(node: Node, hospital: Hospital, version: str) -> None:
    refused = s_client(node, hospital, version, "-cipher", "ALL:@SECLEVEL=0")
    assert refused.returncode != 0
    assert "alert protocol version" in refused.stderr
    assert eventually(lambda: "offers no TLS newer than 1.1" in node.refusals[0].reason)


def test_a_renegotiation_and_a_weak_cipher_are_refused(node: Node, hospital: Hospital) -> None:
    weak = s_client(node, hospital, "-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0")
    assert "handshake failure" in weak.stderr
    assert "Compression: NONE" in s_client(node, hospital, "-tls1_2").stdout


def test_without_a_certificate_nobody_gets_in(
    node: Node, hospital: Hospital, caplog: pytest.LogCaptureFixture
) -> None:
    assert not associate(node, hospital.client(None)).is_established
    assert eventually(lambda: bool(node.refusals))
    assert "it showed no certificate" in node.refusals[0].reason
    assert "Refused the connection from 127.0.0.1: no TLS" in caplog.text


def test_a_node_that_only_encrypts_asks_for_no_certificate(
    start: Callable[..., Node], hospital: Hospital
) -> None:
    node = start(tls=hospital.server(ask_for_certificate=False))
    association = associate(node, hospital.client(None))
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_the_plain_port_can_be_closed(start: Callable[..., Node], hospital: Hospital) -> None:
    node = start(plain=False, port=free_port())
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", node.scp.port)) != 0
    assert associate(node, hospital.client(hospital.modality)).is_established


def test_objects_larger_than_many_pdus_arrive_whole_in_both_ways_at_once(
    node: Node, hospital: Hospital
) -> None:
    plain, secured = associate(node, None), associate(node, hospital.client(hospital.modality))
    for number in range(1, 6):
        assert c_store(secured, make_ct(rows=1024, columns=1024, slice_number=number)).Status == 0x0000
        assert c_store(plain, make_ct(slice_number=10 + number)).Status == 0x0000
    plain.release()
    secured.release()
    assert len(node.files()) == 10


# Certificates that prove AE titles


def fingerprint(certificate: Certificate) -> str:
    printed = subprocess.run(
        ["openssl", "x509", "-in", str(certificate.certificate), "-noout", "-fingerprint", "-sha256"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return printed.stdout.strip().split("=")[1]


@pytest.mark.parametrize("how", ["fingerprint", "common name", "alternative name"])
def test_a_title_that_is_bound_is_taken_only_with_its_certificate(
    start: Callable[..., Node], hospital: Hospital, how: str
) -> None:
    proof = {
        "fingerprint": fingerprint(hospital.modality),
        "common name": "modality",
        "alternative name": "Modality.Hospital",
    }[how]
    node = start(senders=[Sender(ae_title="MODALITY", certificates=(proof,))])
    assert associate(node, hospital.client(hospital.modality)).send_c_echo().Status == 0x0000
    assert rejection(associate(node, hospital.client(hospital.other))) == (1, 1, 3)
    assert rejection(associate(node, None)) == (1, 1, 3)
    assert [refusal.alert for refusal in node.refusals] == 2 * [Alert.NODE_AUTHENTICATION]
    assert fingerprint(hospital.other).replace(":", "").lower() in node.refusals[0].reason
    assert "without one" in node.refusals[1].reason


# Peers that misbehave


def test_a_client_that_says_nothing_keeps_nobody_waiting_and_is_ended(
    start: Callable[..., Node], hospital: Hospital
) -> None:
    node = start(tls=hospital.server(handshake_seconds=1))
    silent = [socket.create_connection(("127.0.0.1", node.scp.tls_port)) for _ in range(20)]
    began = time.monotonic()
    association = associate(node, hospital.client(hospital.modality))
    assert association.send_c_echo().Status == 0x0000
    assert time.monotonic() - began < 1
    association.release()
    assert all(is_ended(connection) for connection in silent)
    for connection in silent:
        connection.close()
    assert eventually(lambda: not node.scp._ae.active_associations)
    assert "in time" in node.refusals[0].reason


def test_a_handshake_that_trickles_is_ended(start: Callable[..., Node], hospital: Hospital) -> None:
    node = start(tls=hospital.server(handshake_seconds=1))
    with socket.create_connection(("127.0.0.1", node.scp.tls_port)) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                connection.sendall(b"\0")
            except OSError:
                break
            time.sleep(0.2)
    assert time.monotonic() < until


@pytest.mark.parametrize(
    "content",
    [b"GET / HTTP/1.1\r\n\r\n", struct.pack(">BxL", 1, 0xFFFFFFFF), os.urandom(400), b"\x16\x03\x01\x40\x01"],
    ids=["http", "plain dicom", "noise", "half a hello"],
)
def test_who_does_not_speak_tls_is_hung_up_on(node: Node, hospital: Hospital, content: bytes) -> None:
    with socket.create_connection(("127.0.0.1", node.scp.tls_port)) as connection:
        connection.sendall(content)
        with suppress(OSError):  # it may have hung up on us already
            connection.shutdown(socket.SHUT_WR)
        assert is_ended(connection)
    assert eventually(lambda: not node.scp._ae.active_associations)
    assert associate(node, hospital.client(hospital.modality)).is_established


def test_a_tls_client_at_the_plain_port_is_hung_up_on(node: Node, hospital: Hospital) -> None:
    association = associate(node, hospital.client(hospital.modality), port=node.scp.port)
    assert not association.is_established
    assert eventually(lambda: not node.scp._ae.active_associations)


@pytest.mark.parametrize("politely", [True, False], ids=["close_notify", "cut off"])
def test_a_connection_that_ends_within_a_pdu_loses_only_what_was_not_acknowledged(
    node: Node, hospital: Hospital, politely: bool
) -> None:
    association = associate(node, hospital.client(hospital.modality))
    assert c_store(association, make_ct()).Status == 0x0000
    connection = wire(association)
    assert isinstance(connection, ssl.SSLSocket)
    connection.sendall(struct.pack(">BxLLBB", 4, 1000, 996, 3, 0) + bytes(100))
    if politely:
        connection.settimeout(0)
        with suppress(ssl.SSLError):  # ours is sent; its own may be here already or not
            connection.unwrap()
    with suppress(OSError):  # it may have hung up on us already
        socket.socket.shutdown(connection, socket.SHUT_WR)
    assert eventually(lambda: not node.scp._ae.active_associations)
    assert len(node.files()) == 1


def test_nothing_is_left_open_behind_many_handshakes(node: Node, hospital: Hospital) -> None:
    def use(own: Certificate) -> None:
        with socket.create_connection(("127.0.0.1", node.scp.tls_port)) as connection:
            context = hospital.client(own)
            context.check_hostname = False
            with context.wrap_socket(connection) as secured, pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
                secured.recv(1)

    use(hospital.stranger)
    assert eventually(lambda: not node.scp._ae.active_associations)
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        use(hospital.stranger)
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


# Reloading


def test_new_certificates_and_senders_are_taken_up_and_running_associations_go_on(
    node: Node, hospital: Hospital, tmp_path: Path
) -> None:
    running = associate(node, hospital.client(hospital.modality))
    moved = Hospital(tmp_path / "moved")
    senders = (Sender(ae_title="NEWCOMER"),)
    settings = node.scp._settings.model_copy(update={"senders": senders, "tls": moved.server()})
    node.scp.reload(settings, server_context(moved.server(), Path.absolute))
    assert not associate(node, hospital.client(hospital.modality)).is_established
    assert rejection(associate(node, moved.client(moved.modality))) == (1, 1, 3)
    newcomer = associate(node, moved.client(moved.modality), "NEWCOMER")
    assert newcomer.send_c_echo().Status == 0x0000
    assert c_store(running, make_ct()).Status == 0x0000
    newcomer.release()
    running.release()


def test_a_running_receiver_takes_up_a_changed_file_and_survives_a_mistake_in_it(
    hospital: Hospital, tmp_path: Path
) -> None:
    file, ports = tmp_path / "config.yaml", (free_port(), free_port())
    tls = {
        "port": ports[1], "certificate": str(hospital.node.certificate),
        "private_key": str(hospital.node.private_key), "authorities": str(hospital.authority.certificate),
    }  # fmt: skip

    def write(*titles: str) -> None:
        senders = [{"ae_title": title} for title in titles]
        content = {"receiver": {"host": "127.0.0.1", "port": ports[0], "senders": senders, "tls": tls}}
        file.write_text(yaml.safe_dump(content))

    def echoes(title: str) -> bool:
        ae = AE(title)
        ae.add_requested_context(Verification)
        context = hospital.client(hospital.modality)
        association = ae.associate("127.0.0.1", ports[1], ae_title="GSCO", tls_args=(context, "localhost"))
        if association.is_established:
            association.release()
        return association.is_released

    write("FIRST")
    migrate(load_config(file).database_url)
    command = [sys.executable, "-m", "gsco_pacs", "--config", str(file), "receiver"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            assert eventually(lambda: echoes("FIRST"), 30)
            write("FIRST", "SECOND")
            assert eventually(lambda: echoes("SECOND"))
            file.write_text("receiver: {senders: [{ae_title: FIRST}], tls: {port: 1}}")
            process.send_signal(signal.SIGHUP)
            assert eventually(lambda: "the old one stays" in (tmp_path / "log").read_text())
            assert echoes("SECOND")
            assert not echoes("STRANGER")
        finally:
            process.terminate()
            process.wait(30)
    assert process.returncode == 0
    audit = "".join(path.read_text() for path in (tmp_path / "gsco-state" / "audit").glob("*.xml"))
    assert all(f'csd-code="{code}"' in audit for code in ("110120", "110121", "110113", "110126"))
    assert 'UserID="STRANGER"' in audit


def test_limits_are_taken_up_while_running(node: Node) -> None:
    first = associate(node, None)
    limits = Limits(associations_per_peer=1)
    settings = node.scp._settings.model_copy(update={"limits": limits, "tls": None})
    node.scp.reload(settings, None)
    assert rejection(associate(node, None)) == (2, 3, 2)
    first.release()
    assert eventually(lambda: associate(node, None).is_established)
