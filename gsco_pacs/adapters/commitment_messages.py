"""The data sets of the Storage Commitment Push Model (PS3.4 annex J) as our values, both ways."""

from collections.abc import Callable, Iterable

from pydicom import Dataset
from pynetdicom.events import Event

from gsco_pacs.adapters.dimse_service import Handler
from gsco_pacs.domain.commitment import PROCESSING_FAILURE, Named, Outcome
from gsco_pacs.domain.errors import BadObjectError, TransientError
from gsco_pacs.domain.study import valid_uid
from gsco_pacs.unreadable import UNREADABLE

_SUCCESS, _INVALID_ARGUMENT = 0x0000, 0x0115
ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event types of the result (PS3.4 section J.3.3)."""
REQUEST = 1
"""Action type of the request (PS3.4 section J.3.2)."""


def request_information(transaction_uid: str, named: Iterable[Named]) -> Dataset:
    """Action Information that asks for these objects."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_item(one) for one in named]
    return information


def read_request(information: Dataset) -> tuple[str, tuple[Named, ...]]:
    """The Transaction UID and the objects, each once; BadObjectError if it is not made as the standard demands."""
    try:
        named = tuple(dict.fromkeys(_named(item) for item in information.ReferencedSOPSequence))
        transaction_uid = _transaction(information)
    except UNREADABLE as error:
        raise BadObjectError("The request names no transaction or no objects.") from error
    if not named:
        raise BadObjectError("The request names no objects.")
    return transaction_uid, named


def outcome_information(outcome: Outcome) -> Dataset:
    """Event Information of a result."""
    information = Dataset()
    information.TransactionUID = outcome.transaction_uid
    if outcome.committed:
        information.ReferencedSOPSequence = [_item(one) for one in outcome.committed]
    if outcome.failed:
        information.FailedSOPSequence = [_item(one) for one in outcome.failed]
        for item, reason in zip(information.FailedSOPSequence, outcome.failed.values(), strict=True):
            item.FailureReason = reason
    return information


def read_outcome(information: Dataset) -> Outcome:
    """What a result says; BadObjectError if it is not made as the standard demands."""
    try:
        failed = {
            _named(item): int(item.FailureReason) for item in information.get("FailedSOPSequence") or ()
        }
        committed = tuple(_named(item) for item in information.get("ReferencedSOPSequence") or ())
        return Outcome(
            _transaction(information), tuple(one for one in committed if one not in failed), failed
        )
    except UNREADABLE as error:
        raise BadObjectError("The result names no transaction, or a failure without its reason.") from error


def on_event_report(keep: Callable[[Outcome], bool]) -> Handler:
    """Takes the results of our own requests; ``keep`` makes one durable and is False if we never asked."""

    def handler(event: Event) -> tuple[int, None]:
        try:
            return (_SUCCESS if keep(read_outcome(event.event_information)) else _INVALID_ARGUMENT), None
        except BadObjectError:
            return _INVALID_ARGUMENT, None
        except TransientError:
            return PROCESSING_FAILURE, None

    return handler


def _transaction(information: Dataset) -> str:
    return valid_uid(str(information.TransactionUID))


def _named(item: Dataset) -> Named:
    return Named(valid_uid(str(item.ReferencedSOPClassUID)), valid_uid(str(item.ReferencedSOPInstanceUID)))


def _item(named: Named) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = named.sop_class_uid
    item.ReferencedSOPInstanceUID = named.sop_instance_uid
    return item
