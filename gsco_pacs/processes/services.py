"""The DIMSE services that the receiver offers beside C-ECHO and C-STORE, each in a module of its own."""

from collections.abc import Callable

from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT

from gsco_pacs.adapters.announcement_scp import AnnouncementScp
from gsco_pacs.adapters.announcements import Announcements
from gsco_pacs.adapters.commitment_ledger import Commitments
from gsco_pacs.adapters.commitment_messages import on_event_report
from gsco_pacs.adapters.commitment_scp import CommitmentScp
from gsco_pacs.adapters.dimse_service import COMMITMENT, Service
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.promises import Promises
from gsco_pacs.config import Config
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.processes.parts import open_store


def services(
    config: Config, database: Database, on_refusal: Callable[[Refusal], None]
) -> tuple[Service, ...]:
    """What a peer may do: ask for storage commitment and answer ours, and announce what belongs to a study."""
    results = on_event_report(Commitments(database, config.retry).settle)
    promises = Promises(database, config.receiver.commitment_days, config.retry)
    asked = CommitmentScp(promises, open_store(config).holds).on_request
    return (
        Service(COMMITMENT, {N_ACTION: asked, N_EVENT_REPORT: results}, both_roles=True),
        *AnnouncementScp(Announcements(database), on_refusal).services(),
    )
