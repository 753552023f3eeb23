"""Several threads share one commit: each waits for the disk once, however many images came at the same time."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

from gsco_pacs.domain.errors import TransientError

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Collects what comes while a commit is running, and commits it together when that one is done.

    There is no thread of its own: whoever gets the lock commits for all who wait. So one association alone is not
    slowed down by a hand-over, and there is nothing to start or stop.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._commit = commit
        self._committing = Lock()
        self._waiting: list[tuple[Item, Future[Result]]] = []
        self._guard = Lock()

    def submit(self, item: Item) -> Result:
        """The result of ``item`` when its commit is durable; raises what the commit raised."""
        future: Future[Result] = Future()
        with self._guard:
            self._waiting.append((item, future))
        with self._committing:
            if not future.done():
                with self._guard:
                    batch, self._waiting = self._waiting, []
                self._carry_out(batch)
        return future.result()

    def _carry_out(self, batch: Sequence[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self._commit([item for item, _ in batch])
            answered = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 - it belongs to the threads that wait
            if len(batch) == 1 or isinstance(error, TransientError):
                for _, future in batch:
                    future.set_exception(error)
            else:  # one bad item must not fail the others
                for waiting in batch:
                    self._carry_out([waiting])
        else:
            for (_, future), result in answered:
                future.set_result(result)
