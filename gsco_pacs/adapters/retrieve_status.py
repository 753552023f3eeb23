"""What the status of a C-FIND, C-MOVE or C-GET means (PS3.4 tables C.4-1, C.4-2, C.4-3 and PS3.7 annex C)."""

from pydicom import Dataset

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.domain.errors import GscoError, PeerBusyError, PeerUnavailableError, RejectedByPeerError

PENDING = (0xFF00, 0xFF01)

REMEDIES = {
    0x0122: "switch on Study Root Query/Retrieve there for our AE title",
    0x0124: "allow our AE title to ask and to fetch there",
    0xA801: "register our AE title there as a move destination, with the receiver's address and port",
}
_TRANSIENT = (0x0110, 0xFE00)
"""Processing failure, and cancelled by the archive: both may pass."""


def must_be_carried_out(peer: CalledPeer, answer: Dataset, what: str) -> None:
    """Raise what the final response of an archive means, unless it carried out ``what``, if only in part.

    A7xx (out of resources), 0110 and FE00 (cancelled) may pass; A8xx, A9xx, Cxxx, 0122 and 0124 need a person.
    """
    if "Status" not in answer:
        raise PeerUnavailableError(f"{peer} hung up or did not answer {what}.")
    error = _failure(peer, answer.Status, what)
    if error is not None:
        raise error


def _failure(peer: CalledPeer, status: int, what: str) -> GscoError | None:
    if status == 0x0000 or status >> 12 == 0xB:
        return None
    words = f"{peer} answered {what} with the status 0x{status:04X}"
    if status >> 8 == 0xA7 or status in _TRANSIENT:
        return PeerBusyError(f"{words}: it cannot do it at present.")
    return RejectedByPeerError(f"{words}: {REMEDIES.get(status, 'look into its log')}.")
