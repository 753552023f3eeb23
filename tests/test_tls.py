"""TLS towards a PACS: reports arrive encrypted, and what is wrong with a certificate is said."""

import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.store_scu import StoreScu
from gsco_pacs.adapters.tls import client_context, in_words, server_context, tls_arguments
from gsco_pacs.domain.errors import ConfigError, PeerUnavailableError
from gsco_pacs.domain.findings import ObjectKind, Report
from gsco_pacs.settings.tls import ClientTls, ServerTls
from gsco_pacs.testing.certificates import Authority, Certificate
from gsco_pacs.testing.pacs import LoopbackPacs

Reports = tuple[Report, Report]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(authority: Authority) -> Certificate:
    return authority.issue("node")


@pytest.fixture(scope="module")
def pacs(authority: Authority) -> Certificate:
    return authority.issue("pacs")


def server_of(certificate: Certificate, authority: Authority) -> ssl.SSLContext:
    settings = ServerTls(
        certificate=certificate.certificate,
        private_key=certificate.private_key,
        authorities=authority.certificate,
    )
    return server_context(settings, Path.absolute)


def client_of(authority: Authority, own: Certificate | None = None, **changes: Any) -> ClientTls:
    mine = {"certificate": own.certificate, "private_key": own.private_key} if own else {}
    return ClientTls(authorities=authority.certificate, **mine, **changes)


def scu(server: LoopbackPacs, tls: ClientTls, host: str = "127.0.0.1") -> StoreScu:
    called = partial(tls_arguments, tls, host, "destinations.pacs.tls", Path.absolute)
    return StoreScu(
        "pacs", CalledPeer("LOOPBACK", host, server.port, "GSCO", 10, called), frozenset(ObjectKind)
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_reports_arrive_over_tls_with_certificates_on_both_sides(
    authority: Authority, node: Certificate, pacs: Certificate, chest_reports: Reports, host: str
) -> None:
    with LoopbackPacs(tls=server_of(pacs, authority)) as server:
        receipts = scu(server, client_of(authority, node), host).send(chest_reports)
    assert [receipt.status for receipt in receipts] == ["0x0000", "0x0000"]
    assert len(server.taken) == 2


def test_a_certificate_of_another_host_is_refused_unless_its_name_is_given(
    authority: Authority, node: Certificate, chest_reports: Reports
) -> None:
    other = authority.issue("other", "DNS:pacs.hospital")
    with LoopbackPacs(tls=server_of(other, authority)) as server:
        with pytest.raises(PeerUnavailableError, match=r"IP address mismatch.*127\.0\.0\.1'\.$"):
            scu(server, client_of(authority, node)).send(chest_reports)
        scu(server, client_of(authority, node, host_name="pacs.hospital")).send(chest_reports)
        scu(server, client_of(authority, node, check_host_name=False)).send(chest_reports)
    assert len(server.taken) == 4


def test_a_certificate_of_an_unknown_authority_is_refused(
    tmp_path: Path, authority: Authority, node: Certificate, chest_reports: Reports
) -> None:
    stranger = Authority(tmp_path, "Stranger")
    with (
        LoopbackPacs(tls=server_of(stranger.issue("pacs"), authority)) as server,
        pytest.raises(PeerUnavailableError, match="unable to get local issuer certificate"),
    ):
        scu(server, client_of(authority, node, check_host_name=False)).send(chest_reports)
    assert not server.arrivals


def test_a_pacs_that_wants_our_certificate_and_gets_none_is_named(
    authority: Authority, pacs: Certificate, chest_reports: Reports
) -> None:
    with (
        LoopbackPacs(tls=server_of(pacs, authority)) as server,
        pytest.raises(PeerUnavailableError, match="asks for a certificate, and we have shown none"),
    ):
        scu(server, client_of(authority)).send(chest_reports)


def test_a_pacs_that_does_not_know_our_authority_is_told_in_words(
    tmp_path: Path, authority: Authority, pacs: Certificate, chest_reports: Reports
) -> None:
    ours = Authority(tmp_path, "Stranger").issue("node")
    with (
        LoopbackPacs(tls=server_of(pacs, authority)) as server,
        pytest.raises(PeerUnavailableError, match="does not know the authority that signed our certificate"),
    ):
        scu(server, client_of(authority, ours)).send(chest_reports)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("SSLV3_ALERT_BAD_CERTIFICATE", "it does not accept our certificate"),
        ("TLSV1_ALERT_INTERNAL_ERROR", "internal error"),
        ("BAD_SIGNATURE", "bad signature"),
    ],
)
def test_what_openssl_says_of_a_handshake_is_put_into_words(reason: str, words: str) -> None:
    error = ssl.SSLError(1, "")
    error.reason = reason
    assert in_words(error) == words


def test_nothing_older_than_tls_1_2_is_spoken(authority: Authority, node: Certificate) -> None:
    for context in (
        server_of(node, authority),
        client_context(client_of(authority), "tls", Path.absolute),
    ):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        names = {cipher["name"] for cipher in context.get_ciphers()}
        assert "ECDHE-RSA-AES256-GCM-SHA384" in names
        assert all(name.startswith(("TLS_", "ECDHE-")) and "CBC" not in name for name in names)
        assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_file_that_can_not_be_used_is_named_with_its_key(
    tmp_path: Path, authority: Authority, node: Certificate, pacs: Certificate
) -> None:
    good = {
        "certificate": node.certificate,
        "private_key": node.private_key,
        "authorities": authority.certificate,
    }
    garbage, encrypted = tmp_path / "garbage.pem", tmp_path / "encrypted.key"
    garbage.write_text("nothing")
    encrypted.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIH=\n-----END ENCRYPTED PRIVATE KEY-----\n")
    for key, path, words in (
        ("certificate", tmp_path / "missing.pem", "No such file"),
        ("certificate", garbage, "can't be used"),
        ("private_key", garbage, "can't be used"),
        ("private_key", encrypted, "not encrypted"),
        ("private_key", pacs.private_key, "is not the key of"),
        ("authorities", garbage, "holds no certificate"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            server_context(ServerTls(**(good | {key: path})), Path.absolute)
        assert f"receiver.tls.{key}: {path}" in str(caught.value)


def test_a_certificate_without_its_key_is_a_mistake(node: Certificate) -> None:
    with pytest.raises(ValidationError, match="belong together"):
        ClientTls(certificate=node.certificate)
