"""Rows for what was acknowledged, behind the answers: many images share a transaction, and no sender waits for it."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Event, Thread

from gsco_pacs.adapters.inbox import Inbox, Left
from gsco_pacs.adapters.ledger import Database, Ledger
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import OutOfResourcesError, TransientError
from gsco_pacs.domain.incoming import Arrival, Incoming
from gsco_pacs.intake import HEADER, file, take_in, take_up
from gsco_pacs.processes.parts import open_store
from gsco_pacs.steps.route import keywords

log = logging.getLogger(__name__)

_BATCH = 256
_GATHER_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_MOST_UNFILED = 10_000
"""With more objects that wait for their rows the database is too slow, and senders are told to come again."""
_FORGET_SECONDS = 2.0
"""Records are dropped together, so that a directory of the store is flushed once for many files."""


class Filing:
    """Files what arrives, in a thread of its own and in the order of arrival.

    While the database does not answer nothing more is taken in, and what was is filed as soon as it answers again.
    """

    def __init__(self, inbox: Inbox, ledger: Ledger, keywords: frozenset[str]) -> None:
        self._inbox = inbox
        self._ledger = ledger
        self._keywords = keywords
        self._arrivals: SimpleQueue[Arrival | None] = SimpleQueue()
        self._filed: list[Arrival] = []
        self._forget_at = 0.0
        self._trouble = ""
        self._stop = Event()
        self._thread = Thread(target=self._run, name="filing", daemon=True)

    def start(self) -> None:
        """File what earlier receivers left behind, then go on in the background; TransientError without a database."""
        self._inbox.take_over(self._take_up)
        self._thread.start()

    def stop(self) -> None:
        """End when all is filed that was submitted; what a silent database does not take is left for the next start."""
        self._stop.set()
        self._arrivals.put(None)
        self._thread.join()

    def check(self) -> None:
        """OutOfResourcesError if no object should be taken in now."""
        if self._trouble:
            raise OutOfResourcesError(self._trouble)
        if self._arrivals.qsize() > _MOST_UNFILED:
            raise OutOfResourcesError("The database is too slow for what arrives.")

    def submit(self, arrival: Arrival) -> None:
        """Have ``arrival`` filed soon."""
        self._arrivals.put(arrival)

    def _take_up(self, left: Iterator[Left]) -> None:
        while some := list(islice(left, _BATCH)):
            arrivals = [arrival for one in some if (arrival := self._read(one))]
            # What has its row already was filed and not forgotten.
            done = [arrival for arrival in arrivals if self._ledger.has(arrival.instance)]
            new = self._file([arrival for arrival in arrivals if arrival not in done])
            self._inbox.publish(done)
            self._inbox.forget([*done, *new])
            log.info("An earlier receiver left %d objects; %d of them had no row yet.", len(some), len(new))

    def _read(self, left: Left) -> Arrival | None:
        try:
            return take_up(left, self._keywords)
        except Exception:
            log.exception("%s was acknowledged and can't be read; it is left where it is.", left.record)
            return None

    def _run(self) -> None:
        try:
            self._work()
        except Exception:
            # Nothing may be acknowledged that nobody files: the receiver ends, and its next start takes over.
            self._trouble = "The receiver starts anew."
            log.exception("What was acknowledged can't be filed; the receiver ends.")
            os.kill(os.getpid(), signal.SIGTERM)

    def _work(self) -> None:
        while not self._stop.is_set() or not self._arrivals.empty():
            batch = self._gather()
            if batch and not self._is_filed(batch):
                return
            if self._stop.is_set() or time.monotonic() >= self._forget_at:
                self._forget()

    def _gather(self) -> list[Arrival]:
        """What has come by now, after a moment in which more may come; nothing if nothing comes."""
        came: list[Arrival | None] = []
        with suppress(Empty):
            came.append(self._arrivals.get(timeout=_FORGET_SECONDS))
            self._stop.wait(_GATHER_SECONDS)
            while len(came) < _BATCH:
                came.append(self._arrivals.get_nowait())
        return [arrival for arrival in came if arrival]

    def _is_filed(self, batch: Sequence[Arrival]) -> bool:
        """File ``batch`` however long the database is silent; False if the end comes first."""
        while True:
            try:
                self._filed += self._file(batch)
            except TransientError as error:
                self._trouble = str(error)
                log.warning("%s Nothing is taken in until it does.", error)
                if self._stop.wait(_RETRY_SECONDS):
                    return False
            else:
                self._trouble = ""
                return True

    def _file(self, batch: Sequence[Arrival]) -> list[Arrival]:
        """File ``batch``; an object that the database refuses for good is left in the inbox and keeps back no other."""
        try:
            file(batch, self._inbox, self._ledger)
        except TransientError:
            raise
        except Exception:
            if len(batch) > 1:
                return [arrival for one in batch for arrival in self._file([one])]
            log.exception(
                "%s was acknowledged and can't be filed; the next start tries again.", batch[0].record
            )
            return []
        return list(batch)

    def _forget(self) -> None:
        self._forget_at = time.monotonic() + _FORGET_SECONDS
        try:
            self._inbox.forget(self._filed)
            self._filed = []
        except TransientError as error:
            log.warning("%s The records in the inbox are kept for now.", error)


@contextmanager
def open_intake(config: Config, database: Database) -> Iterator[Callable[[Incoming], None]]:
    """The door for every object, whichever way it comes: what it takes is durable when it returns, and filed soon.

    At the end everything that was taken is filed.
    """
    inbox, wanted = Inbox(open_store(config)), HEADER | keywords(config.routes)
    filing = Filing(inbox, Ledger(database), wanted)

    def on_store(incoming: Incoming) -> None:
        filing.check()
        take_in(incoming, inbox, wanted, filing.submit)

    filing.start()
    try:
        yield on_store
    finally:
        filing.stop()
