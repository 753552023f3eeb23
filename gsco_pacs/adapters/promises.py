"""The record of what the node has promised modalities to keep, and of the reports that it owes them.

Each method is one transaction. What is promised and how long it is kept are written together with the request.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, exists, insert, select, update

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.tables import InstanceRow, PromiseRow
from gsco_pacs.domain.commitment import CLASS_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE, Named, Outcome
from gsco_pacs.domain.storage import Holding
from gsco_pacs.settings.processes import Retry

SAME_ASSOCIATION_SECONDS = 5.0
"""So long the association that asked has for the report; then it goes to the address in the configuration."""

_A_QUERY = 500
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Promise:
    """A report that is owed to a modality."""

    number: int
    calling_ae: str
    outcome: Outcome


class Promises:
    """Fed by the receiver; reported by it, or by deliver workers."""

    def __init__(self, database: Database, days: float, retry: Retry) -> None:
        self._database = database
        self._kept_for = timedelta(days=days)
        self._retry = retry

    def promise(
        self,
        transaction_uid: str,
        named: Sequence[Named],
        calling_ae: str,
        is_there: Callable[[str, int], bool],
    ) -> Promise | None:
        """Commit the node to what it holds of ``named``; None if this modality used the Transaction UID before.

        ``is_there`` says whether a file of the store, by its path and size, is whole.
        """
        known = exists().where(
            PromiseRow.transaction_uid == transaction_uid, PromiseRow.calling_ae == calling_ae
        )
        with self._database.writing() as connection:
            if connection.execute(select(known)).scalar():
                return None
            outcome = self._outcome(connection, transaction_uid, named, is_there)
            entered = insert(PromiseRow).values(
                transaction_uid=transaction_uid, calling_ae=calling_ae, state="owed", asked_at=now(),
                due_at=now() + timedelta(seconds=SAME_ASSOCIATION_SECONDS),
                committed=[[one.sop_class_uid, one.sop_instance_uid] for one in outcome.committed],
                failed=[[one.sop_class_uid, one.sop_instance_uid, why] for one, why in outcome.failed.items()],
            )  # fmt: skip
            number = connection.execute(entered.returning(PromiseRow.id)).scalar_one()
        return Promise(number, calling_ae, outcome)

    def claim(self, seconds: float) -> Promise | None:
        """Take the report that has been owed longest; nobody else gets it for ``seconds``. None if none is due."""
        oldest = select(PromiseRow).where(_due()).order_by(PromiseRow.due_at).limit(1)
        with self._database.writing() as connection:
            row = connection.execute(oldest.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            _set(connection, row.id, due_at=now() + timedelta(seconds=seconds))
        committed = tuple(Named(*pair) for pair in row.committed)
        failed = {Named(*pair): reason for *pair, reason in row.failed}
        return Promise(row.id, row.calling_ae, Outcome(row.transaction_uid, committed, failed))

    def is_due(self) -> bool:
        """Whether a worker has something to report."""
        with self._database.reading() as connection:
            return bool(connection.execute(select(exists().where(_due()))).scalar())

    def reported(self, number: int) -> None:
        """The modality has its report."""
        with self._database.writing() as connection:
            _set(connection, number, state="reported", reported_at=now(), reason="")

    def postpone(self, number: int, reason: str) -> None:
        """Report later; given up when nothing is promised any longer. The wait grows with the time waited."""
        with self._database.writing() as connection:
            row = connection.execute(select(PromiseRow).where(PromiseRow.id == number)).one()
            waited = now() - row.asked_at
            if waited >= self._kept_for:
                self._give_up(connection, number, reason)
                return
            wait = min(self._retry.longest_seconds, max(self._retry.first_seconds, waited.total_seconds()))
            _set(connection, number, due_at=now() + timedelta(seconds=wait), reason=reason)

    def give_up(self, number: int, reason: str) -> None:
        """Report no more; what was promised is kept all the same."""
        with self._database.writing() as connection:
            self._give_up(connection, number, reason)

    def _give_up(self, connection: Connection, number: int, reason: str) -> None:
        _set(connection, number, state="unreported", reason=reason)

    def _outcome(
        self,
        connection: Connection,
        transaction_uid: str,
        named: Sequence[Named],
        is_there: Callable[[str, int], bool],
    ) -> Outcome:
        held = _held(connection, named)
        failed: dict[Named, int] = {}
        kept: list[int] = []
        for one in named:
            row = held.get(one.sop_instance_uid)
            if row is None:
                failed[one] = NO_SUCH_INSTANCE
            elif row.sop_class_uid != one.sop_class_uid:
                failed[one] = CLASS_CONFLICT
            elif not is_there(row.path, row.size):
                failed[one] = PROCESSING_FAILURE
            else:
                kept.append(row.id)
        until = now() + self._kept_for
        for some in _batched(kept):
            rows = update(InstanceRow).where(InstanceRow.id.in_(some), InstanceRow.holding == Holding.HERE)
            connection.execute(rows.values(kept_until=until))
        return Outcome(transaction_uid, tuple(one for one in named if one not in failed), failed)


def _held(connection: Connection, named: Iterable[Named]) -> Mapping[str, Any]:
    """SOP Instance UID -> the first object that was received under it; locked, so that nobody deletes it meanwhile."""
    held: dict[str, Any] = {}
    for some in _batched([one.sop_instance_uid for one in named]):
        query = (
            select(InstanceRow)
            .where(InstanceRow.sop_instance_uid.in_(some), InstanceRow.holding == Holding.HERE)
            .order_by(InstanceRow.id.desc())
            .with_for_update()
        )
        held |= {row.sop_instance_uid: row for row in connection.execute(query)}
    return held


def _batched(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """Few enough for one query."""
    return (values[start : start + _A_QUERY] for start in range(0, len(values), _A_QUERY))


def _due() -> Any:
    return (PromiseRow.state == "owed") & (PromiseRow.due_at <= now())


def _set(connection: Connection, number: int, **values: Any) -> None:
    connection.execute(update(PromiseRow).where(PromiseRow.id == number).values(**values))
