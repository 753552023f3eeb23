"""The record of what destinations have promised to keep. Each method is one transaction; nothing is only in memory.

A row is one try. A worker claims what is owed by moving its due time on, so that a worker that dies gives it back by
itself. A try that failed or had no answer is followed by the next one, which sends the object anew and asks under a
new Transaction UID, as the standard wants it (PS3.4 section J.3.2).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydicom.uid import generate_uid
from sqlalchemy import Connection, exists, insert, select, update

from gsco_pacs.adapters.ledger import Database
from gsco_pacs.adapters.moves import now
from gsco_pacs.adapters.tables import CommitmentRow, ReportRow
from gsco_pacs.adapters.transfers import note_sent
from gsco_pacs.domain.commitment import CommitmentState, Outcome, reason_words
from gsco_pacs.domain.findings import ObjectKind, Report
from gsco_pacs.settings.processes import Retry

_OPEN = (CommitmentState.OWED, CommitmentState.ASKED)

_TOGETHER = timedelta(seconds=1)
"""What is due within so short a time was owed by one answer, and is asked for with one request."""


@dataclass(frozen=True)
class Asking:
    """A worker's right to ask one destination about the objects of one job."""

    destination: str
    transaction_uid: str
    reports: tuple[Report, ...]
    again: tuple[Report, ...]
    """Those of them that must be sent anew first."""


class Commitments:
    """Fed by deliveries and event reports; worked on by deliver workers and the housekeeper."""

    def __init__(self, database: Database, retry: Retry) -> None:
        self._database = database
        self._retry = retry

    def claim(self, seconds: float) -> Asking | None:
        """Take what has been owed longest, with everything of the same job and destination that is due with it.

        Nobody else gets it for ``seconds``. None if nothing is due.
        """
        due = (CommitmentRow.state == CommitmentState.OWED) & (CommitmentRow.due_at <= now())
        joined = select(CommitmentRow, ReportRow.job_id).join(
            ReportRow, ReportRow.id == CommitmentRow.report_id
        )
        first = joined.where(due).order_by(CommitmentRow.due_at, CommitmentRow.id).limit(1)
        with self._database.writing() as connection:
            oldest = connection.execute(first.with_for_update(of=CommitmentRow, skip_locked=True)).first()
            if oldest is None:
                return None
            same = (ReportRow.job_id == oldest.job_id) & (CommitmentRow.destination == oldest.destination)
            soon = (CommitmentRow.state == CommitmentState.OWED) & (CommitmentRow.due_at <= now() + _TOGETHER)
            batch = joined.where(soon, same).order_by(CommitmentRow.id)
            rows = connection.execute(batch.with_for_update(of=CommitmentRow, skip_locked=True)).all()
            uid = str(generate_uid(prefix=None))
            held = {"transaction_uid": uid, "due_at": now() + timedelta(seconds=seconds)}
            taken = CommitmentRow.id.in_([row.id for row in rows])
            connection.execute(update(CommitmentRow).where(taken).values(**held))
            reports = {row.report_id: _report(connection, row.report_id) for row in rows}
        again = tuple(reports[row.report_id] for row in rows if row.number > 1 and row.asked_at is None)
        return Asking(oldest.destination, uid, tuple(reports.values()), again)

    def sent_again(self, asking: Asking, report: Report) -> None:
        """Note that the destination took ``report`` anew: once for each try, and for the audit trail."""
        ours = select(ReportRow.id).where(ReportRow.sop_instance_uid == report.sop_instance_uid)
        sent = _owed_of(asking).where(CommitmentRow.report_id.in_(ours))
        with self._database.writing() as connection:
            connection.execute(sent.values(asked_at=now()))
            note_sent(connection, report.study_instance_uid, asking.destination, [report.sop_class_uid])

    def asked(self, asking: Asking, deadline_seconds: float) -> None:
        """Note that the destination will answer."""
        until = now() + timedelta(seconds=deadline_seconds)
        values = {"state": CommitmentState.ASKED, "asked_at": now(), "due_at": until, "reason": ""}
        with self._database.writing() as connection:
            connection.execute(_owed_of(asking).values(**values))

    def postpone(self, asking: Asking, reason: str, deadline_seconds: float) -> None:
        """Let what was not asked, or not found, wait; past the deadline it is overdue. The wait grows with the time waited."""
        of_asking = select(CommitmentRow).where(
            CommitmentRow.transaction_uid == asking.transaction_uid,
            CommitmentRow.state == CommitmentState.OWED,
        )
        with self._database.writing() as connection:
            for row in connection.execute(of_asking).all():
                waited = (now() - row.owed_at).total_seconds()
                if waited >= deadline_seconds:
                    self._missed(connection, row, CommitmentState.OVERDUE, reason)
                    continue
                wait = min(self._retry.longest_seconds, max(self._retry.first_seconds, waited))
                later = now() + timedelta(seconds=wait)
                _set(connection, row.id, due_at=later, reason=reason)

    def settle(self, outcome: Outcome) -> bool:
        """Keep what a destination said; False if no such transaction was ever opened. A repetition changes nothing."""
        committed = {named.sop_instance_uid for named in outcome.committed}
        failed = {named.sop_instance_uid: reason for named, reason in outcome.failed.items()}
        rows = (
            select(CommitmentRow, ReportRow.sop_instance_uid)
            .join(ReportRow, ReportRow.id == CommitmentRow.report_id)
            .where(CommitmentRow.transaction_uid == outcome.transaction_uid)
        )
        with self._database.writing() as connection:
            known = connection.execute(rows).all()
            for row in known:
                if row.sop_instance_uid in committed:
                    _committed(connection, row, outcome.by)
                elif row.sop_instance_uid in failed and row.state in _OPEN:
                    reason = f"The PACS says: {reason_words(failed[row.sop_instance_uid])}."
                    self._missed(connection, row, CommitmentState.FAILED, reason)
        return bool(known)

    def drop(self, asking: Asking, reason: str) -> None:
        """Ask no more, because the destination asks for no confirmation any longer."""
        values = {"state": CommitmentState.FAILED, "reason": reason, "settled_at": now(), "tries_left": 0}
        with self._database.writing() as connection:
            connection.execute(_owed_of(asking).values(**values))

    def pass_deadlines(self) -> int:
        """Settle as overdue what had no answer by its deadline; returns how many objects."""
        late = select(CommitmentRow).where(
            CommitmentRow.state == CommitmentState.ASKED, CommitmentRow.due_at <= now()
        )
        with self._database.writing() as connection:
            rows = connection.execute(late.with_for_update(skip_locked=True)).all()
            for row in rows:
                self._missed(connection, row, CommitmentState.OVERDUE, "No answer by the deadline.")
        return len(rows)

    def is_due(self) -> bool:
        """Whether a worker has something to ask."""
        due = exists().where(CommitmentRow.state == CommitmentState.OWED, CommitmentRow.due_at <= now())
        with self._database.reading() as connection:
            return bool(connection.execute(select(due)).scalar())

    def _missed(self, connection: Connection, row: Any, state: CommitmentState, reason: str) -> None:
        _set(connection, row.id, state=state, reason=reason, settled_at=now())
        if row.tries_left > 0:
            wait = min(self._retry.longest_seconds, self._retry.first_seconds * 2.0 ** (row.number - 1))
            owe(
                connection, row.report_id, row.destination, row.tries_left, number=row.number + 1,
                due_at=now() + timedelta(seconds=wait),
            )  # fmt: skip


