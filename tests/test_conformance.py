"""The conformance statement says what the node negotiates: it is read back and tried out, word for word."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role
from pynetdicom.association import Association

from gsco_pacs.adapters.database import open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.config import Config, load_config
from gsco_pacs.processes.commands import state_conformance
from gsco_pacs.processes.services import services

SETTINGS = """
receiver:
  ae_title: WARD
  host: 127.0.0.1
  port: 0
  maximum_pdu: 65536
  senders: [{ae_title: CT1, addresses: [127.0.0.1]}]
destinations:
  archive: {kind: dimse, ae_title: ARCHIVE, host: 10.1.2.3, port: 104, objects: [narrative, segmentation], confirm: {}}
  web: {kind: dicomweb, url: "https://pacs.example/dicom-web"}
archives:
  priors: {kind: dimse, ae_title: PRIORS, host: 10.1.2.4, port: 104, retrieve: get}
"""
EVERY_SYNTAX = [
    *map(UID, ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5")),
    *(UID(f"1.2.840.10008.1.2.4.{n}") for n in (50, 51, 57, 70, 80, 81, 90, 91, 92, 93, 94, 95, 100, 102, 201, 202, 203)),
]  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    file = tmp_path_factory.mktemp("ward") / "config.yaml"
    file.write_text(SETTINGS)
    return load_config(file)


@pytest.fixture(scope="module")
def statement(config: Config) -> str:
    return state_conformance(config)


@pytest.fixture(scope="module")
def scp(config: Config) -> Iterator[StorageScp]:
    database = Database(open_engine("sqlite://"))
    node = StorageScp(
        config.receiver, lambda _: None, lambda _: None, services(config, database, lambda _: None)
    )
    node.start()
    yield node
    node.stop()


def table(statement: str, heading: str) -> list[list[str]]:
    """The rows of the table whose head begins with ``heading``."""
    block = re.search(rf"^\| {re.escape(heading)}.*\n\|[-|]+\n((?:\|.*\n)+)", statement, re.MULTILINE)
    assert block, heading
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in block[1].splitlines()]


def storage(statement: str) -> set[str]:
    return {uid for _, uid, _ in table(statement, "SOP Class | UID | What is done")}


def accepted(
    scp: StorageScp, proposed: list[tuple[str, list[UID]]], roles: tuple[str, ...] = ()
) -> Association:
    ae = AE("CT1")
    contexts = [build_context(sop_class, [*syntaxes]) for sop_class, syntaxes in proposed]
    negotiated = [build_role(uid, scp_role=True) for uid in roles]
    association = ae.associate("127.0.0.1", scp.port, contexts, ae_title="WARD", ext_neg=list(negotiated))
    association.release()
    return association


def test_every_storage_class_is_taken_in_every_transfer_syntax_that_is_stated_and_in_no_other(
    scp: StorageScp, statement: str
) -> None:
    stated = {(sop_class, syntax) for sop_class in storage(statement) - {"1.2.840.10008.1.1"}
              for _, syntax in table(statement, "Transfer Syntax | UID")}  # fmt: skip
    known = sorted({str(context.abstract_syntax) for context in AllStoragePresentationContexts})
    pairs = [(sop_class, [syntax]) for sop_class in known for syntax in EVERY_SYNTAX]
    taken = {
        (str(context.abstract_syntax), str(context.transfer_syntax[0]))
        for start in range(0, len(pairs), 128)
        for context in accepted(scp, pairs[start : start + 128]).accepted_contexts
    }
    assert taken == stated


def test_of_several_transfer_syntaxes_the_first_in_the_stated_order_is_taken(
    scp: StorageScp, statement: str
) -> None:
    order = [UID(syntax) for _, syntax in table(statement, "Transfer Syntax | UID")]
    ct = "1.2.840.10008.5.1.4.1.1.2"
    for first, second in pairwise(order):
        (context,) = accepted(scp, [(ct, [second, first])]).accepted_contexts
        assert context.transfer_syntax == [first]


def test_every_other_service_is_negotiated_in_the_stated_role(scp: StorageScp, statement: str) -> None:
    rows = table(statement, "SOP Class | UID | Role of the node")
    assert rows
    little_endian = [UID("1.2.840.10008.1.2.1"), UID("1.2.840.10008.1.2")]
    for _, sop_class, role, _ in rows:
        as_scp = accepted(scp, [(sop_class, little_endian)], (sop_class,)).accepted_contexts[0].as_scp
        assert as_scp == (role in {"SCU", "both"}), sop_class


def test_the_association_says_what_the_statement_says_of_it(scp: StorageScp, statement: str) -> None:
    said = dict(row for row in table(statement, "| |") if len(row) == 2)
    acceptor = accepted(scp, [("1.2.840.10008.1.1", [UID("1.2.840.10008.1.2")])]).acceptor
    assert said["Maximum PDU length offered"] == f"{acceptor.maximum_length} bytes"
    assert said["Implementation Class UID"] == str(acceptor.implementation_class_uid)
    assert said["Implementation Version Name"] == acceptor.implementation_version_name


def test_the_overview_has_a_row_for_whatever_is_negotiated_in_either_direction(statement: str) -> None:
    overview = {uid: (scu, scp) for _, uid, scu, scp in table(statement, "SOP Class | UID | User (SCU)")}
    assert storage(statement) <= overview.keys()
    assert overview["1.2.840.10008.5.1.4.1.1.88.22"][0] == "yes"  # Enhanced SR: narrative
    assert overview["1.2.840.10008.5.1.4.1.1.88.34"][0] == "no"  # Comprehensive 3D SR is not sent here
    assert overview["1.2.840.10008.5.1.4.1.1.66.4"][0] == "yes"
    assert overview["1.2.840.10008.1.20.1"][0] == "yes"
    assert overview["1.2.840.10008.5.1.4.1.2.2.3"][0] == "yes"
    assert "1.2.840.10008.5.1.4.1.2.2.2" not in overview  # nobody is asked to move anything


def test_peers_stand_in_it_as_they_are_configured(statement: str) -> None:
    assert "CT1 from 127.0.0.1" in statement
    assert "ARCHIVE at 10.1.2.3:104" in statement
    assert "user agent of web" in statement


def test_a_bar_in_an_ae_title_ends_no_cell(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("receiver: {ae_title: 'A|B'}")
    assert "| AE title | A\\|B |" in state_conformance(load_config(tmp_path / "config.yaml"))
