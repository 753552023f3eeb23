"""A worker: claims jobs of one stage, walks them through it and says what came of it. Retry, lease and limit live here."""

import logging
import os
import random
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from pydantic import TypeAdapter

from gsco_pacs import __version__
from gsco_pacs.adapters.decoder_process import DecoderProcess
from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.adapters.job_ledger import Claim, JobLedger
from gsco_pacs.adapters.prior_studies import PriorStudies
from gsco_pacs.adapters.queue import NO_JOB, WAKE, lane_of, open_app, wake
from gsco_pacs.adapters.upkeep import Upkeep
from gsco_pacs.config import Config
from gsco_pacs.consultation import Drafted, consult_stage, deliver_stage, draft_stage
from gsco_pacs.domain.errors import (
    LostLeaseError,
    NotApplicableError,
    OutOfResourcesError,
    PermanentError,
    TransientError,
)
from gsco_pacs.domain.findings import Consultation
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.domain.retry import next_attempt
from gsco_pacs.domain.study import StoredFile
from gsco_pacs.ports import Asked, Generalist
from gsco_pacs.processes.choices import bundles_of, open_destination, open_generalist, open_specialists
from gsco_pacs.processes.commitment_desk import CommitmentDesk
from gsco_pacs.processes.parts import open_database, open_store, start_logging
from gsco_pacs.processes.promise_desk import PromiseDesk
from gsco_pacs.processes.question_desk import QuestionDesk
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.sr.evidence import Origin
from gsco_pacs.steps.deliver import Deliveries, Failure

log = logging.getLogger(__name__)

CONSULTATION = TypeAdapter(Consultation)
DRAFTED = TypeAdapter(Drafted)
_GRACE_SECONDS = 10.0


def run_worker(config: Config, stage: Stage, *, only_stat: bool = False) -> None:
    """Work on ``stage`` until SIGTERM; models are loaded once in each child process and stay warm."""
    start_logging(f"worker-{stage}")
    app = open_app(config)
    desk = Desk(config, stage, app, only_stat=only_stat)

    def wake_up(_job_id: int) -> None:
        desk.work()

    # A worker ends itself at its limit; Celery's is for one that hangs so badly that it cannot.
    app.task(wake_up, name=WAKE, time_limit=config.workers.limit(stage) + _GRACE_SECONDS)
    worker_process_init.connect(lambda **_: desk.open(), weak=False)
    queue = lane_of(stage) if only_stat else stage.value
    processes = config.workers.deliver_processes if stage is Stage.DELIVER and not only_stat else 1
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    name = f"{queue}-{os.getpid()}@{socket.gethostname()}"
    app.worker_main(
        [
            "--quiet",
            "worker",
            "--queues",
            queue,
            "--concurrency",
            str(processes),
            "--hostname",
            name,
            *quiet,
        ]
    )


