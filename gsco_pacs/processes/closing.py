"""Closes the studies that are complete, STAT ones first, and asks archives about those that are not."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from gsco_pacs.adapters.ledger import Collecting, Ledger
from gsco_pacs.domain.errors import TransientError
from gsco_pacs.intake import close_if_complete
from gsco_pacs.outlook import Outlook, Outlooks
from gsco_pacs.processes.counting import Counting

log = logging.getLogger(__name__)


class Closing:
    """One round after the other; a study that cannot be closed keeps no other one open."""

    def __init__(self, ledger: Ledger, outlooks: Outlooks, counting: Counting) -> None:
        self._ledger = ledger
        self._outlooks = outlooks
        self._counting = counting

    def tend(self, wake_workers: Callable[[], object], routine_seconds: float) -> None:
        """Close STAT studies and wake the workers for them; then routine ones for ``routine_seconds`` and one more.

        What is left is closed in the next rounds, in which a STAT study that became complete meanwhile is first.
        """
        known = self._known()
        stat = [self._close(each, outlook) for each, outlook in known if outlook.is_stat]
        if any(stat):
            wake_workers()
        until = time.monotonic() + routine_seconds
        for each, outlook in known:
            if not outlook.is_stat and self._close(each, outlook) and time.monotonic() > until:
                return

    def _known(self) -> list[tuple[Collecting, Outlook]]:
        arriving = self._ledger.collecting()
        self._outlooks.refresh(arriving)
        known = []
        for each in arriving:
            with _alone(each):
                if outlook := self._outlooks.of(each, datetime.now(UTC)):
                    known.append((each, outlook))
        return known

    def _close(self, collecting: Collecting, outlook: Outlook) -> bool:
        with _alone(collecting):
            at = datetime.now(UTC)
            if close_if_complete(self._ledger, collecting, outlook, at):
                log.info("Job %d: the study is closed.", collecting.job_id)
                return True
            self._counting.ask(collecting.study_instance_uid, outlook, at)
        return False


@contextmanager
def _alone(collecting: Collecting) -> Iterator[None]:
    """Let a mistake end nothing but what is done with this study."""
    try:
        yield
    except TransientError:
        raise
    except Exception:
        log.exception("Job %d: the study cannot be closed.", collecting.job_id)
