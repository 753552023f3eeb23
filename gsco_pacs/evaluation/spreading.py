"""Shares work over processes, each of which opens its models once."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar, cast

from gsco_pacs.domain.errors import GscoError, PermanentError

Work = TypeVar("Work")
Result = TypeVar("Result")


def spread(
    opener: Callable[[], Callable[[Work], Result]], work: Iterable[Work], jobs: int
) -> Iterator[Result]:
    """The result of each piece of work, in the order in which they are done; one job works in this process.

    ``opener`` makes the worker; it, the work and the results must be picklable if there are several jobs.
    """
    if jobs == 1:
        yield from map(opener(), work)
        return
    rest = iter(work)
    helpers = [_begin(opener) for _ in range(jobs)]
    try:
        busy = [helper for helper in helpers if _feed(helper, rest)]
        while busy:
            for ready in cast("list[Connection]", wait(busy)):
                yield _result(ready)
                if not _feed(ready, rest):
                    busy.remove(ready)
    finally:
        for helper in helpers:
            helper.close()


def _begin(opener: Callable[[], Any]) -> Connection:
    """A process that works on what it receives until its line is closed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=_serve, args=(opener, theirs), daemon=True).start()
    theirs.close()
    return ours


def _serve(opener: Callable[[], Callable[[Any], Any]], line: Connection) -> None:
    do = opener()
    while True:
        try:
            piece = line.recv()
        except EOFError:
            return
        try:
            line.send(do(piece))
        except GscoError as error:
            line.send(error)


def _feed(helper: Connection, rest: Iterator[Any]) -> bool:
    for piece in rest:
        helper.send(piece)
        return True
    return False


def _result(helper: Connection) -> Any:
    try:
        result = helper.recv()
    except EOFError as error:
        raise PermanentError(
            "A process that shared the work has ended; its own message stands above."
        ) from error
    if isinstance(result, GscoError):
        raise result
    return result
