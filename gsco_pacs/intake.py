"""Walk 1, in the receiver and the housekeeper: an association's image becomes a queued job.

    receive (durable bytes) → register (durable row) → settle (is the study complete?) → route (who reads it?)

Walk 2 is ``consultation.py``; the two share nothing but the job's row.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from gsco_pacs.config import Config
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.study import Decision, Instance, Peer
from gsco_pacs.steps.receive import receive
from gsco_pacs.steps.route import route
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


def close_if_quiet(ledger: "Ledger", collecting: "Collecting", config: Config, at: datetime) -> bool:
    """Settle a study if it is complete by now and queue it on its route; False if it is left open."""
    # The route may have a quiet time of its own; it is looked for only when the shortest of all has passed.
    shortest = min(
        [config.settle.quiet_seconds, *(r.quiet_seconds for r in config.routes if r.quiet_seconds)]
    )
    if not _settle(collecting, config, at, shortest).closed:
        return False
    study = ledger.study(collecting.job_id)
    routing = route([instance.header for instance in study.instances], config.routes)
    chosen = config.route(routing.route) if routing.route else None
    decision = _settle(collecting, config, at, chosen.quiet_seconds if chosen else None)
    snapshot = chosen.model_dump(mode="json", by_alias=True) if chosen else None
    return decision.closed and ledger.close(collecting, decision, routing, snapshot)


def _settle(collecting: "Collecting", config: Config, at: datetime, quiet_seconds: float | None) -> Decision:
    return settle(
        collecting.first_received_at,
        collecting.last_received_at,
        at,
        quiet_seconds=quiet_seconds or config.settle.quiet_seconds,
        deadline_seconds=config.settle.deadline_seconds,
    )
