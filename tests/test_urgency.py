"""STAT before routine: the order of the claims against the real record, whatever arrives when."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.job_ledger import STAT_IN_A_ROW, JobLedger
from gsco_pacs.adapters.ledger import Database, Ledger
from gsco_pacs.adapters.tables import AttemptRow, JobRow
from gsco_pacs.domain.completeness import Decision
from gsco_pacs.domain.job import Event, Stage
from gsco_pacs.domain.study import Instance, Peer, Routing

_EVENTS = st.lists(st.sampled_from(["stat", "stat", "routine", "claim", "claim"]), max_size=40)


class Queue:
    """Closes studies of either priority and claims them; keeps the order beside the record."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ledger, self._jobs = Ledger(database), JobLedger(database)
        self._number = 0
        self.waiting: dict[str, list[str]] = {"stat": [], "routine": []}
        self.claimed: list[str] = []

    def empty(self) -> None:
        """Forget every job that waits and every claim that was made."""
        with self._database.writing() as connection:
            connection.execute(AttemptRow.__table__.delete())  # type: ignore[attr-defined]
            connection.execute(JobRow.__table__.update().values(state="cancelled"))  # type: ignore[attr-defined]
        self.waiting, self.claimed = {"stat": [], "routine": []}, []

    def arrive(self, priority: str) -> None:
        self._number += 1
        uid = f"1.2.{self._number}"
        sha256 = f"{self._number}".rjust(64, "0")
        instance = Instance(
            uid, f"{uid}.1", f"{uid}.1.1", "1.2", "1.2.840.10008.1.2.1", sha256, 1, sha256, {}
        )
        self._ledger.register([(instance, Peer("A", "B", "127.0.0.1"))])
        (collecting,) = self._ledger.collecting()
        decision = Decision(closed=True, reason="quiet", decided_at=datetime.now(UTC))
        assert self._ledger.close(collecting, decision, Routing("r", ()), {"name": "r", "priority": priority})
        self.waiting[priority].append(uid)

    def claim(self, *, only_stat: bool = False) -> str | None:
        """The priority of the study that was claimed; it is checked to be the first of its kind."""
        claim = self._jobs.claim(Stage.CONSULT, "worker", 30, only_stat=only_stat)
        if claim is None:
            return None
        self._jobs.end(claim, Event.NOT_APPLICABLE, "done")
        priority: str = claim.route["priority"]
        assert claim.study.study_instance_uid == self.waiting[priority].pop(0)
        self.claimed.append(priority)
        return priority


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Queue:
    url = f"sqlite:///{tmp_path_factory.mktemp('urgency') / 'ledger.sqlite'}"
    migrate(url)
    return Queue(Database(open_engine(url)))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=_EVENTS)
def test_stat_goes_first_but_never_more_than_four_times_in_a_row_while_routine_waits(
    queue: Queue, events: list[str]
) -> None:
    queue.empty()
    for event in events:
        if event != "claim":
            queue.arrive(event)
            continue
        both_wait = all(queue.waiting.values())
        only_stat_before = queue.claimed[-STAT_IN_A_ROW:] == ["stat"] * STAT_IN_A_ROW
        any_waits = any(queue.waiting.values())
        taken = queue.claim()
        assert (taken is not None) == any_waits
        if both_wait:
            assert taken == ("routine" if only_stat_before else "stat")


def test_a_lane_for_stat_leaves_routine_studies_alone(queue: Queue) -> None:
    queue.empty()
    queue.arrive("routine")
    assert queue.claim(only_stat=True) is None
    queue.arrive("stat")
    assert queue.claim(only_stat=True) == "stat"
    assert queue.claim() == "routine"
