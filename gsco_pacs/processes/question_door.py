"""The door that a person asks through: a question is entered, and a worker is woken."""

import logging
import time

from celery import Celery

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.question_ledger import Question, Questions
from gsco_pacs.adapters.queue import open_app, wake
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import TransientError
from gsco_pacs.domain.job import Stage
from gsco_pacs.processes.parts import open_database

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2


class QuestionDoor:
    """Where commands and pages ask: the question is entered, and a worker is woken."""

    def __init__(self, database: Database, app: Celery) -> None:
        self._questions = Questions(database)
        self._app = app

    def ask(self, study_instance_uid: str, question: str, asked_by: str, *, to_be_filed: bool) -> Question:
        """The question as it was entered; the errors of ``Questions.ask``."""
        number = self._questions.ask(study_instance_uid, question, asked_by, to_be_filed=to_be_filed)
        return self._woken(number, Stage.DRAFT)

    def file(self, number: int) -> Question:
        """Have the SR of an answered question made and sent; the errors of ``Questions.file``."""
        self._questions.file(number)
        return self._woken(number, Stage.DELIVER)

    def question(self, number: int) -> Question:
        """One question."""
        return self._questions.question(number)

    def of_study(self, study_instance_uid: str) -> tuple[Question, ...]:
        """Every question about a study, newest first."""
        return self._questions.of_study(study_instance_uid)

    def ended(self, number: int, seconds: float) -> Question:
        """The question when it has ended, or as it stands after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not (question := self._questions.question(number)).state.ended and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        return question

    def _woken(self, number: int, stage: Stage) -> Question:
        send_wake_up(self._questions, self._app, number, stage)
        return self._questions.question(number)


def open_door(config: Config) -> QuestionDoor:
    """The door of the node of ``config``."""
    return QuestionDoor(open_database(config), open_app(config))


def send_wake_up(questions: Questions, app: Celery, number: int, stage: Stage) -> None:
    """Wake a worker of ``stage``; if the broker is down, the housekeeper does it later."""
    try:
        wake(app, number, stage)
        questions.woken(number)
    except TransientError as error:
        log.warning("Question %d: %s The housekeeper wakes the next worker.", number, error)
