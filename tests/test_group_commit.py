"""Group commit: one commit for many, nobody forgotten, and one bad item is not everybody's trouble."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from gsco_pacs.adapters.group_commit import GroupCommit
from gsco_pacs.domain.errors import BadObjectError, OutOfResourcesError


class Database:
    """Commits numbers, and stands still at the first commit until it is told to go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.busy = threading.Event()
        self.go_on = threading.Event()
        self.fails_with: Exception | None = None

    def commit(self, batch: Sequence[int]) -> list[int]:
        self.batches.append(list(batch))
        if len(self.batches) == 1:
            self.busy.set()
            self.go_on.wait(10)
        if self.fails_with is not None and any(number < 0 for number in batch):
            raise self.fails_with
        return [10 * number for number in batch]


def submit_together(database: Database, numbers: Sequence[int]) -> list[object]:
    """What each number was answered with, all submitted while a first commit was running."""
    group = GroupCommit(database.commit)
    with ThreadPoolExecutor(len(numbers) + 1) as pool:
        first = pool.submit(group.submit, 0)
        database.busy.wait(10)
        rest = [pool.submit(group.submit, number) for number in numbers]
        while len(group._waiting) < len(numbers):
            pass
        database.go_on.set()
        assert first.result(10) == 0
        return [future.exception(10) or future.result(10) for future in rest]


def test_what_comes_during_a_commit_is_committed_together_after_it() -> None:
    database = Database()
    assert submit_together(database, [1, 2, 3, 4]) == [10, 20, 30, 40]
    assert len(database.batches) == 2
    assert sorted(database.batches[1]) == [1, 2, 3, 4]


def test_a_database_that_is_away_fails_everybody_who_waits_and_is_asked_once() -> None:
    database = Database()
    database.fails_with = OutOfResourcesError()
    answers = submit_together(database, [1, -2, 3])
    assert all(isinstance(answer, OutOfResourcesError) for answer in answers)
    assert len(database.batches) == 2


def test_one_bad_item_fails_alone() -> None:
    database = Database()
    database.fails_with = BadObjectError()
    answers = submit_together(database, [1, -2, 3])
    assert answers[0] == 10
    assert isinstance(answers[1], BadObjectError)
    assert answers[2] == 30


def test_a_commit_that_answers_too_little_is_an_error_and_nobody_waits_for_ever() -> None:
    group: GroupCommit[int, int] = GroupCommit(lambda batch: batch[1:])
    with pytest.raises(ValueError, match="shorter"):
        group.submit(1)