class Desk:
    """Where one child process works: its parts, and what it does with one wake-up."""

    def __init__(self, config: Config, stage: Stage, app: Celery, *, only_stat: bool = False) -> None:
        self._config = config
        self._only_stat = only_stat
        self._stage = stage
        self._app = app
        self._specialists: dict[str, tuple[Asked, ...]] = {}
        self._checked: set[tuple[str, ...]] = set()
        self._generalists: dict[str, Generalist] = {}
        self._decoder = DecoderProcess(config.decoding)

    def open(self) -> None:
        """Load what the stage needs; called in the child, since neither torch nor a database survives a fork."""
        start_logging(f"worker-{self._stage}")
        if self._stage is Stage.CONSULT:
            for route in self._config.routes:
                self._asked(route)
        if self._stage is Stage.DRAFT:
            for route in self._config.routes:
                self._generalist(route.generalist)
        log.info("Ready.")

    @cached_property
    def _jobs(self) -> JobLedger:
        return JobLedger(self._database)

    @cached_property
    def _database(self) -> Any:
        return open_database(self._config)

    @cached_property
    def _store(self) -> FileStore:
        return open_store(self._config)

    @cached_property
    def _questions(self) -> QuestionDesk:
        return QuestionDesk(self._config, self._stage, self._database, self._generalist, self._decoder)

    @cached_property
    def _commitments(self) -> CommitmentDesk:
        return CommitmentDesk(self._config, self._database)

    @cached_property
    def _promises(self) -> PromiseDesk:
        return PromiseDesk(self._config, self._database)

    @cached_property
    def _confirmed(self) -> dict[str, int]:
        destinations = self._config.destinations.items()
        return {name: settings.confirm.tries for name, settings in destinations if settings.confirm}

    def work(self) -> None:
        """Claim the most urgent job of the stage and do it, or else the oldest question; then what is to be confirmed."""
        self._decoder.forgive()
        self._work()
        if self._stage is Stage.DELIVER and any([self._commitments.work(), self._promises.work()]):
            self._pass_on_commitments()

    def _work(self) -> None:
        lease = self._config.workers.lease_seconds
        worker = f"{socket.gethostname()}:{os.getpid()}"
        claim = self._jobs.claim(self._stage, worker, lease, only_stat=self._only_stat)
        if claim is None:
            if not self._only_stat:
                self._questions.work(worker, self._app)
            return
        with self._heartbeat(claim, lease):
            state = self._carry_out(claim)
        log.info(
            "Job %d: %s, attempt %d: %s.",
            claim.job_id,
            claim.stage,
            claim.attempt,
            state or "lost to another worker",
        )
        following = claim.stage.following
        if state is State.QUEUED and following:
            self._pass_on(claim.job_id, following, stat=claim.route["priority"] == "stat")

    def _carry_out(self, claim: Claim) -> State | None:
        walk: Callable[[Claim], State] = {
            Stage.CONSULT: self._consult,
            Stage.DRAFT: self._draft,
            Stage.DELIVER: self._deliver,
        }[claim.stage]
        try:
            return self._answered(claim, walk)
        except LostLeaseError:
            return None

    def _answered(self, claim: Claim, walk: Callable[[Claim], State]) -> State:
        try:
            return walk(claim)
        except LostLeaseError:
            raise
        except NotApplicableError as error:
            return self._jobs.end(claim, Event.NOT_APPLICABLE, str(error))
        except TransientError as error:
            return self._try_again(claim, str(error))
        except MemoryError:
            return self._try_again(claim, "The worker ran out of memory.")
        except PermanentError as error:
            return self._jobs.end(claim, Event.FAILED_FOR_GOOD, str(error))
        except Exception as error:
            # Without the message: it may quote a patient's attribute.
            trace = "".join(traceback.format_tb(error.__traceback__))
            log.error("Job %d: %s failed: %s\n%s", claim.job_id, claim.stage, type(error).__name__, trace)  # noqa: TRY400
            reason = f"Unforeseen {type(error).__name__}; the worker's log of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC has it."
            return self._jobs.end(claim, Event.FAILED_FOR_GOOD, reason)

    def _try_again(self, claim: Claim, reason: str) -> State:
        waited = (datetime.now(UTC) - claim.stage_began_at).total_seconds()
        retry = self._config.retry
        delay = next_attempt(
            claim.attempt,
            waited,
            first_seconds=retry.first_seconds,
            longest_seconds=retry.longest_seconds,
            give_up_seconds=retry.give_up_seconds,
            chance=random.random,
        )
        if delay is None:
            return self._jobs.end(
                claim, Event.FAILED_FOR_GOOD, f"Given up after {claim.attempt} attempts: {reason}"
            )
        return self._jobs.postpone(claim, reason, delay)

    def _consult(self, claim: Claim) -> State:
        route = RouteSettings.model_validate(claim.route)
        origin = Origin(
            study=claim.study,
            equipment=self._config.equipment,
            node_version=__version__,
            config_sha256=route.sha256,
            run=claim.run,
            at=claim.stage_began_at.astimezone(),
        )
        consultation, evidence = consult_stage(
            self._files(claim), self._asked(route), route, origin, self._decoder
        )
        return self._jobs.finish(claim, CONSULTATION.dump_python(consultation, mode="json"), evidence)

    def _draft(self, claim: Claim) -> State:
        route = RouteSettings.model_validate(claim.route)
        consultation = CONSULTATION.validate_python(self._jobs.product(claim.job_id, Stage.CONSULT))
        drafted, reports = draft_stage(
            claim.study,
            self._files(claim),
            consultation,
            self._generalist(route.generalist),
            route=route,
            equipment=self._config.equipment,
            predecessors=self._jobs.predecessors(claim.job_id),
            priors=PriorStudies(self._database).before(claim.job_id),
            run=claim.run,
            at=datetime.now().astimezone(),
            decoder=self._decoder,
        )
        return self._jobs.finish(claim, DRAFTED.dump_python(drafted, mode="json"), reports)

    def _deliver(self, claim: Claim) -> State:
        route = RouteSettings.model_validate(claim.route)
        destinations = [open_destination(name, self._config) for name in route.destinations]
        reports = self._jobs.reports(claim.job_id)
        receipts = self._jobs.receipts(claim.job_id)
        failures: list[Failure] = []
        for destination in destinations:
            wish = self._jobs.pulse(claim, self._config.workers.lease_seconds)
            if wish:
                return self._jobs.end(claim, wish, "")
            deliveries = deliver_stage(reports, [destination], receipts)
            self._jobs.keep_receipts(claim.job_id, deliveries.receipts, self._confirmed)
            failures += deliveries.failures
        error = Deliveries((), tuple(failures)).error
        if error:
            raise error
        return self._jobs.finish(claim, {"receipts": len(self._jobs.receipts(claim.job_id))})

    def _files(self, claim: Claim) -> list[StoredFile]:
        return [StoredFile(instance, self._store.path_of(instance)) for instance in claim.study.instances]

    def _asked(self, route: RouteSettings) -> list[Asked]:
        if route.specialists not in self._checked:
            bundles_of(route, self._config)
            self._checked.add(route.specialists)
        return [member for name in route.specialists for member in self._members(name)]

    def _members(self, name: str) -> tuple[Asked, ...]:
        if name not in self._specialists:
            self._specialists[name] = open_specialists(name, self._config)
        return self._specialists[name]

    def _generalist(self, name: str) -> Generalist:
        if name not in self._generalists:
            self._generalists[name] = open_generalist(name, self._config)
        return self._generalists[name]

    def _pass_on_commitments(self) -> None:
        try:
            wake(self._app, NO_JOB, Stage.DELIVER)
        except TransientError as error:
            log.warning("%s The housekeeper wakes the next worker.", error)

    def _pass_on(self, job_id: int, stage: Stage, *, stat: bool) -> None:
        try:
            wake(self._app, job_id, stage, stat=stat)
            Upkeep(self._database).woken([job_id])
        except TransientError as error:
            log.warning("Job %d: %s The housekeeper wakes the next worker.", job_id, error)

    @contextmanager
    def _heartbeat(self, claim: Claim, lease_seconds: float) -> Iterator[None]:
        done = threading.Event()
        limit = self._config.workers.limit(claim.stage)
        deadline = time.monotonic() + limit

        def beat() -> None:
            while not done.wait(min(lease_seconds / 3, max(0.0, deadline - time.monotonic()))):
                if time.monotonic() >= deadline:
                    log.error(
                        "Job %d: %s took longer than %g s; this worker ends.",
                        claim.job_id,
                        claim.stage,
                        limit,
                    )
                    os._exit(1)  # whatever the stage hangs in, no exception would get it out
                try:
                    self._jobs.pulse(claim, lease_seconds)
                except LostLeaseError:
                    return
                except OutOfResourcesError as error:
                    log.warning("Job %d: %s", claim.job_id, error)

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            done.set()
            beating.join()
