"""The desk where a draft worker answers a question, and where a deliver worker files the answer if somebody wants it."""

import logging
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from celery import Celery
from pydantic import TypeAdapter

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.question_ledger import QuestionClaim, Questions
from gsco_pacs.config import Config
from gsco_pacs.consultation import deliver_stage
from gsco_pacs.domain.errors import LostLeaseError, PermanentError, TransientError
from gsco_pacs.domain.findings import Consultation
from gsco_pacs.domain.job import Stage
from gsco_pacs.domain.question import QuestionState
from gsco_pacs.domain.study import StoredFile
from gsco_pacs.pixels.decoding import Decoder
from gsco_pacs.ports import Generalist
from gsco_pacs.processes.choices import open_destination
from gsco_pacs.processes.parts import store_dir
from gsco_pacs.processes.question_door import send_wake_up
from gsco_pacs.questions import answer_question, question_report
from gsco_pacs.settings.routes import RouteSettings

log = logging.getLogger(__name__)

CONSULTATION = TypeAdapter(Consultation)
_GRACE_SECONDS = 30.0


class QuestionDesk:
    """What a draft or deliver worker does with one question; the job of a study always goes first."""

    def __init__(
        self,
        config: Config,
        stage: Stage,
        database: Database,
        generalist: Callable[[str], Generalist],
        decoder: Decoder,
    ) -> None:
        self._config = config
        self._stage = stage
        self._questions = Questions(database)
        self._generalist = generalist
        self._decoder = decoder
        self._store: Path = store_dir(config)

    def work(self, worker: str, app: Celery) -> None:
        """Claim the oldest question of the stage, if there is one, and take it a stage further."""
        claim = self._questions.claim(
            self._stage, worker, self._config.workers.limit(self._stage) + _GRACE_SECONDS
        )
        if claim is None:
            return
        try:
            state = self._carried_out(claim)
        except LostLeaseError:
            return
        log.info("Question %d: %s.", claim.number, state)
        if self._stage is Stage.DRAFT and state is QuestionState.WAITING and claim.to_be_filed:
            send_wake_up(self._questions, app, claim.number, Stage.DELIVER)

    def _carried_out(self, claim: QuestionClaim) -> QuestionState:
        try:
            return self._reply(claim) if self._stage is Stage.DRAFT else self._file(claim)
        except LostLeaseError:
            raise
        except TransientError as error:
            return self._questions.postpone(claim, str(error))
        except MemoryError:
            return self._questions.postpone(claim, "The worker ran out of memory.")
        except PermanentError as error:
            return self._questions.end(claim, QuestionState.FAILED, str(error))
        except Exception as error:
            # Without the message: it may quote a patient's attribute.
            trace = "".join(traceback.format_tb(error.__traceback__))
            log.error("Question %d failed: %s\n%s", claim.number, type(error).__name__, trace)  # noqa: TRY400
            reason = f"Unforeseen {type(error).__name__}; the worker's log has it."
            return self._questions.end(claim, QuestionState.FAILED, reason)

    def _reply(self, claim: QuestionClaim) -> QuestionState:
        began = time.monotonic()
        route = RouteSettings.model_validate(claim.route)
        consultation = CONSULTATION.validate_python(claim.consultation)
        generalist = self._generalist(route.generalist)
        reply = answer_question(
            claim.question,
            consultation,
            self._files(claim),
            generalist,
            self._decoder,
            route.question_template,
        )
        return self._questions.answered(claim, reply, time.monotonic() - began)

    def _file(self, claim: QuestionClaim) -> QuestionState:
        if claim.reply is None or claim.replied_at is None:
            raise PermanentError("There is no reply to file.")
        route = RouteSettings.model_validate(claim.route)
        report = claim.report
        if report is None:
            report = question_report(
                claim.study,
                self._files(claim),
                CONSULTATION.validate_python(claim.consultation),
                claim.question,
                claim.reply,
                route=route,
                equipment=self._config.equipment,
                number=claim.number,
                at=claim.replied_at.astimezone(),
            )
            self._questions.composed(claim, report)
        destinations = [open_destination(name, self._config) for name in route.destinations]
        deliveries = deliver_stage([report], destinations, claim.receipts)
        self._questions.keep_receipts(claim, deliveries.receipts)
        if deliveries.error:
            raise deliveries.error
        return self._questions.end(claim, QuestionState.FILED)

    def _files(self, claim: QuestionClaim) -> list[StoredFile]:
        return [StoredFile(instance, self._store / instance.path) for instance in claim.study.instances]
