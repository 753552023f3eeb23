"""Hostile inputs: by the thousand over the wire, and hypothesis on the parts that read a peer's bytes."""

from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from gsco_pacs.adapters.c_store import command_elements
from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.domain.encoded import top_level_elements
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.part10 import part10_head
from gsco_pacs.domain.study import Instance, Peer, StoredFile
from gsco_pacs.intake import HEADER
from gsco_pacs.ports import InputContract
from gsco_pacs.sr.key_objects import key_images
from gsco_pacs.steps.differ import differ
from gsco_pacs.steps.prepare import prepare
from gsco_pacs.steps.receive import receive
from gsco_pacs.testing.fuzz_target import Inspection, Target
from gsco_pacs.testing.fuzzing import fuzz, fuzz_table
from gsco_pacs.testing.hostile_attacks import Attacks
from gsco_pacs.testing.hostile_commands import c_store, hostile_command
from gsco_pacs.testing.hostile_data_sets import Seed, hostile_data_set, odd_files, seeds
from gsco_pacs.testing.hostile_peer import HostilePeer


def test_two_thousand_hostile_inputs_harm_nothing(tmp_path: Path) -> None:
    campaign = fuzz(tmp_path, range(2100))
    assert campaign.faults == (), fuzz_table(campaign)
    assert sum(len(outcome.acknowledged) for outcome in campaign.outcomes) > 100
    assert {"stored", "refused", "answered", "aborted", "rejected"} <= {o.ended for o in campaign.outcomes}


def test_the_campaign_notices_what_is_lost_left_over_or_logged(tmp_path: Path) -> None:
    target, attacks = Target(tmp_path), Attacks(1, [])
    with target.running():
        inspection, peer = Inspection(target), HostilePeer(target.port, 30)
        outcomes = [peer.play(attacks[number]) for number in range(25)]
        peer.close()
        assert list(inspection.faults(outcomes)) == []
        acknowledged = next(o.attack for o in outcomes if o.acknowledged)
        (target.store / acknowledged.sha256[:2] / f"{acknowledged.sha256}.dcm").write_bytes(b"other")
        (next((target.store / "inbox").iterdir()) / "left.part").touch()
        (target.store / "00" / "unknown.dcm").touch()
        with target.log.open("a") as log:
            log.write("Traceback (most recent call last):\n")
        unfiled, lost, unknown, logged = inspection.faults(outcomes)
    assert "not what its row says" in lost
    assert "inbox" in unfiled
    assert "the ledger knows" in unknown
    assert "In the log" in logged


def test_an_input_is_the_same_whenever_its_number_is_played() -> None:
    once, again, other = Attacks(1, []), Attacks(1, []), Attacks(2, [])
    assert [once[number] for number in range(0, 600, 7)] == [again[number] for number in range(0, 600, 7)]
    assert once[0] != other[0]


@pytest.fixture(scope="module")
def start_from() -> Sequence[Seed]:
    return seeds([odd_files()])


def received(
    start_from: Sequence[Seed], store: FileStore, number: int, which: int
) -> tuple[Seed, bytes, Instance]:
    """A file to start from, what became of it, and the instance that was stored; BadObjectError if it was refused."""
    rng, seed = Random(number), start_from[which % len(start_from)]
    _, data_set = hostile_data_set(rng, seed, rng.choice(start_from))
    peer = Peer("A", "B", "::1")
    incoming = Incoming(seed.sop_class_uid, seed.sop_instance_uid, seed.transfer_syntax_uid, data_set, peer)
    return seed, data_set, receive(incoming, store, HEADER)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(min_value=0), which=st.integers(min_value=0))
def test_a_data_set_is_stored_as_it_came_or_refused_with_a_reason(
    start_from: Sequence[Seed], tmp_path: Path, number: int, which: int
) -> None:
    store = FileStore(tmp_path / "store", reserve_bytes=0)
    try:
        _, data_set, instance = received(start_from, store, number, which)
    except BadObjectError:
        return
    assert store.path_of(instance).read_bytes().endswith(data_set)
    assert all(isinstance(value, str | list) for value in instance.header.values())


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(min_value=0), which=st.integers(min_value=0))
def test_whoever_reads_a_stored_file_again_gets_it_or_a_bad_object(
    start_from: Sequence[Seed], tmp_path: Path, number: int, which: int
) -> None:
    store = FileStore(tmp_path / "store", reserve_bytes=0)
    try:
        seed, _, instance = received(start_from, store, number, which)
    except BadObjectError:
        return  # it was refused, so nobody will read it
    former, newer = tmp_path / "former.dcm", store.path_of(instance)
    former.write_bytes(_head(seed) + seed.data_set)
    key_images([former, newer])
    with suppress(BadObjectError):
        differ(former, newer)
    stored = StoredFile(
        Instance(
            "1.2", "1.3", seed.sop_instance_uid, seed.sop_class_uid, seed.transfer_syntax_uid, "", 0, ""
        ),
        newer,
    )
    prepare([stored], InputContract((), (), (), (), min_rows=1, min_columns=1, max_images=4))


@settings(max_examples=300)
@given(content=st.binary(max_size=200), explicit=st.booleans())
def test_bytes_that_are_no_data_set_are_a_bad_object_and_nothing_worse(
    content: bytes, explicit: bool
) -> None:
    try:
        found = top_level_elements(content, explicit=explicit, wanted=range(1 << 32))
    except BadObjectError:
        return
    assert all(tag >= 0x00080000 for tag in found)


def test_every_element_of_a_whole_object_is_found_as_pydicom_finds_it(start_from: Sequence[Seed]) -> None:
    for seed in start_from[:22]:
        implicit = seed.transfer_syntax_uid == ImplicitVRLittleEndian
        found = top_level_elements(seed.data_set, explicit=not implicit, wanted=range(1 << 32))
        ds = dcmread(BytesIO(_head(seed) + seed.data_set))
        assert list(found) == [int(element.tag) for element in ds]


def _head(seed: Seed) -> bytes:
    return part10_head(seed.sop_class_uid, seed.sop_instance_uid, seed.transfer_syntax_uid)


@settings(max_examples=300)
@given(number=st.integers(min_value=0))
def test_a_command_is_read_or_refused(number: int) -> None:
    _, command = hostile_command(Random(number), c_store("1.2.840.10008.5.1.4.1.1.2", "1.2.3"))
    try:
        elements = command_elements(command)
    except BadObjectError:
        return
    assert sum(len(value) + 8 for value in elements.values()) <= len(command)
