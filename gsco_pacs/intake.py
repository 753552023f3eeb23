"""Walk 1, in the receiver and the housekeeper: an association's image becomes a queued job.

    receive (durable bytes and index record) → file (row) → differ (if it came before: is it a correction?)
    → route (who would read it?) → settle (is it complete?)

What is known of a study that is arriving, its route included, is ``outlook.py``. Walk 2 is ``consultation.py``; the two share nothing but the job's row.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from gsco_pacs.domain.correction import Differences, by_headers
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.incoming import Arrival, Incoming
from gsco_pacs.domain.part10 import take_apart
from gsco_pacs.outlook import Outlook
from gsco_pacs.steps.differ import differ
from gsco_pacs.steps.receive import receive
from gsco_pacs.steps.settle import settle

if TYPE_CHECKING:
    from gsco_pacs.adapters.corrections import Corrections, Variant
    from gsco_pacs.adapters.file_store import FileStore
    from gsco_pacs.adapters.inbox import Inbox, Left
    from gsco_pacs.adapters.ledger import Collecting, Ledger


HEADER = frozenset(
    [
        "AccessionNumber",
        "BodyPartExamined",
        "ImageType",
        "InstanceNumber",
        "InstitutionName",
        "IssuerOfPatientID",
        "Manufacturer",
        "ManufacturerModelName",
        "Modality",
        "NumberOfFrames",
        "PatientAge",
        "PatientID",
        "PatientSex",
        "PresentationIntentType",
        "ProtocolName",
        "SOPClassUID",
        "SeriesDescription",
        "SeriesNumber",
        "StationName",
        "StudyDate",
        "StudyDescription",
        "StudyTime",
        "ViewPosition",
    ]
)
"""Keywords that are kept of every image, beside those that the routes ask for: what an administrator looks for."""


_VARIANTS = 50
"""So many are compared in one round, so that a large study that is sent again keeps no other one waiting."""


def take_in(
    incoming: Incoming, inbox: "Inbox", keywords: frozenset[str], file_soon: Callable[[Arrival], None]
) -> None:
    """Make one received image durable, its bytes and its index record; only then may 0x0000 be answered."""
    entry = inbox.entry(incoming.peer)
    instance = receive(incoming, entry, keywords)
    file_soon(Arrival(instance, incoming.peer, entry.record))


def file(arrivals: Sequence[Arrival], inbox: "Inbox", ledger: "Ledger") -> None:
    """Give acknowledged images their names in the store and their rows; their records may be forgotten then.

    Once more their names after their rows: of one that came before, the former bytes may just have been deleted.
    """
    inbox.publish(arrivals)
    ledger.register([(arrival.instance, arrival.peer) for arrival in arrivals])
    inbox.publish(arrivals)


def take_up(left: "Left", keywords: frozenset[str]) -> Arrival:
    """What an earlier receiver acknowledged and did not file, read again from its bytes and its record."""
    instance = receive(Incoming(*take_apart(left.content), left.peer), left, keywords)
    return Arrival(instance, left.peer, left.record)


def compare_variants(corrections: "Corrections", store: "FileStore") -> None:
    """Find out of what came with a known SOP Instance UID and other bytes whether it is a correction."""
    for variant in corrections.variants(_VARIANTS):
        differences = _differences(variant, store)
        if variant.of_study and (differences.is_correction or not variant.former_is_here):
            corrections.correct(variant, differences)
        else:
            corrections.set_aside(variant, differences)


def _differences(variant: "Variant", store: "FileStore") -> Differences:
    if not variant.former_is_here:
        return by_headers(variant.former.header, variant.newer.header)
    try:
        return differ(store.path_of(variant.former), store.path_of(variant.newer))
    except BadObjectError as error:
        return Differences(another_image=f"it was not compared: {error}")


def close_if_complete(ledger: "Ledger", collecting: "Collecting", outlook: Outlook, at: datetime) -> bool:
    """Settle a study if it is complete by now and queue it on its route; False if it is left open."""
    decision = settle(outlook.standing, outlook.patience, at)
    snapshot = outlook.route.model_dump(mode="json", by_alias=True) if outlook.route else None
    return decision.closed and ledger.close(collecting, decision, outlook.routing, snapshot)
