"""Walk 1, in the receiver and the housekeeper: an association's image becomes a queued job.

    receive (durable bytes) → register (durable row) → route (who would read it?) → settle (is it complete?)

What is known of a study that is arriving, its route included, is ``outlook.py``. Walk 2 is ``consultation.py``; the two share nothing but the job's row.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.study import Instance, Peer
from gsco_pacs.outlook import Outlook
from gsco_pacs.steps.receive import receive
from gsco_pacs.steps.settle import settle

if TYPE_CHECKING:
    from gsco_pacs.adapters.file_store import FileStore
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


def take_in(
    incoming: Incoming,
    store: "FileStore",
    keywords: frozenset[str],
    register: Callable[[Instance, Peer], object],
) -> None:
    """Make one received image durable, bytes first and then its row; only then may 0x0000 be answered."""
    instance = receive(incoming, store, keywords)
    register(instance, incoming.peer)


def close_if_complete(ledger: "Ledger", collecting: "Collecting", outlook: Outlook, at: datetime) -> bool:
    """Settle a study if it is complete by now and queue it on its route; False if it is left open."""
    decision = settle(outlook.standing, outlook.patience, at)
    snapshot = outlook.route.model_dump(mode="json", by_alias=True) if outlook.route else None
    return decision.closed and ledger.close(collecting, decision, outlook.routing, snapshot)
