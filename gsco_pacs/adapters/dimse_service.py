"""What the node serves beside C-ECHO and C-STORE: DIMSE-N operations on a SOP class, each with its handler.

A service lives in a module of its own, which makes a ``Service``; processes/receiver.py hands them to the StorageScp.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import cast

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION, N_CREATE, N_EVENT_REPORT, N_SET, DIMSEPrimitive
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass
from pynetdicom.sop_class import uid_to_service_class

from gsco_pacs.domain.study import Peer

COMMITMENT = UID("1.2.840.10008.1.20.1")
"""Storage Commitment Push Model SOP Class (PS3.4 annex J)."""
COMMITMENT_INSTANCE = UID("1.2.840.10008.1.20.1.1")
"""Its well-known SOP Instance."""

Operation = type[DIMSEPrimitive]
Handler = Callable[[Event], tuple[int | Dataset, Dataset | None]]
"""Answers one request with its status and, where the operation has one, a data set. It runs in the association's
thread; the peer gets its answer when it returns, and 0x0110 if it raises. ``peer_of(event.assoc)`` says who asks."""

EVENTS: Mapping[Operation, evt.InterventionEvent] = {
    N_ACTION: evt.EVT_N_ACTION,
    N_EVENT_REPORT: evt.EVT_N_EVENT_REPORT,
    N_CREATE: evt.EVT_N_CREATE,
    N_SET: evt.EVT_N_SET,
}


@dataclass(frozen=True)
class Service:
    """One SOP class and the operations on it that a peer may ask of the node."""

    sop_class_uid: str
    operations: Mapping[Operation, Handler]
    both_roles: bool = False
    """Whether the peer may be the SCP instead, as a PACS is that opens an association for its event reports (PS3.7 D.3.3.4)."""

    @property
    def context(self) -> PresentationContext:
        """The presentation context for the accepting side."""
        context = build_context(self.sop_class_uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        if self.both_roles:
            context.scu_role = context.scp_role = True
        return context


class Operations:
    """All services of a receiver, and who serves which request."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.contexts = [service.context for service in services]
        self._handlers = {
            (service.sop_class_uid, operation): handler
            for service in services
            for operation, handler in service.operations.items()
        }

    def service_class(
        self, operation: Operation, context: PresentationContext | None
    ) -> type[ServiceClass] | None:
        """The half of the service that is pynetdicom's, which reads the request and sends the response; None if nobody serves it."""
        sop_class = cast(UID, context.abstract_syntax) if context else ""
        return uid_to_service_class(sop_class) if (sop_class, operation) in self._handlers else None

    def serve(self, event: Event) -> tuple[int | Dataset, Dataset | None]:
        """Let the service that owns the operation answer it."""
        return self._handlers[event.context.abstract_syntax, type(event.request)](event)


def peer_of(association: Association) -> Peer:
    """Who asked for an association; an IPv4 address on an IPv6 socket is given as IPv4."""
    request = cast(A_ASSOCIATE, association.requestor.primitive)
    address = _unmapped(association.requestor.address)
    return Peer(request.calling_ae_title.strip(), request.called_ae_title.strip(), address)


@lru_cache(maxsize=256)
def _unmapped(address: str) -> str:
    read = ip_address(address)
    return str((read.ipv4_mapped if isinstance(read, IPv6Address) else None) or read)
