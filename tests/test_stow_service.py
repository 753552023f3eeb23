"""STOW-RS into the node: a process of its own, spoken to by plain requests and by Orthanc."""

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RTPlanStorage

from gsco_pacs.adapters.audit import Audit, Received
from gsco_pacs.adapters.database import migrate
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.config import Config, load_config
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.processes.parts import open_database, store_dir
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.testing.private_process import listens, running
from gsco_pacs.testing.servers import OrthancServer

TOKEN = "a-long-token"
MULTIPART = 'multipart/related; type="application/dicom"; boundary=xyz'
LIMIT = 200_000


@dataclass(frozen=True)
class Node:
    """A running STOW-RS service and its record."""

    config: Config
    url: str
    audit: Audit

    def post(self, *files: bytes, path: str = "/studies", **changes: Any) -> httpx.Response:
        content = b"".join(
            b"--xyz\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n" for file in files
        )
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": MULTIPART,
            **changes.pop("headers", {}),
        }
        body = changes.pop("body", content + b"--xyz--\r\n")
        return httpx.post(self.url + path, content=body, headers=headers, timeout=30)

    def received(self, ds: Dataset) -> Received:
        """The row of an object, which follows its answer."""
        deadline = time.monotonic() + 20
        while True:
            try:
                rows = self.audit.study(str(ds.StudyInstanceUID)).received
                return next(row for row in rows if row.sop_instance_uid == ds.SOPInstanceUID)
            except (ConfigError, StopIteration):
                assert time.monotonic() < deadline
                time.sleep(0.05)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder, port = tmp_path_factory.mktemp("stow"), free_port()
    senders = [
        {
            "name": "WEB1",
            "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(),
            "addresses": ["127.0.0.0/8"],
        },
        {
            "name": "ELSEWHERE",
            "token_sha256": hashlib.sha256(b"far").hexdigest(),
            "addresses": ["10.0.0.0/8"],
        },
    ]
    content = {
        "state": "state",
        "receiver": {"reserve_bytes": 0},
        "dicomweb": {"port": port, "senders": senders, "maximum_instance_bytes": LIMIT, "silence_seconds": 1},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    config = load_config(file)
    migrate(config.database_url)
    serve = [sys.executable, "-m", "gsco_pacs", "--config", str(file), "dicomweb"]
    with running(serve, folder, lambda: listens(port)):
        yield Node(config, f"http://127.0.0.1:{port}", Audit(open_database(config)))


def uids(answer: httpx.Response, sequence: str) -> list[str]:
    ds = Dataset.from_json(answer.text)
    return [item.ReferencedSOPInstanceUID for item in ds.get(sequence, ())]


def reasons(answer: httpx.Response, sequence: str = "FailedSOPSequence") -> list[int]:
    return [item.FailureReason for item in Dataset.from_json(answer.text).get(sequence, ())]


def test_what_is_reported_as_stored_is_in_the_store_byte_for_byte_with_our_own_head(node: Node) -> None:
    images = [make_dx(study="stow", instance=str(n)) for n in range(3)]
    hostile_preamble = b"MZ" + encoded(images[0])[2:]
    answer = node.post(hostile_preamble, *(encoded(image) for image in images[1:]))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/dicom+json"
    assert uids(answer, "ReferencedSOPSequence") == [image.SOPInstanceUID for image in images]
    row = node.received(images[0])
    assert (row.calling_ae, row.called_ae, row.address) == ("WEB1", "STOW-RS", "127.0.0.1")
    stored = (store_dir(node.config) / row.path).read_bytes()
    assert stored[:128] == bytes(128)
    data_set = encoded(images[0])[-len(images[0].PixelData) - 500 :]
    assert stored.endswith(data_set)


def test_a_request_may_name_its_study_and_then_takes_no_other(node: Node) -> None:
    mine, other = make_dx(study="named"), make_dx(study="not named")
    answer = node.post(encoded(mine), encoded(other), path=f"/studies/{mine.StudyInstanceUID}")
    assert answer.status_code == 202
    assert uids(answer, "ReferencedSOPSequence") == [mine.SOPInstanceUID]
    assert uids(answer, "FailedSOPSequence") == [other.SOPInstanceUID]
    assert reasons(answer) == [0xA900]


def _relabelled(syntax: str) -> bytes:
    """A file whose head says that it is in ``syntax``."""
    ours = b"1.2.840.10008.1.2.1\0"
    return encoded(make_dx(study="refused")).replace(
        ours, syntax.encode().ljust(len(ours), b"\0")[: len(ours)], 1
    )


def test_each_object_that_is_not_taken_has_its_reason(node: Node) -> None:
    plan = make_dx(study="refused", SOPClassUID=RTPlanStorage)
    plan.file_meta.MediaStorageSOPClassUID = RTPlanStorage
    cut = encoded(make_dx(study="refused"))[:-100]
    uid = str(make_dx(study="refused").SOPInstanceUID).encode()
    mismatch = encoded(make_dx(study="refused")).replace(uid, uid[:-2] + b"12", 1)
    answer = node.post(encoded(plan), _relabelled(ExplicitVRBigEndian), cut, mismatch)
    assert answer.status_code == 409
    assert reasons(answer) == [0x0122, 0xC122, 0xC000, 0xA900]


def test_deflated_is_refused_and_what_is_no_file_is_told_without_identifiers(node: Node) -> None:
    ds = make_dx(study="refused")
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    answer = node.post(encoded(ds), b"no DICOM file at all", b"")
    assert answer.status_code == 409
    assert reasons(answer) == [0xC122]
    assert reasons(answer, "OtherFailuresSequence") == [0xC000, 0xC000]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 403),
        ({"Authorization": "Bearer far"}, 403),
        ({"Authorization": ""}, 403),
        ({"Accept": "application/dicom+xml"}, 406),
        ({"Content-Type": "application/dicom"}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Content-Type": 'multipart/related; type="application/json"; boundary=xyz'}, 400),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_before_anything_is_stored(
    node: Node, headers: dict[str, str], status: int
) -> None:
    image = make_dx(study=f"never {status}")
    assert node.post(encoded(image), headers=headers).status_code == status
    with pytest.raises(ConfigError):
        node.audit.study(str(image.StudyInstanceUID))


