"""A PACS on loopback that commits itself to what it took, by script: at once, later, on either side, or never."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from pydicom import Dataset, dcmread
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType

from gsco_pacs.adapters.commitment_messages import (
    ALL_COMMITTED,
    SOME_FAILED,
    outcome_information,
    read_request,
)
from gsco_pacs.adapters.dimse_service import COMMITMENT, COMMITMENT_INSTANCE
from gsco_pacs.domain.commitment import NO_SUCH_INSTANCE, Named, Outcome
from gsco_pacs.testing.pacs import LoopbackPacs

_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


@dataclass(frozen=True)
class Promise:
    """What the PACS does about one request for commitment."""

    on: Literal["same", "other", "never"] = "same"
    """The association on which it reports: the one that asked, or another that it opens."""
    status: int = 0x0000
    """Of the N-ACTION response."""
    denies: bool = False
    """Reports every object as one that it does not have."""


class CommittingPacs(LoopbackPacs):
    """A LoopbackPacs that is a Storage Commitment and a Query SCP too; ``promises`` are used up one for each request.

    ``report_to`` is the AE title and port of the node's receiver on loopback.
    """

    def __init__(
        self,
        promises: Sequence[Promise] = (),
        report_to: tuple[str, int] = ("GSCO", 0),
        *,
        commits: bool = True,
        finds: bool = True,
    ) -> None:
        super().__init__()
        self.asked: list[tuple[str, tuple[Named, ...]]] = []
        """Transaction UID and objects of every request."""
        self.statuses: list[int | None] = []
        """The node's answers to our reports, None for none."""
        self._promises = iter(promises)
        self._report_to = report_to
        if commits:
            self._ae.add_supported_context(COMMITMENT)
        if finds:
            self._ae.add_supported_context(_STUDY_ROOT_FIND)

    def _handlers(self) -> list[EventHandlerType]:
        return [*super()._handlers(), (evt.EVT_N_ACTION, self._n_action), (evt.EVT_C_FIND, self._c_find)]

    def _n_action(self, event: evt.Event) -> tuple[int, None]:
        transaction_uid, named = read_request(event.action_information)
        self.asked.append((transaction_uid, named))
        promise = next(self._promises, Promise())
        if promise.on != "never" and not promise.status:
            association = event.assoc if promise.on == "same" else None
            # The response to the request goes first.
            how = {"denies": promise.denies, "on": association}
            threading.Timer(0.1, self.report, (transaction_uid, named), how).start()
        return promise.status, None

    def report(
        self,
        transaction_uid: str,
        named: Sequence[Named],
        *,
        denies: bool = False,
        on: Association | None = None,
    ) -> None:
        """Report that all of ``named`` are kept, or none, on an association that is there or on one of our own."""
        outcome = Outcome(
            transaction_uid,
            () if denies else tuple(named),
            dict.fromkeys(named, NO_SUCH_INSTANCE) if denies else {},
        )
        association = on or self._call_back()
        kind = SOME_FAILED if denies else ALL_COMMITTED
        try:
            answer, _ = association.send_n_event_report(
                outcome_information(outcome), kind, COMMITMENT, COMMITMENT_INSTANCE
            )
        except RuntimeError:  # the node did not wait
            answer = Dataset()
        self.statuses.append(answer.get("Status"))
        if on is None:
            association.release()

    def _call_back(self) -> Association:
        ae = AE(self.ae_title)
        ae.acse_timeout = ae.dimse_timeout = 10
        ae.add_requested_context(COMMITMENT)
        called, port = self._report_to
        association = ae.associate(
            self.host, port, ae_title=called, ext_neg=[build_role(COMMITMENT, scp_role=True)]
        )
        assert association.is_established
        return association

    def _c_find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        wanted = event.identifier
        for arrival in self.taken:
            ds = dcmread(BytesIO(arrival.data_set), force=True)
            if wanted.QueryRetrieveLevel == "IMAGE" and wanted.SeriesInstanceUID == ds.SeriesInstanceUID:
                answer = Dataset()
                answer.SOPInstanceUID, answer.SOPClassUID = ds.SOPInstanceUID, ds.SOPClassUID
                yield 0xFF00, answer
        yield 0x0000, None
