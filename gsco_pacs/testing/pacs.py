"""A PACS on loopback that records what it gets and misbehaves by script."""

import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import AllStoragePresentationContexts

from gsco_pacs.adapters.node_process import free_port

if TYPE_CHECKING:
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.transport import AssociationSocket

_VERIFICATION = "1.2.840.10008.1.1"
_STORAGE = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]


class HangUp(Enum):
    """How an association ends in the middle of a C-STORE."""

    ABORT = "abort"
    """With an A-ABORT, as a server that is shut down."""
    DROP = "drop"
    """The TCP connection is gone, as after a crash or a pulled cable."""


@dataclass(frozen=True)
class Answer:
    """What the PACS does about one C-STORE."""

    status: int | HangUp = 0x0000
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class Refusal:
    """An A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""

    result: int
    source: int
    reason: int


BUSY = Refusal(0x02, 0x03, 0x01)
"""Rejected-transient: temporary congestion."""
UNKNOWN_CALLER = Refusal(0x01, 0x01, 0x03)
"""Rejected-permanent: calling AE title not recognized."""


@dataclass(frozen=True)
class Arrival:
    """One C-STORE as it came over the wire, whatever was answered."""

    calling_ae: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes
    """Encoded, without preamble and file meta information."""
    answer: int | HangUp
    """What was sent back."""


class LoopbackPacs:
    """A Storage and Verification SCP on a free port; a context manager.

    ``answers`` are used up one for each C-STORE, ``refusals`` one for each association; after that all goes well.
    ``sop_classes`` limits what it takes, ``transfer_syntaxes`` how. With ``tls`` it takes TLS and nothing else.
    """

    def __init__(
        self,
        answers: Sequence[Answer] = (),
        refusals: Sequence[Refusal] = (),
        sop_classes: Sequence[str] = (),
        transfer_syntaxes: Sequence[str] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
        ae_title: str = "LOOPBACK",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.host = "127.0.0.1"
        self.port = 0
        self.arrivals: list[Arrival] = []
        self.associations = 0
        self._tls = tls
        self._answers = iter(answers)
        self._refusals = iter(refusals)
        self._lock = threading.Lock()
        self._ae = AE(ae_title=ae_title)
        self._ae.maximum_associations = 100
        self._ae.add_supported_context(_VERIFICATION)
        for sop_class in sop_classes or _STORAGE:
            self._ae.add_supported_context(sop_class, list(transfer_syntaxes))

    def __enter__(self) -> Self:
        self.port = free_port()
        self._ae.start_server(
            (self.host, self.port), block=False, evt_handlers=self._handlers(), ssl_context=self._tls
        )
        return self

    def _handlers(self) -> list[EventHandlerType]:
        return [(evt.EVT_REQUESTED, self._requested), (evt.EVT_C_STORE, self._c_store)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nobody may abort a connection on which nothing was asked for (PS3.8 table 9-10, state 2); a peer that has
        # only looked whether somebody listens ends it by itself.
        deadline = time.monotonic() + 1
        while self._has_silent_connections() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._ae.shutdown()

    def _has_silent_connections(self) -> bool:
        return any(a.dul.state_machine.current_state == "Sta2" for a in self._ae.active_associations)

    @property
    def taken(self) -> list[Arrival]:
        """The arrivals that were answered with success or a warning."""
        return [
            a for a in self.arrivals if isinstance(a.answer, int) and (a.answer == 0 or a.answer >> 12 == 0xB)
        ]

    def start_anew(self, answers: Sequence[Answer] = ()) -> None:
        """Forget what arrived, answer so from now on, and then take everything."""
        with self._lock:
            self.arrivals.clear()
            self._answers = iter(answers)

    def _requested(self, event: evt.Event) -> None:
        with self._lock:
            self.associations += 1
            refusal = next(self._refusals, None)
        if refusal is not None:
            event.assoc.acse.send_reject(refusal.result, refusal.source, refusal.reason)
            event.assoc.kill()

    def _c_store(self, event: evt.Event) -> int:
        with self._lock:
            answer = next(self._answers, Answer())
            self.arrivals.append(_arrival(event, answer))
        time.sleep(answer.delay_seconds)
        if isinstance(answer.status, int):
            return answer.status
        if answer.status is HangUp.ABORT:
            event.assoc.abort()
        else:
            cast("AssociationSocket", event.assoc.dul.socket).close()
        return 0x0000


def _arrival(event: evt.Event, answer: Answer) -> Arrival:
    request = cast("C_STORE", event.request)
    return Arrival(
        calling_ae=event.assoc.requestor.ae_title,
        sop_class_uid=str(request.AffectedSOPClassUID),
        sop_instance_uid=str(request.AffectedSOPInstanceUID),
        transfer_syntax_uid=event.context.transfer_syntax,
        data_set=event.encoded_dataset(include_meta=False),
        answer=answer.status,
    )
