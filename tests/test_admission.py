"""User identity, limits and refusals at the gate: what is said to the peer, and what the administrator is told."""

import struct
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from gsco_pacs.adapters.refusal_desk import RefusalDesk
from gsco_pacs.adapters.user_identity import hash_passcode
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.incoming import Alert, Refusal
from gsco_pacs.domain.study import Peer
from gsco_pacs.settings.receiver import Limits, Sender, User
from gsco_pacs.testing.phantoms import make_ct
from tests.test_receiver_tls import Hospital, associate
from tests.test_storage_scp import Node, c_store, rejection, wire
from tests.waiting import eventually

NO_REASON, LOCAL_LIMIT = (1, 2, 1), (2, 3, 2)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    return Hospital(tmp_path_factory.mktemp("hospital"))


@pytest.fixture
def start(tmp_path: Path, hospital: Hospital) -> Iterator[Callable[..., Node]]:
    nodes: list[Node] = []

    def started(**settings: Any) -> Node:
        users = (User(name="ward", passcode=hash_passcode("secret")),)
        given: dict[str, Any] = {"tls": hospital.server(), "users": users} | settings
        nodes.append(Node(tmp_path, **given))
        nodes[-1].scp.start()
        return nodes[-1]

    yield started
    for node in nodes:
        node.scp.stop()


def identity(kind: int, name: str, passcode: str = "", *, respond: bool = True) -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type, item.primary_field = kind, name.encode()
    item.secondary_field = passcode.encode()
    item.positive_response_requested = respond
    return item


def as_user(
    node: Node, hospital: Hospital, item: UserIdentityNegotiation | None, *, plain: bool = False
) -> Association:
    context = None if plain else hospital.client(hospital.modality)
    return associate(node, context, ext_neg=[item] if item else [])


def test_a_user_with_the_right_passcode_gets_in_and_a_positive_response_if_he_asked(
    start: Callable[..., Node], hospital: Hospital
) -> None:
    node = start(senders=[Sender(ae_title="MODALITY", users=("ward",))])
    for respond in (True, False):
        association = as_user(node, hospital, identity(2, "ward", "secret", respond=respond))
        assert association.send_c_echo().Status == 0x0000
        response = association.acceptor.user_identity
        assert (response is not None and response.server_response == b"") is respond
        association.release()


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (identity(2, "ward", "wrong"), "user name or passcode are wrong"),
        (identity(2, "nobody", "secret"), "user name or passcode are wrong"),
        (identity(3, "ticket"), "Kerberos"),
        (identity(4, "assertion"), "SAML"),
        (identity(5, "token"), "JSON web token"),
        (identity(1, "ward"), "with the passcode"),
        (None, "with the passcode"),
    ],
    ids=["passcode", "name", "kerberos", "saml", "jwt", "name only", "none"],
)
def test_who_does_not_prove_his_identity_is_rejected_and_recorded(
    start: Callable[..., Node], hospital: Hospital, item: UserIdentityNegotiation | None, why: str
) -> None:
    node = start(senders=[Sender(ae_title="MODALITY", users=("ward",))])
    assert rejection(as_user(node, hospital, item)) == NO_REASON
    assert why in node.refusals[0].reason
    assert "secret" not in node.refusals[0].reason
    assert node.refusals[0].alert is Alert.NODE_AUTHENTICATION


def test_a_passcode_without_tls_is_rejected_even_if_it_is_right(
    start: Callable[..., Node], hospital: Hospital
) -> None:
    node = start()
    assert rejection(as_user(node, hospital, identity(2, "ward", "secret"), plain=True)) == NO_REASON
    assert "without TLS" in node.refusals[0].reason
    assert as_user(node, hospital, identity(1, "ward"), plain=True).is_established


def test_a_passcode_in_clear_in_the_configuration_is_a_mistake(start: Callable[..., Node]) -> None:
    with pytest.raises(ConfigError, match="gsco-pacs passcode"):
        start(users=(User(name="ward", passcode="secret"),))


