"""Services beside C-STORE: the receiver hands DIMSE-N requests to whoever owns the SOP class."""

import threading
from collections.abc import Iterator
from typing import cast

import pytest
from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION, N_CREATE, N_EVENT_REPORT, N_SET
from pynetdicom.events import Event

from gsco_pacs.adapters.dimse_service import COMMITMENT, COMMITMENT_INSTANCE, Service, peer_of
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.adapters.upper_layer import PromptAssociation
from gsco_pacs.settings.receiver import Receiver, Sender

Verification = "1.2.840.10008.1.1"
ModalityPerformedProcedureStep = "1.2.840.10008.3.1.2.3.3"


class Owner:
    """Owns two SOP classes and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.associations: list[PromptAssociation] = []

    def services(self) -> tuple[Service, ...]:
        commitment = {N_ACTION: self.act, N_EVENT_REPORT: self.note}
        return (
            Service(COMMITMENT, commitment, both_roles=True),
            Service(ModalityPerformedProcedureStep, {N_CREATE: self.note, N_SET: self.fail}),
        )

    def act(self, event: Event) -> tuple[int, None]:
        self.associations.append(cast(PromptAssociation, event.assoc))
        return self.note(event)[0], None

    def note(self, event: Event) -> tuple[int, Dataset | None]:
        peer = peer_of(event.assoc)
        self.asked.append((type(event.request).__name__, peer.calling_ae, peer.address))
        return 0x0000, None

    def fail(self, _: Event) -> tuple[int, None]:
        raise RuntimeError


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def scp(owner: Owner) -> Iterator[StorageScp]:
    settings = Receiver(host="127.0.0.1", port=0, senders=(Sender(ae_title="PEER"),))
    scp = StorageScp(settings, lambda _: None, lambda _: None, owner.services())
    scp.start()
    yield scp
    scp.stop()


def associate(scp: StorageScp, sop_class: str, **extra: object) -> Association:
    ae = AE("PEER")
    ae.acse_timeout = ae.dimse_timeout = 10
    ae.add_requested_context(sop_class)
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", scp.port, ae_title="GSCO", **extra)  # type: ignore[arg-type]
    assert association.is_established
    return association


def transaction() -> Dataset:
    content = Dataset()
    content.TransactionUID = "1.2.3"
    return content


def ask_for_commitment(association: Association) -> int:
    answer, _ = association.send_n_action(transaction(), 1, COMMITMENT, COMMITMENT_INSTANCE)
    return int(answer.Status)


def test_each_operation_reaches_the_owner_of_its_sop_class_with_the_peer(
    scp: StorageScp, owner: Owner
) -> None:
    association = associate(scp, COMMITMENT)
    assert ask_for_commitment(association) == 0x0000
    association.release()
    association = associate(scp, ModalityPerformedProcedureStep)
    answer, _ = association.send_n_create(transaction(), ModalityPerformedProcedureStep, "1.2.4")
    assert answer.Status == 0x0000
    association.release()
    assert owner.asked == [("N_ACTION", "PEER", "127.0.0.1"), ("N_CREATE", "PEER", "127.0.0.1")]


def test_a_handler_that_fails_is_a_processing_failure_and_the_association_goes_on(scp: StorageScp) -> None:
    association = associate(scp, ModalityPerformedProcedureStep)
    answer, _ = association.send_n_set(transaction(), ModalityPerformedProcedureStep, "1.2.4")
    assert answer.Status == 0x0110
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_an_operation_that_nobody_owns_ends_the_association_and_the_next_one_is_served(
    scp: StorageScp, owner: Owner
) -> None:
    association = associate(scp, ModalityPerformedProcedureStep)
    answer, _ = association.send_n_get([], ModalityPerformedProcedureStep, "1.2.4")
    assert "Status" not in answer
    association = associate(scp, COMMITMENT)
    answer, _ = association.send_n_create(transaction(), COMMITMENT, "1.2.4")
    assert "Status" not in answer
    assert ask_for_commitment(associate(scp, COMMITMENT)) == 0x0000
    assert owner.asked == [("N_ACTION", "PEER", "127.0.0.1")]


def test_a_peer_that_opens_an_association_as_scp_delivers_its_event_report(
    scp: StorageScp, owner: Owner
) -> None:
    role = build_role(COMMITMENT, scp_role=True)
    association = associate(scp, COMMITMENT, ext_neg=[role])
    context = next(c for c in association.accepted_contexts if c.abstract_syntax == COMMITMENT)
    assert (context.as_scu, context.as_scp) == (False, True)
    answer, _ = association.send_n_event_report(transaction(), 1, COMMITMENT, COMMITMENT_INSTANCE)
    assert answer.Status == 0x0000
    association.release()
    assert owner.asked == [("N_EVENT_REPORT", "PEER", "127.0.0.1")]


def event_report() -> N_EVENT_REPORT:
    event = N_EVENT_REPORT()
    event.AffectedSOPClassUID = COMMITMENT
    event.AffectedSOPInstanceUID = COMMITMENT_INSTANCE
    event.EventTypeID = 1
    return event


def test_the_node_reports_on_the_association_that_asked_until_it_is_over(
    scp: StorageScp, owner: Owner
) -> None:
    got: list[int] = []

    def on_report(event: Event) -> tuple[int, None]:
        got.append(cast(int, event.event_type))
        return 0x0000, None

    association = associate(scp, COMMITMENT, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)])
    ask_for_commitment(association)
    answered = threading.Event()
    statuses: list[int] = []

    def on_status(status: int) -> None:
        statuses.append(status)
        answered.set()

    assert owner.associations[0].report(event_report(), on_status)
    assert answered.wait(10)
    assert (got, statuses) == ([1], [0x0000])
    assert association.send_c_echo().Status == 0x0000
    association.release()
    owner.associations[0].join(10)
    assert not owner.associations[0].report(event_report(), on_status)
