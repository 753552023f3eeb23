"""`gsco-pacs check`: what the node would do, and every file and address of the configuration that can't be used."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gsco_pacs.config import Config, load_config, shipped
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.processes.checking import check
from gsco_pacs.testing.certificates import Authority, Certificate
from gsco_pacs.testing.private_process import program


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(authority: Authority) -> Certificate:
    return authority.issue("node")


def tls(certificate: Path, private_key: Path, authorities: Path) -> str:
    return f"{{certificate: {certificate}, private_key: {private_key}, authorities: {authorities}}}"


def load(folder: Path, text: str) -> Config:
    (folder / "config.yaml").write_text(text)
    return load_config(folder / "config.yaml")


def test_the_shipped_configuration_has_a_line_for_each_route_and_one_for_the_receiver() -> None:
    config = load_config(shipped("config.yaml"))
    *routes, receiver = check(config)
    assert len(routes) == len(config.routes)
    assert receiver == "GSCO takes studies on 127.0.0.1, port 11112, from GSCO_SEND, STORESCU"


def test_certificates_are_read_with_whom_they_are_made_out_to_and_until_when(
    tmp_path: Path, authority: Authority, node: Certificate
) -> None:
    own = tls(node.certificate, node.private_key, authority.certificate)
    config = load(
        tmp_path,
        f"receiver: {{plain: false, tls: {own}, senders: [{{ae_title: CT1, certificates: [ct1]}}]}}\n"
        f"archives: {{pacs: {{kind: dimse, ae_title: A, host: h, port: 1, tls: {own}}}}}\n"
        f"audit: {{syslog: {{host: h, tls: {{authorities: {authority.certificate}}}}}}}",
    )
    days = {f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%d}" for hours in (23, 24)}
    receiver, *lines = check(config)
    assert receiver == "GSCO takes studies on 0.0.0.0, port 2762 with TLS, from CT1 (by its certificate)"
    made_out = "made out to 127.0.0.1, localhost, node, valid until"
    assert lines in [
        [f"receiver.tls: {made_out} {day}", f"archives.pacs.tls: {made_out} {day}", "audit.syslog.tls: shows no certificate"]
        for day in days
    ]  # fmt: skip


def test_everything_that_can_not_be_used_is_named_at_once(
    tmp_path: Path, authority: Authority, node: Certificate
) -> None:
    other, expired = authority.issue("other"), tmp_path / "expired.pem"
    renewed = [
        program("openssl", "openssl"),
        "x509",
        "-in",
        str(node.certificate),
        "-signkey",
        str(node.private_key),
    ]
    subprocess.run([*renewed, "-days", "-1", "-out", str(expired)], check=True, capture_output=True)
    mixed = tls(node.certificate, other.private_key, authority.certificate)
    config = load(
        tmp_path,
        f"receiver: {{tls: {tls(expired, node.private_key, authority.certificate)}, senders: [{{ae_title: CT1, addresses: [ct1]}}]}}\n"
        f"destinations: {{pacs: {{kind: dimse, ae_title: A, host: h, port: 1, tls: {mixed}}}}}\n"
        "dicomweb: {senders: [], tls: {certificate: missing.pem, private_key: missing.key}}\n"
        "routes: [{name: a, when: {tag: Modality, equals: CT}, specialists: [nothing], destinations: [pacs]}]",
    )
    with pytest.raises(ConfigError) as caught:
        check(config)
    for words, line in zip(
        [
            "No bundle 'nothing'",
            "receiver.senders: CT1: 'ct1' does not appear to be an IPv4 or IPv6 network",
            f"receiver.tls.certificate: {expired}: certificate has expired.",
            "is not the key of destinations.pacs.tls.certificate",
            f"dicomweb.tls.certificate: {tmp_path / 'missing.pem'}: No such file or directory.",
        ],
        str(caught.value).splitlines(),
        strict=True,
    ):
        assert words in line


def bundle_called(name: str, directory: Path, members: int = 1) -> None:
    (directory / "configs").mkdir(parents=True)
    metadata = {"name": name, "gsco": {"members": [{}] * (members - 1)}}
    (directory / "configs/metadata.json").write_text(json.dumps(metadata))


@pytest.mark.parametrize(
    ("names", "clash"),
    [
        ((("chest", 1), ("chest", 1)), "'chest'"),
        ((("chest", 2), ("chest.2", 1)), "'chest.2'"),
        ((("Chest X-ray", 1), ("Chest X-ray", 1)), ""),
        ((("chest", 2), ("chest.3", 1)), ""),
    ],
)
def test_two_bundles_of_a_route_must_not_speak_under_one_name(
    tmp_path: Path, names: tuple[tuple[str, int], ...], clash: str
) -> None:
    for directory, (name, members) in zip(("ours", "theirs"), names, strict=True):
        bundle_called(name, tmp_path / "models" / directory, members)
    config = load(
        tmp_path,
        "models: [models]\n"
        "destinations: {out: {kind: folder, path: out}}\n"
        "routes: [{name: a, when: {tag: Modality, equals: CT}, specialists: [ours, theirs], destinations: [out]}]",
    )
    if not clash:
        assert check(config)[0].startswith("route a: ours, theirs")
        return
    with pytest.raises(ConfigError, match=rf"models/ours and .*models/theirs both speak as {clash}"):
        check(config)