def test_without_a_token_the_answer_asks_for_one_and_the_record_names_the_address(node: Node) -> None:
    answer = httpx.post(f"{node.url}/studies", content=b"")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    newest = node.audit.refusals(1)[0]
    assert (newest.what, newest.address) == ("request", "127.0.0.1")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"--xyz--\r\n", 400),
        (b"garbage", 400),
        (b"--xyz\r\nContent-Type: application/dicom\r\n\r\nabc", 400),
        (b"--xyz\r\nContent-Type: text/html\r\n\r\nabc\r\n--xyz--\r\n", 400),
        (b"--xyz\r\n" + b"X-Many: headers\r\n" * 10_000 + b"\r\n", 400),
        (b"--xyz\r\nContent-Type: application/dicom\r\n\r\n" + bytes(LIMIT + 1), 413),
    ],
)
def test_a_message_that_is_badly_made_or_too_long_ends_with_its_status(
    node: Node, body: bytes, status: int
) -> None:
    assert node.post(body=body).status_code == status


def test_a_sender_that_falls_silent_is_let_go(node: Node) -> None:
    def slowly() -> Iterator[bytes]:
        yield b"--xyz\r\n"
        time.sleep(2.5)
        yield b"Content-Type: application/dicom\r\n\r\n"

    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": MULTIPART}
    with suppress(httpx.TransportError):  # the answer came while the sender still spoke
        assert httpx.post(f"{node.url}/studies", content=slowly(), headers=headers).status_code == 408
    assert node.post(encoded(make_dx(study="after silence"))).status_code == 200


def test_orthanc_stores_by_its_dicomweb_client(node: Node, orthanc: OrthancServer) -> None:
    image = make_dx(study="from orthanc")
    made = httpx.post(f"{orthanc.url}/instances", content=encoded(image)).raise_for_status().json()
    server = {"Url": f"{node.url}/", "HttpHeaders": {"Authorization": f"Bearer {TOKEN}"}}
    httpx.put(f"{orthanc.url}/dicom-web/servers/node", json=server).raise_for_status()
    sent = httpx.post(
        f"{orthanc.url}/dicom-web/servers/node/stow",
        json={"Resources": [made["ID"]], "Synchronous": True},
        timeout=30,
    )
    assert sent.is_success, sent.text
    assert node.received(image).calling_ae == "WEB1"


def test_a_sender_is_told_from_others_by_token_or_address() -> None:
    with pytest.raises(ValueError, match="give token_sha256 or addresses"):
        Config(dicomweb={"senders": [{"name": "ANYBODY"}]})
