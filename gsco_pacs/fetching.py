"""What the node does with archives: it asks what they hold of a study, and fetches it until all of it is here."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from gsco_pacs.domain.archive import ArchivedInstance, Criteria, Suboperations, Wanted
from gsco_pacs.domain.errors import NotApplicableError, TransientError
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.ports import Archive

_FILING_SECONDS = 1.0
"""If nothing has been filed for this long, nothing of what was fetched still waits for its row."""


@dataclass(frozen=True)
class Fetched:
    """What came of fetching a study."""

    listed: int
    """Objects that the archive says it holds, and that were wanted."""
    not_taken: int
    """Of these, those of a SOP class that the node takes from nobody."""
    here: int = 0
    """Of these, those that are here now, whoever sent them."""
    suboperations: Suboperations = field(default_factory=Suboperations)
    """The archive's counts of all tries together."""
    tries: int = 0
    trouble: str = ""
    """Why the last try was broken off."""

    @property
    def complete(self) -> bool:
        """Whether all that can be had is here."""
        return self.here + self.not_taken == self.listed

    @property
    def why(self) -> str:
        """Why it is not complete; empty if it is."""
        if self.complete:
            return ""
        if self.trouble:
            return self.trouble
        if self.suboperations.failed:
            return (
                "Sub-operations failed: look into the archive's log, and whether it can reach the receiver."
            )
        return "The archive did not send all that it lists."


def count_instances(
    archive: Archive, study_instance_uid: str, leave_out: Collection[str] = frozenset()
) -> int:
    """How many objects the archive holds of a study but for the series ``leave_out``; 0 if it does not know it.

    Where it does not count (the attribute is optional in C-FIND and QIDO-RS), its objects are listed and counted.
    Errors as in ports.Archive.
    """
    if leave_out:
        series = [
            each
            for each in archive.list_series(study_instance_uid)
            if each.series_instance_uid not in leave_out
        ]
        counts = [each.instances for each in series if each.instances is not None]
        if len(counts) == len(series):
            return sum(counts)
        return len(archive.list_instances(study_instance_uid, series))
    found = archive.find_studies(Criteria(study_instance_uid=study_instance_uid))
    if not found:
        return 0
    if found[0].instances is not None:
        return found[0].instances
    return len(archive.list_instances(study_instance_uid, archive.list_series(study_instance_uid)))


def fetch(
    archive: Archive,
    study_instance_uid: str,
    *,
    here: Callable[[str], Collection[str]],
    take: Callable[[Incoming], None],
    sop_classes: Collection[str],
    modalities: Collection[str] = (),
    pauses: Sequence[float],
    progress: Callable[[Fetched], None] = lambda _: None,
) -> Fetched:
    """Fetch what the archive holds of a study and is not here yet, again after each of ``pauses`` until all has come.

    ``here`` gives the SOP Instance UIDs that the node has of a study; what counts is what it says, not what the archive
    counts. Without ``modalities`` all series are wanted. NotApplicableError if the archive has nothing of it;
    RejectedByPeerError and BadObjectError as in ports.Archive; what may pass ends in ``trouble``.
    """
    listed = _listed(archive, study_instance_uid, modalities)
    takeable = tuple(one for one in listed if one.sop_class_uid in (*sop_classes, ""))
    fetched = Fetched(len(listed), len(listed) - len(takeable))
    missing = _missing(takeable, here(study_instance_uid))
    for pause in (0.0, *pauses):
        if not missing:
            break
        time.sleep(pause)
        whole = not modalities and len(missing) == len(listed)
        fetched = _try(archive, Wanted(study_instance_uid, missing, whole), fetched, take, progress)
        missing = _filed(takeable, lambda: here(study_instance_uid))
    return replace(fetched, here=len(takeable) - len(missing))


def _missing(wanted: Sequence[ArchivedInstance], held: Collection[str]) -> tuple[ArchivedInstance, ...]:
    return tuple(one for one in wanted if one.sop_instance_uid not in held)


def _filed(
    wanted: Sequence[ArchivedInstance], here: Callable[[], Collection[str]]
) -> tuple[ArchivedInstance, ...]:
    """What is missing when no more is being filed: an object's row follows its answer, and another process may make it."""
    missing = _missing(wanted, here())
    quiet_since = time.monotonic()
    while missing and time.monotonic() - quiet_since < _FILING_SECONDS:
        time.sleep(_FILING_SECONDS / 20)
        before, missing = missing, _missing(wanted, here())
        if len(missing) < len(before):
            quiet_since = time.monotonic()
    return missing


def _listed(
    archive: Archive, study_instance_uid: str, modalities: Collection[str]
) -> tuple[ArchivedInstance, ...]:
    series = archive.list_series(study_instance_uid)
    wanted = [one for one in series if not modalities or one.modality in modalities]
    listed = archive.list_instances(study_instance_uid, wanted)
    if not listed:
        raise NotApplicableError(f"{archive.name} has nothing of the study {study_instance_uid}.")
    return listed


def _try(
    archive: Archive,
    wanted: Wanted,
    before: Fetched,
    take: Callable[[Incoming], None],
    progress: Callable[[Fetched], None],
) -> Fetched:
    now = before.suboperations
    after = replace(before, tries=before.tries + 1, trouble="")

    def show(suboperations: Suboperations) -> None:
        nonlocal after
        after = replace(after, suboperations=now + suboperations)
        progress(after)

    try:
        show(archive.retrieve(wanted, take, show))
    except TransientError as error:
        after = replace(after, trouble=str(error))
    return after