def owe(
    connection: Connection,
    report_id: int,
    destination: str,
    tries: int,
    *,
    number: int = 1,
    due_at: datetime | None = None,
) -> None:
    """Enter a try, of which ``tries`` may be made from here on."""
    connection.execute(
        insert(CommitmentRow).values(
            report_id=report_id, destination=destination, number=number, tries_left=tries - 1,
            state=CommitmentState.OWED, owed_at=now(), due_at=due_at or now(),
        )
    )  # fmt: skip


def _committed(connection: Connection, row: Any, by: str) -> None:
    if row.state == CommitmentState.COMMITTED:
        return
    _set(connection, row.id, state=CommitmentState.COMMITTED, known_by=by, reason="", settled_at=now())
    # The answer may be later than the deadline: then the next try has nothing left to ask.
    following = (
        update(CommitmentRow)
        .where(
            CommitmentRow.report_id == row.report_id,
            CommitmentRow.destination == row.destination,
            CommitmentRow.number > row.number,
            CommitmentRow.state.in_(_OPEN),
        )
        .values(
            state=CommitmentState.COMMITTED, known_by=by, settled_at=now(), reason="An earlier request was answered late."
        )
    )  # fmt: skip
    connection.execute(following)


def _owed_of(asking: Asking) -> Any:
    return update(CommitmentRow).where(
        CommitmentRow.transaction_uid == asking.transaction_uid, CommitmentRow.state == CommitmentState.OWED
    )


def _set(connection: Connection, row_id: int, **values: Any) -> None:
    connection.execute(update(CommitmentRow).where(CommitmentRow.id == row_id).values(**values))


def _report(connection: Connection, report_id: int) -> Report:
    row = connection.execute(select(ReportRow).where(ReportRow.id == report_id)).one()
    return Report(
        ObjectKind(row.kind), row.sop_class_uid, row.study_instance_uid, row.series_instance_uid,
        row.sop_instance_uid, row.content, row.sha256,
    )  # fmt: skip
