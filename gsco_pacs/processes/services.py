"""The DIMSE services that the receiver offers beside C-ECHO and C-STORE, each in a module of its own."""

from collections.abc import Callable

from pynetdicom.dimse_primitives import N_EVENT_REPORT

from gsco_pacs.adapters.announcement_scp import AnnouncementScp
from gsco_pacs.adapters.announcements import Announcements
from gsco_pacs.adapters.commitment_ledger import Commitments
from gsco_pacs.adapters.commitment_messages import on_event_report
from gsco_pacs.adapters.dimse_service import COMMITMENT, Service
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.config import Config
from gsco_pacs.domain.incoming import Refusal


def services(
    config: Config, database: Database, on_refusal: Callable[[Refusal], None]
) -> tuple[Service, ...]:
    """What a peer may do: announce what belongs to a study, and answer our requests for storage commitment."""
    results = on_event_report(Commitments(database, config.retry).settle)
    return (
        Service(COMMITMENT, {N_EVENT_REPORT: results}, both_roles=True),
        *AnnouncementScp(Announcements(database), on_refusal).services(),
    )
