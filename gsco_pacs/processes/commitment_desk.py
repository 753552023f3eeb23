"""The desk where a deliver worker asks destinations whether they keep what they took."""

import logging

from gsco_pacs.adapters.commitment_ledger import Asking, Commitments
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.config import Config
from gsco_pacs.domain.commitment import Outcome
from gsco_pacs.domain.errors import GscoError
from gsco_pacs.processes.choices import open_confirming, open_destination

log = logging.getLogger(__name__)

_GRACE_SECONDS = 30.0


class CommitmentDesk:
    """What a deliver worker does with one transaction; jobs and questions always go first."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config = config
        self._commitments = Commitments(database, config.retry)

    def work(self) -> bool:
        """Claim what has been owed longest and ask for it; False if nothing is due."""
        asking = self._commitments.claim(self._config.workers.deliver_seconds + _GRACE_SECONDS)
        if asking is None:
            return False
        settings = self._config.destinations.get(asking.destination)
        if settings is None or settings.confirm is None:
            self._commitments.drop(asking, "The destination asks for no confirmation any longer.")
            return True
        deadline = settings.confirm.deadline_seconds
        try:
            self._ask(asking, deadline)
        except GscoError as error:
            log.warning("%s: could not be asked whether it keeps its objects: %s", asking.destination, error)
            self._commitments.postpone(asking, str(error), deadline)
        return True

    def _ask(self, asking: Asking, deadline: float) -> None:
        destination = open_destination(asking.destination, self._config)
        for report in asking.again:
            destination.send([report])
            self._commitments.sent_again(asking, report)
        confirming = open_confirming(asking.destination, self._config, self._commitments.settle)
        outcome = confirming.confirm(asking.transaction_uid, asking.reports)
        if outcome is None:
            self._commitments.asked(asking, deadline)
            log.info("%s: asked whether it keeps %d objects.", asking.destination, len(asking.reports))
            return
        found = len(outcome.committed)
        log.info("%s: has %d of %d objects.", asking.destination, found, len(asking.reports))
        # What a query does not find may only not be indexed yet: it is looked for until the deadline.
        if outcome.committed:
            self._commitments.settle(Outcome(asking.transaction_uid, outcome.committed, {}, outcome.by))
        if outcome.failed:
            self._commitments.postpone(asking, "A query does not find it.", deadline)
