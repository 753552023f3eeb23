"""Modality Performed Procedure Step and Instance Availability Notification as SCP (PS3.4 annexes F.7 and R)."""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, cast

from pydicom import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom.dimse_primitives import N_CREATE, N_SET
from pynetdicom.events import Event

from gsco_pacs.adapters.announcements import Announcements, Taken
from gsco_pacs.adapters.dimse_service import Service, peer_of
from gsco_pacs.adapters.transfer_syntaxes import storage_sop_classes
from gsco_pacs.domain.completeness import Announcement, Step
from gsco_pacs.domain.errors import BadUidError, TransientError
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.domain.study import valid_uid

log = logging.getLogger(__name__)

MPPS = UID("1.2.840.10008.3.1.2.3.3")
"""Modality Performed Procedure Step SOP Class."""
AVAILABILITY = UID("1.2.840.10008.5.1.4.33")
"""Instance Availability Notification SOP Class."""

_SUCCESS = 0x0000
_INVALID_VALUE, _PROCESSING_FAILURE, _DUPLICATE, _NO_SUCH_INSTANCE = 0x0106, 0x0110, 0x0111, 0x0112
_INVALID_INSTANCE, _MISSING_ATTRIBUTE, _MISSING_VALUE, _NO_RESOURCES = 0x0117, 0x0120, 0x0121, 0x0213
_NO_LONGER_UPDATED = 0xA710
"""Error ID of a step that is finished (PS3.4 F.7.2.2.2)."""
_TAKEN = frozenset(storage_sop_classes())

Answer = tuple[int | Dataset, Dataset | None]


class _RefusedError(Exception):
    """A status of PS3.7 annex C, with a comment that holds no patient data."""

    def __init__(self, status: int, comment: str, error_id: int | None = None) -> None:
        super().__init__(f"0x{status:04X}: {comment}")
        self.answer = Dataset()
        self.answer.Status, self.answer.ErrorComment = status, comment[:64]
        if error_id is not None:
            self.answer.ErrorID = error_id


class AnnouncementScp:
    """The two services; success is answered when the announcement is durable, and every refusal is told."""

    def __init__(self, announcements: Announcements, on_refusal: Callable[[Refusal], None]) -> None:
        self._announcements = announcements
        self._on_refusal = on_refusal

    def services(self) -> tuple[Service, Service]:
        """What the receiver offers beside storage."""
        mpps = {
            N_CREATE: partial(self._answer, self._step_created),
            N_SET: partial(self._answer, self._changed),
        }
        return Service(MPPS, mpps), Service(AVAILABILITY, {N_CREATE: partial(self._answer, self._notified)})

    def _answer(self, serve: Callable[[Event], Dataset | None], event: Event) -> Answer:
        try:
            return _SUCCESS, serve(event)
        except _RefusedError as error:
            refused = error
        except BadUidError:
            refused = _RefusedError(_INVALID_INSTANCE, "A UID is not valid (PS3.5 section 9.1)")
        except TransientError as error:
            log.warning("%s", error)
            refused = _RefusedError(_NO_RESOURCES, "Out of resources, please send again")
        peer = peer_of(event.assoc)
        log.warning("Refused an announcement of %s: %s", peer.calling_ae, refused)
        self._on_refusal(Refusal(peer, "announcement", str(refused)))
        return refused.answer, None

    def _step_created(self, event: Event) -> Dataset | None:
        return self._create(event, _performed_step)

    def _notified(self, event: Event) -> Dataset | None:
        return self._create(event, _availability)

    def _create(self, event: Event, read: Callable[[str, Dataset], Announcement]) -> Dataset | None:
        given = cast(N_CREATE, event.request).AffectedSOPInstanceUID
        uid = valid_uid(str(given or generate_uid(prefix=None)))
        taken = self._announcements.create(read(uid, event.attribute_list), peer_of(event.assoc))
        if taken is Taken.DUPLICATE:
            raise _RefusedError(_DUPLICATE, "There is such an instance already")
        return None if given else _named(uid)

    def _changed(self, event: Event) -> None:
        step, images = _changes(event.modification_list)
        uid = str(cast(N_SET, event.request).RequestedSOPInstanceUID)
        taken = self._announcements.change(uid, step, images)
        if taken is Taken.UNKNOWN:
            raise _RefusedError(_NO_SUCH_INSTANCE, "There is no such performed procedure step")
        if taken is Taken.FINAL:
            comment = "The step is finished and may not be updated"
            raise _RefusedError(_PROCESSING_FAILURE, comment, _NO_LONGER_UPDATED)


def _named(uid: str) -> Dataset:
    """What the answer must hold if the request left the UID to us (PS3.7 section 10.1.5.1.4)."""
    created = Dataset()
    created.AffectedSOPInstanceUID = uid
    return created


def _performed_step(uid: str, ds: Dataset) -> Announcement:
    if _value(ds, "PerformedProcedureStepStatus") != Step.IN_PROGRESS:
        raise _RefusedError(_INVALID_VALUE, "A step is created IN PROGRESS")
    scheduled = _value(ds, "ScheduledStepAttributesSequence")
    studies = tuple(dict.fromkeys(valid_uid(str(_value(item, "StudyInstanceUID"))) for item in scheduled))
    return Announcement("MPPS", uid, studies, Step.IN_PROGRESS, _performed(ds) or ())


def _changes(ds: Dataset) -> tuple[Step | None, tuple[str, ...] | None]:
    status = ds.get("PerformedProcedureStepStatus")
    if status is not None and status not in set(Step):
        raise _RefusedError(_INVALID_VALUE, "The status of the step is not a defined one")
    return Step(status) if status is not None else None, _performed(ds)


def _performed(ds: Dataset) -> tuple[str, ...] | None:
    """The images of all performed series; None if the data set does not speak of series."""
    if "PerformedSeriesSequence" not in ds:
        return None
    return tuple(
        dict.fromkeys(
            uid
            for series in ds.PerformedSeriesSequence or ()
            for uid in _images(series.get("ReferencedImageSequence") or ())
        )
    )


def _availability(uid: str, ds: Dataset) -> Announcement:
    study = valid_uid(str(_value(ds, "StudyInstanceUID")))
    series = _value(ds, "ReferencedSeriesSequence")
    available = (
        [
            item
            for item in _value(one, "ReferencedSOPSequence")
            if _value(item, "InstanceAvailability") != "UNAVAILABLE"
        ]
        for one in series
    )
    images = tuple(dict.fromkeys(uid for items in available for uid in _images(items)))
    return Announcement("Availability notification", uid, (study,), Step.COMPLETED, images)


def _images(items: Iterable[Dataset]) -> Iterator[str]:
    """What is referenced and the node would take; what it refuses at negotiation is not waited for."""
    for item in items:
        if str(_value(item, "ReferencedSOPClassUID")) in _TAKEN:
            yield valid_uid(str(_value(item, "ReferencedSOPInstanceUID")))


def _value(ds: Dataset, keyword: str) -> Any:
    """A value that must be there (PS3.7 section C.5.13 and C.5.14)."""
    if keyword not in ds:
        raise _RefusedError(_MISSING_ATTRIBUTE, f"{keyword} is missing")
    value = ds[keyword].value
    if not value:
        raise _RefusedError(_MISSING_VALUE, f"{keyword} is empty")
    return value
