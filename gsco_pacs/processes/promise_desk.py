"""The desk where a deliver worker reports to modalities what the node has promised them to keep."""

import logging

from gsco_pacs.adapters.commitment_scp import report
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.promises import Promise, Promises
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import GscoError
from gsco_pacs.processes.peers import caller_back

log = logging.getLogger(__name__)

_LEASE_SECONDS = 120.0


class PromiseDesk:
    """What a deliver worker does with one report."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config = config
        self._promises = Promises(database, config.receiver.commitment_days, config.retry)

    def work(self) -> bool:
        """Make the report that has been owed longest; False if none is due."""
        promise = self._promises.claim(_LEASE_SECONDS)
        if promise is None:
            return False
        try:
            self._report(promise)
        except GscoError as error:
            log.warning("%s: no report of commitment: %s", promise.calling_ae, error)
            self._promises.postpone(promise.number, str(error))
        return True

    def _report(self, promise: Promise) -> None:
        peer = caller_back(promise.calling_ae, self._config)
        if peer is None:
            reason = "It hung up before the report, and receiver.senders has no call_back for it."
            log.warning("%s: no report of commitment: %s", promise.calling_ae, reason)
            self._promises.give_up(promise.number, reason)
            return
        report(peer, promise.outcome)
        self._promises.reported(promise.number)
