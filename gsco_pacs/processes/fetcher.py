"""The fetcher: brings the priors that routes want, so that no worker waits for an archive."""

import logging
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from gsco_pacs.adapters.ledger import Collecting, Database, Ledger
from gsco_pacs.adapters.prior_searches import PriorSearches
from gsco_pacs.config import Config
from gsco_pacs.domain.archive import ArchivedStudy
from gsco_pacs.domain.completeness import Decision
from gsco_pacs.domain.errors import GscoError, TransientError
from gsco_pacs.domain.prior_search import PriorSearch, SearchState
from gsco_pacs.domain.study import Study
from gsco_pacs.priors import find_priors, wanted_modalities
from gsco_pacs.processes.fetch import must_be_a_sender, recorded_fetch
from gsco_pacs.processes.parts import open_database, start_logging
from gsco_pacs.processes.peers import open_archive
from gsco_pacs.settings.priors import PriorRule
from gsco_pacs.steps.route import route

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.5
_AT_A_TIME = 4
"""Jobs whose priors are fetched at the same time."""


def run_fetcher(config: Config) -> None:
    """Work until SIGTERM or SIGINT; a search that was broken off begins anew at the next start."""
    start_logging("fetcher")
    fetcher, stop = Fetcher(config, open_database(config)), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log.info("The fetcher is at work.")
    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="fetch") as pool:
        while not stop.wait(_TICK_SECONDS):
            try:
                fetcher.work(pool)
            except TransientError as error:
                log.warning("%s It is tried again.", error)


class Fetcher:
    """Follows each search from its entry to its end."""

    def __init__(self, config: Config, database: Database) -> None:
        self._config = config
        self._database = database
        self._ledger = Ledger(database)
        self._searches = PriorSearches(database)
        self._at_work: set[int] = set()

    def work(self, pool: ThreadPoolExecutor) -> None:
        """Begin what is new, and end what has been consulted on."""
        for search in self._searches.in_state(SearchState.WAITING):
            if search.job_id not in self._at_work:
                self._at_work.add(search.job_id)
                pool.submit(self._bring, search)
        for search in self._searches.in_state(SearchState.CONSULTING):
            if _is_late(search) or not self._searches.unread(search.job_id):
                late = " The deadline passed before all were consulted on." if _is_late(search) else ""
                self._searches.proceed(search.job_id, SearchState.ENDED, search.reason + late)

    def _bring(self, search: PriorSearch) -> None:
        try:
            state, reason = self.bring(search)
            self._searches.proceed(search.job_id, state, reason)
            log.info("Job %d: priors: %s", search.job_id, reason)
        except TransientError as error:
            log.warning("Job %d: %s The priors are looked for again.", search.job_id, error)
        except Exception:
            log.exception("Job %d: its priors cannot be fetched.", search.job_id)
        finally:
            self._at_work.discard(search.job_id)

    def bring(self, search: PriorSearch) -> tuple[SearchState, str]:
        """Fetch the priors of a job and have them consulted on; where the search stands then, and why. TransientError."""
        if _is_late(search):
            return SearchState.ENDED, "The deadline passed before the archive answered."
        study = self._ledger.study(search.job_id)
        rule = PriorRule.model_validate(self._searches.rule(search.job_id))
        try:
            must_be_a_sender(self._config, search.archive)
            wanted = find_priors(open_archive(search.archive, self._config), study, rule)
            known = self._searches.known([prior.study_instance_uid for prior in wanted])
            came = [
                "is here already"
                if prior.study_instance_uid in known
                else self._fetch(search, study, prior, rule)
                for prior in wanted
            ]
        except TransientError:
            raise
        except GscoError as error:
            return SearchState.ENDED, str(error)
        told = [f"{prior.study_date} {words}" for prior, words in zip(wanted, came, strict=True)]
        return (
            SearchState.CONSULTING,
            f"{len(wanted)} wanted: {'; '.join(told)}." if told else "There are none.",
        )

    def _fetch(self, search: PriorSearch, study: Study, prior: ArchivedStudy, rule: PriorRule) -> str:
        if _is_late(search):
            return "was not fetched: the deadline passed"
        uid, archive = prior.study_instance_uid, open_archive(search.archive, self._config)
        fetched = recorded_fetch(
            self._config, self._database, archive, uid, f"job {search.job_id}",
            job_id=search.job_id, modalities=wanted_modalities(study, rule),
        )  # fmt: skip
        if not fetched.complete:
            return f"came in part ({fetched.here} of {fetched.listed}): {fetched.why}"
        self._close(
            uid, f"All {fetched.listed} objects that {archive.name} lists and the route wants are here."
        )
        return f"came ({fetched.here} objects)"

    def _close(self, study_instance_uid: str, reason: str) -> None:
        """Close a prior at once: that it is complete is known. If another image comes just now, its quiet time closes it."""
        arriving = [c for c in self._ledger.collecting() if c.study_instance_uid == study_instance_uid]
        for collecting in arriving:
            self._close_one(collecting, reason)

    def _close_one(self, collecting: Collecting, reason: str) -> None:
        headers = [instance.header for instance in self._ledger.study(collecting.job_id).instances]
        routing = route(headers, self._config.routes)
        snapshot = None
        if routing.route:
            # Nobody will look at a prior's captures.
            chosen = self._config.route(routing.route).model_copy(update={"saliency": "none"})
            snapshot = chosen.model_dump(mode="json", by_alias=True)
        decision = Decision(closed=True, reason=reason, decided_at=datetime.now(UTC))
        self._ledger.close(collecting, decision, routing, snapshot)


def _is_late(search: PriorSearch) -> bool:
    return datetime.now(UTC) >= search.deadline_at