def test_a_sender_may_be_kept_to_some_called_titles(start: Callable[..., Node]) -> None:
    senders = [Sender(ae_title="MODALITY", calls=("RESEARCH",))]
    node = start(further_ae_titles=("RESEARCH",), senders=senders)
    assert rejection(associate(node, None)) == (1, 1, 7)
    assert "'calls'" in node.refusals[0].reason


def test_one_peer_has_only_so_many_associations(start: Callable[..., Node]) -> None:
    senders = [Sender(ae_title="MODALITY"), Sender(ae_title="OTHER")]
    node = start(limits=Limits(associations_per_peer=2), senders=senders)
    held = [associate(node, None) for _ in range(2)]
    assert rejection(associate(node, None)) == LOCAL_LIMIT
    assert associate(node, None, "OTHER").is_established
    assert node.refusals[0].alert is Alert.RESTRICTED_FUNCTION
    held[0].release()
    assert eventually(lambda: associate(node, None).is_established)


@pytest.mark.parametrize("limit", [{"objects_per_association": 2}, {"bytes_per_association": 1_100_000}])
def test_an_association_that_brings_too_much_is_aborted_and_keeps_what_was_acknowledged(
    start: Callable[..., Node], limit: dict[str, int]
) -> None:
    node = start(limits=Limits(**limit))
    association = associate(node, None)
    for number in (1, 2):
        assert c_store(association, make_ct(rows=512, columns=512, slice_number=number)).Status == 0x0000
    association.send_c_store(make_ct(rows=512, columns=512, slice_number=3))
    assert eventually(lambda: association.is_aborted)
    assert len(node.files()) == 2
    assert next(iter(limit)) in node.refusals[0].reason
    assert associate(node, None).is_established


def test_an_association_is_ended_after_its_time_busy_or_not(start: Callable[..., Node]) -> None:
    node = start(limits=Limits(association_seconds=1))
    association = associate(node, None)
    association.dimse_timeout = 1  # the answer to the last request may never come
    began = time.monotonic()
    while association.is_established and time.monotonic() < began + 10:
        association.send_c_echo()
    assert eventually(lambda: association.is_aborted)
    assert time.monotonic() - began < 5
    assert "association_seconds" in node.refusals[0].reason


def test_a_peer_that_sends_a_byte_now_and_then_is_ended(start: Callable[..., Node]) -> None:
    node = start(idle_seconds=1)
    connection = wire(associate(node, None))
    connection.sendall(struct.pack(">BxLLBB", 4, 1000, 996, 3, 0))
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            connection.sendall(b"\0")
        except OSError:
            break
        time.sleep(0.2)
    assert time.monotonic() < until
    assert eventually(lambda: not node.scp._ae.active_associations)


# Refusals


def peer(number: int = 1, title: str = "A") -> Peer:
    return Peer(title, "GSCO", f"10.0.0.{number}")


def test_equal_refusals_of_a_minute_are_told_once_and_then_counted() -> None:
    told: list[Refusal] = []
    now = 0.0
    desk = RefusalDesk(told.append, 5, lambda: now)
    for _ in range(99):
        desk.tell(Refusal(peer(), "association", "unknown"))
    last = Refusal(peer(), "association", "unknown", at=datetime.now(UTC) + timedelta(seconds=5))
    desk.tell(last)
    desk.flush()
    assert [refusal.times for refusal in told] == [1]
    now = 61.0
    desk.flush()
    assert [refusal.times for refusal in told] == [1, 99]
    assert told[1].at == last.at  # and not the time at which they were counted
    desk.tell(Refusal(peer(), "association", "unknown"))
    assert sum(refusal.times for refusal in told) == 101


def test_an_address_that_changes_its_title_each_time_gets_no_more_lines_than_allowed() -> None:
    told: list[Refusal] = []
    desk = RefusalDesk(told.append, 5)
    for number in range(1000):
        desk.tell(Refusal(peer(title=f"T{number}"), "association", "unknown"))
    desk.tell(Refusal(peer(2), "association", "unknown"))
    desk.flush(everything=True)
    assert len(told) == 8
    assert sum(refusal.times for refusal in told) == 1001
    assert told[-1].times == 994
