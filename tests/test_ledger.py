"""The record: what is received, claimed, finished, lost and brought back, the same on SQLite and PostgreSQL."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from sqlalchemy import inspect, text

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.database import _alembic, check_schema, migrate, open_engine
from gsco_pacs.adapters.job_ledger import Claim, JobLedger
from gsco_pacs.adapters.ledger import Collecting, Database, Ledger
from gsco_pacs.adapters.table_base import Base
from gsco_pacs.adapters.upkeep import CRASHES_ALLOWED, WOKEN_AGAIN, Unwoken, Upkeep
from gsco_pacs.domain.completeness import Decision, Grounds
from gsco_pacs.domain.errors import ConfigError, IllegalMoveError, LostLeaseError
from gsco_pacs.domain.findings import ObjectKind, Receipt, Report
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.domain.registration import Registration
from gsco_pacs.domain.study import Instance, Peer, Routing, Trial
from gsco_pacs.processes.housekeeper import TICK_SECONDS, LeaseWatch

PEER = Peer("MODALITY", "GSCO", "127.0.0.1")
SR = "1.2.840.10008.5.1.4.1.1.88.22"
ROUTE = {"name": "chest", "priority": "routine"}


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


@pytest.fixture
def jobs(database: Database) -> JobLedger:
    return JobLedger(database)


@pytest.fixture
def upkeep(database: Database) -> Upkeep:
    return Upkeep(database)


@pytest.fixture
def audit(database: Database) -> Audit:
    return Audit(database)


def instance(number: int = 1, study: str = "1.2.3", content: str = "") -> Instance:
    sha256 = f"{number}{content}".ljust(64, "0")
    return Instance(
        study, f"{study}.1", f"{study}.1.{number}", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1",
        sha256, 1000, f"ab/{sha256}.dcm", {"Modality": "CR", "PatientID": "P1"},
    )  # fmt: skip


def receive(ledger: Ledger, *instances: Instance) -> list[Registration]:
    return ledger.register([(one, PEER) for one in instances])


def close(ledger: Ledger, route: dict[str, str] | None = ROUTE) -> Collecting:
    (collecting,) = ledger.collecting()
    decision = Decision(closed=True, reason="No new image for 60 s.", decided_at=datetime.now(UTC))
    routing = Routing(
        route["name"] if route else None, (Trial("chest", bool(route), "" if route else "Modality is CT"),)
    )
    assert ledger.close(collecting, decision, routing, route)
    return collecting


def claimed(jobs: JobLedger, stage: Stage = Stage.CONSULT) -> Claim:
    claim = jobs.claim(stage, "worker-1", 30)
    assert claim is not None
    return claim


def report(kind: ObjectKind, uid: str) -> Report:
    return Report(kind, SR, "1.2.3", f"{uid}.1", uid, b"bytes", "0" * 64)


def test_the_migrations_build_what_the_models_say(url: str) -> None:
    migrate(url)
    migrated, made = open_engine(url), open_engine("sqlite://")
    Base.metadata.create_all(made)
    for table in Base.metadata.tables:
        names = [
            {column["name"] for column in inspect(engine).get_columns(table)} for engine in (migrated, made)
        ]
        indexes = [
            {
                index["name"]
                for index in inspect(engine).get_indexes(table)
                if "duplicates_constraint" not in index
            }
            for engine in (migrated, made)
        ]
        assert names[0] == names[1]
        assert indexes[0] == indexes[1]


def test_the_migrations_can_be_undone_and_done_again(url: str) -> None:
    migrate(url)
    command.downgrade(_alembic(url), "base")
    assert inspect(open_engine(url)).get_table_names() == ["alembic_version"]
    migrate(url)
    check_schema(open_engine(url))


def test_an_old_database_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gsco-pacs migrate"):
        check_schema(open_engine(f"sqlite:///{tmp_path / 'empty.sqlite'}"))


def test_sqlite_commits_survive_a_power_cut(tmp_path: Path) -> None:
    with open_engine(f"sqlite:///{tmp_path / 'x.sqlite'}").connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_the_first_image_opens_a_job_and_the_next_ones_join_it(ledger: Ledger) -> None:
    assert receive(ledger, instance(1), instance(2)) == [Registration.KEPT, Registration.KEPT]
    (collecting,) = ledger.collecting()
    assert [i.sop_instance_uid for i in ledger.study(collecting.job_id).instances] == [
        "1.2.3.1.1",
        "1.2.3.1.2",
    ]


def test_the_same_bytes_again_are_counted_and_change_nothing(ledger: Ledger, audit: Audit) -> None:
    receive(ledger, instance(1))
    before = ledger.collecting()
    assert receive(ledger, instance(1)) == [Registration.EQUAL]
    assert ledger.collecting() == before
    assert audit.study("1.2.3").received[0].resent == 1


def test_a_known_uid_with_other_bytes_is_kept_aside(ledger: Ledger, audit: Audit) -> None:
    receive(ledger, instance(1))
    assert receive(ledger, instance(1, content="changed")) == [Registration.VARIANT]
    (collecting,) = ledger.collecting()
    assert len(ledger.study(collecting.job_id).instances) == 1
    assert [received.kind for received in audit.study("1.2.3").received] == ["kept", "variant"]


def test_a_late_image_opens_a_new_revision_and_the_unfinished_one_is_superseded(
    ledger: Ledger, jobs: JobLedger, audit: Audit
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    receive(ledger, instance(2))
    close(ledger)
    newest, older = audit.study("1.2.3").revisions
    assert (newest.job.revision, newest.job.state, newest.job.images) == (2, State.QUEUED, 2)
    assert (older.job.revision, older.job.state, older.job.images) == (1, State.CANCELLED, 1)
    assert older.moments[-1].event == Event.SUPERSEDED
    assert len(claimed(jobs).study.instances) == 2


def test_a_running_job_learns_at_the_end_of_its_stage_that_it_is_superseded(
    ledger: Ledger, jobs: JobLedger, audit: Audit
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    claim = claimed(jobs)
    receive(ledger, instance(2))
    close(ledger)
    assert jobs.pulse(claim, 30) is Event.SUPERSEDED
    assert jobs.finish(claim, {"opinions": []}) is State.CANCELLED
    assert audit.study("1.2.3").revisions[1].products == {"consult": {"opinions": []}}


def test_a_study_is_not_closed_when_an_image_came_meanwhile(ledger: Ledger) -> None:
    receive(ledger, instance(1))
    (stale,) = ledger.collecting()
    receive(ledger, instance(2))
    decision = Decision(closed=True, reason="quiet", decided_at=datetime.now(UTC))
    assert not ledger.close(stale, decision, Routing("chest", ()), ROUTE)
    assert ledger.collecting()


def test_a_study_that_no_route_wants_is_skipped_with_the_failed_condition(
    ledger: Ledger, audit: Audit
) -> None:
    receive(ledger, instance(1))
    close(ledger, route=None)
    job = audit.study("1.2.3").revisions[0].job
    assert (job.state, job.reason) == (State.SKIPPED, "No route matches: chest: Modality is CT")


def test_what_was_missing_when_a_study_was_closed_stays_with_the_decision_and_goes_to_the_worker(
    ledger: Ledger, jobs: JobLedger, audit: Audit
) -> None:
    receive(ledger, instance(1))
    (collecting,) = ledger.collecting()
    missing = "MPPS of CT1: 3 of 4 announced images have not come."
    decision = Decision(
        closed=True, reason="The deadline.", decided_at=datetime.now(UTC), grounds=Grounds.DEADLINE,
        evidence=("Instances here: 1.", missing), incomplete=missing,
    )  # fmt: skip
    assert ledger.close(collecting, decision, Routing("chest", ()), ROUTE)
    detail = audit.study("1.2.3").revisions[0].moments[-1].detail
    assert (detail["grounds"], detail["evidence"]) == ("deadline", ["Instances here: 1.", missing])
    assert claimed(jobs).study.incomplete == missing


def test_six_workers_that_claim_at_once_get_one_job_once(ledger: Ledger, jobs: JobLedger) -> None:
    receive(ledger, instance(1))
    close(ledger)
    claims: list[Claim | None] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        claims.append(jobs.claim(Stage.CONSULT, "worker", 30))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in claims) == 1
    assert len(claims) == 6


def test_a_stat_study_is_claimed_before_a_routine_one_that_waited_longer(
    ledger: Ledger, jobs: JobLedger
) -> None:
    receive(ledger, instance(1, study="1.2.3"))
    close(ledger)
    receive(ledger, instance(1, study="1.2.4"))
    close(ledger, ROUTE | {"priority": "stat"})
    assert claimed(jobs).study.study_instance_uid == "1.2.4"


def test_a_job_goes_through_its_stages_and_every_move_is_recorded(
    ledger: Ledger, jobs: JobLedger, audit: Audit
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    assert jobs.finish(claimed(jobs), {"opinions": [1]}) is State.QUEUED
    reports = [report(ObjectKind.NARRATIVE, "2.25.1"), report(ObjectKind.CODED, "2.25.2")]
    assert jobs.finish(claimed(jobs, Stage.DRAFT), {"draft": 1}, reports) is State.QUEUED
    claim = claimed(jobs, Stage.DELIVER)
    assert list(jobs.reports(claim.job_id)) == reports
    receipts = [Receipt("pacs", one.sop_instance_uid, "0x0000") for one in reports]
    jobs.keep_receipts(claim.job_id, receipts)
    jobs.keep_receipts(claim.job_id, receipts)
    assert jobs.finish(claim, {}) is State.DELIVERED
    revision = audit.study("1.2.3").revisions[0]
    assert [moment.event for moment in revision.moments] == [
        "instance_stored", "study_closed", "claimed", "stage_finished", "claimed", "stage_finished", "claimed",
        "reports_accepted",
    ]  # fmt: skip
    assert [attempt.outcome for attempt in revision.attempts] == [
        "stage_finished",
        "stage_finished",
        "reports_accepted",
    ]
    assert len(revision.deliveries) == 2
    assert jobs.product(claim.job_id, Stage.CONSULT) == {"opinions": [1]}


def test_our_own_report_coming_back_is_recognised_and_opens_nothing(ledger: Ledger, jobs: JobLedger) -> None:
    receive(ledger, instance(1))
    close(ledger)
    jobs.finish(claimed(jobs), {}, [])
    jobs.finish(claimed(jobs, Stage.DRAFT), {}, [report(ObjectKind.NARRATIVE, "2.25.1")])
    assert receive(ledger, replace(instance(9), sop_instance_uid="2.25.1", sop_class_uid=SR)) == [
        Registration.OWN
    ]
    assert ledger.collecting() == []


@pytest.mark.parametrize(
    "sop_class", ["1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.30"]
)
def test_our_own_evidence_coming_back_is_recognised_while_a_foreign_capture_is_an_image(
    ledger: Ledger, jobs: JobLedger, sop_class: str
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    jobs.finish(claimed(jobs), {}, [report(ObjectKind.CAPTURE, "2.25.9")])
    assert receive(ledger, replace(instance(9), sop_instance_uid="2.25.9", sop_class_uid=sop_class)) == [
        Registration.OWN
    ]
    assert ledger.collecting() == []
    foreign = replace(instance(8), sop_class_uid="1.2.840.10008.5.1.4.1.1.7")
    assert receive(ledger, foreign) == [Registration.KEPT]


def test_evidence_is_kept_with_the_stage_that_made_it_and_stands_before_the_reports(
    ledger: Ledger, jobs: JobLedger
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    captures = [report(ObjectKind.CAPTURE, f"2.25.{number}") for number in (7, 8)]
    jobs.finish(claimed(jobs), {}, captures)
    narrative = report(ObjectKind.NARRATIVE, "2.25.1")
    jobs.finish(claimed(jobs, Stage.DRAFT), {}, [narrative])
    claim = claimed(jobs, Stage.DELIVER)
    assert list(jobs.reports(claim.job_id)) == [*captures, narrative]
    jobs.finish(claim, {})
    assert len(jobs.reports(claim.job_id)) == 3


def test_a_stage_that_is_gone_through_again_replaces_its_objects(
    ledger: Ledger, jobs: JobLedger, upkeep: Upkeep
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    jobs.finish(claimed(jobs), {}, [report(ObjectKind.CAPTURE, uid) for uid in ("2.25.7", "2.25.8")])
    jobs.end(claimed(jobs, Stage.DRAFT), Event.NOT_APPLICABLE, "nothing to say")
    upkeep.requeue("1.2.3", "operator")
    close(ledger)
    again = claimed(jobs)
    jobs.finish(again, {}, [report(ObjectKind.CAPTURE, "2.25.7")])
    assert [one.sop_instance_uid for one in jobs.reports(again.job_id)] == ["2.25.7"]


def test_a_database_with_evidence_can_go_back_to_the_version_without(url: str) -> None:
    migrate(url)
    database = Database(open_engine(url))
    ledger, jobs = Ledger(database), JobLedger(database)
    receive(ledger, instance(1))
    close(ledger)
    first = claimed(jobs)
    jobs.finish(first, {}, [report(ObjectKind.CAPTURE, uid) for uid in ("2.25.7", "2.25.8")])
    jobs.keep_receipts(first.job_id, [Receipt("pacs", "2.25.7", "0x0000")])
    jobs.finish(claimed(jobs, Stage.DRAFT), {}, [report(ObjectKind.NARRATIVE, "2.25.1")])
    command.downgrade(_alembic(url), "0001")
    migrate(url)
    assert [one.kind for one in jobs.reports(first.job_id)] == [ObjectKind.NARRATIVE]


def test_a_later_revision_knows_the_reports_that_it_replaces(ledger: Ledger, jobs: JobLedger) -> None:
    receive(ledger, instance(1))
    close(ledger)
    first = claimed(jobs)
    jobs.finish(first, {}, [report(ObjectKind.CAPTURE, "2.25.7")])
    jobs.finish(claimed(jobs, Stage.DRAFT), {}, [report(ObjectKind.NARRATIVE, "2.25.1")])
    jobs.keep_receipts(first.job_id, [Receipt("pacs", uid, "0x0000") for uid in ("2.25.7", "2.25.1")])
    receive(ledger, instance(2))
    close(ledger)
    claim = claimed(jobs)
    assert [p.sop_instance_uid for p in jobs.predecessors(claim.job_id)] == ["2.25.1"]


def test_a_report_that_no_destination_took_is_nobodys_predecessor(ledger: Ledger, jobs: JobLedger) -> None:
    receive(ledger, instance(1))
    close(ledger)
    jobs.finish(claimed(jobs), {})
    jobs.finish(claimed(jobs, Stage.DRAFT), {}, [report(ObjectKind.NARRATIVE, "2.25.1")])
    receive(ledger, instance(2))
    close(ledger)
    assert jobs.predecessors(claimed(jobs).job_id) == ()


def test_a_wish_that_comes_after_the_delivery_changes_nothing(
    ledger: Ledger, jobs: JobLedger, upkeep: Upkeep
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    jobs.finish(claimed(jobs), {})
    jobs.finish(claimed(jobs, Stage.DRAFT), {}, [report(ObjectKind.NARRATIVE, "2.25.1")])
    claim = claimed(jobs, Stage.DELIVER)
    upkeep.cancel("1.2.3", "operator")
    assert jobs.finish(claim, {}) is State.DELIVERED


def test_a_foreign_report_is_attached_and_wakes_nobody(ledger: Ledger, audit: Audit) -> None:
    receive(ledger, instance(1))
    close(ledger)
    assert receive(ledger, replace(instance(2), sop_class_uid=SR)) == [Registration.ATTACHED]
    assert ledger.collecting() == []
    assert [received.kind for received in audit.study("1.2.3").received] == ["kept", "attached"]


def test_an_instance_that_is_known_in_another_study_is_new_in_this_one(ledger: Ledger) -> None:
    receive(ledger, instance(1, study="1.2.3"))
    moved = replace(instance(1, study="1.2.4", content="moved"), sop_instance_uid="1.2.3.1.1")
    assert receive(ledger, moved) == [Registration.KEPT]
    assert len(ledger.collecting()) == 2


def test_a_skipped_study_is_routed_anew_when_an_operator_tries_it_again(
    ledger: Ledger, audit: Audit, upkeep: Upkeep
) -> None:
    receive(ledger, instance(1))
    close(ledger, route=None)
    assert upkeep.requeue("1.2.3", "operator") == State.COLLECTING
    close(ledger)
    job = audit.study("1.2.3").revisions[0].job
    assert (job.state, job.route, job.settled_at) == (State.QUEUED, "chest", None)


def test_a_late_image_that_no_route_wants_leaves_the_older_revision_alone(
    ledger: Ledger, audit: Audit
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    receive(ledger, instance(2))
    close(ledger, route=None)
    assert [revision.job.state for revision in audit.study("1.2.3").revisions] == [
        State.SKIPPED,
        State.QUEUED,
    ]


def test_cancelling_a_study_cancels_each_of_its_unfinished_jobs(
    ledger: Ledger, audit: Audit, upkeep: Upkeep
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    receive(ledger, instance(2))
    upkeep.cancel("1.2.3", "operator")
    assert audit.counts() == {State.CANCELLED: 2}


def test_only_crashes_in_a_row_make_a_job_poison(
    ledger: Ledger, jobs: JobLedger, upkeep: Upkeep, audit: Audit
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    for number in range(2 * CRASHES_ALLOWED):
        claim = claimed(jobs)
        if number % 2:
            jobs.postpone(claim, "The PACS is down.", 0)
        else:
            upkeep.take_back(upkeep.leases())
        upkeep.queue_due()
    assert audit.counts() == {State.QUEUED: 1}


def test_a_lease_is_lost_when_it_does_not_move_for_its_time_by_the_housekeepers_clock() -> None:
    watch, far_off = LeaseWatch(3), datetime(2001, 1, 1, tzinfo=UTC)
    moving = [
        watch.silent({"a": far_off + timedelta(seconds=n), "b": far_off}, n * TICK_SECONDS) for n in range(7)
    ]
    assert [list(silent) for silent in moving] == [[]] * 6 + [["b"]]


def test_time_in_which_the_housekeeper_could_not_look_costs_nobody_a_lease() -> None:
    watch, until = LeaseWatch(30), datetime(2001, 1, 1, tzinfo=UTC)
    watch.silent({"a": until}, 0)
    assert watch.silent({"a": until}, 3600) == {}


def test_a_worker_that_lost_its_lease_can_change_nothing(
    ledger: Ledger, jobs: JobLedger, upkeep: Upkeep, database: Database
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    stale = claimed(jobs)
    assert upkeep.take_back(upkeep.leases()) == 1
    assert upkeep.queue_due() == 1
    fresh = claimed(jobs)
    for attempt in (
        lambda: jobs.finish(stale, {}),
        lambda: jobs.postpone(stale, "", 1),
        lambda: jobs.pulse(stale, 30),
    ):
        with pytest.raises(LostLeaseError):
            attempt()
    assert jobs.finish(fresh, {}) is State.QUEUED


def test_a_job_that_kills_every_worker_fails_and_an_operator_can_try_again(
    ledger: Ledger, jobs: JobLedger, upkeep: Upkeep, database: Database, audit: Audit
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    for _ in range(CRASHES_ALLOWED):
        claimed(jobs)
        upkeep.take_back(upkeep.leases())
        upkeep.queue_due()
    assert audit.counts() == {State.FAILED: 1}
    assert upkeep.requeue("1.2.3", "operator") == State.QUEUED
    claimed(jobs)
    upkeep.take_back(upkeep.leases())
    assert audit.counts() == {State.WAITING: 1}


def test_a_retry_waits_for_its_time(ledger: Ledger, jobs: JobLedger, upkeep: Upkeep) -> None:
    receive(ledger, instance(1))
    close(ledger)
    assert jobs.postpone(claimed(jobs), "The PACS is down.", 3600) is State.WAITING
    assert upkeep.queue_due() == 0
    assert upkeep.requeue("1.2.3", "operator") == State.QUEUED


def test_a_cancelled_job_stops_at_once_or_at_the_end_of_its_stage(
    ledger: Ledger, jobs: JobLedger, upkeep: Upkeep
) -> None:
    receive(ledger, instance(1, study="1.2.3"))
    close(ledger)
    assert upkeep.cancel("1.2.3", "operator") == State.CANCELLED
    receive(ledger, instance(1, study="1.2.4"))
    close(ledger)
    claim = claimed(jobs)
    assert "running" in upkeep.cancel("1.2.4", "operator")
    assert jobs.finish(claim, {}) is State.CANCELLED
    with pytest.raises(IllegalMoveError):
        upkeep.cancel("1.2.4", "operator")


def test_a_queued_job_whose_message_was_lost_is_found(ledger: Ledger, upkeep: Upkeep) -> None:
    receive(ledger, instance(1))
    job_id = close(ledger).job_id
    assert upkeep.unwoken(60) == [Unwoken(job_id, Stage.CONSULT, is_stat=False)]
    upkeep.woken([job_id])
    assert upkeep.unwoken(60) == []
    assert upkeep.unwoken(0) == [Unwoken(job_id, Stage.CONSULT, is_stat=False)]


def test_messages_for_jobs_that_nobody_works_on_do_not_pile_up(ledger: Ledger, upkeep: Upkeep) -> None:
    for number in range(WOKEN_AGAIN + 5):
        receive(ledger, instance(1, study=f"1.2.{number + 1}"))
        close(ledger)
    first = upkeep.unwoken(60)
    upkeep.woken([job.job_id for job in first])
    again = upkeep.unwoken(0)
    upkeep.woken([job.job_id for job in again])
    assert (len(first), len(again)) == (WOKEN_AGAIN + 5, WOKEN_AGAIN)
    assert upkeep.unwoken(0) == again


def test_an_older_revision_that_is_still_on_its_way_can_be_cancelled(
    ledger: Ledger, upkeep: Upkeep, audit: Audit
) -> None:
    receive(ledger, instance(1))
    close(ledger)
    receive(ledger, instance(2))
    close(ledger, route=None)
    assert upkeep.cancel("1.2.3", "operator") == State.CANCELLED
    assert audit.counts() == {State.CANCELLED: 1, State.SKIPPED: 1}


def test_two_receivers_that_store_into_the_same_study_open_one_job(ledger: Ledger) -> None:
    barrier = threading.Barrier(4)
    studies = [f"1.2.{uuid4().int % 10**8}" for _ in range(3)]

    def store(worker: int) -> None:
        barrier.wait()
        for number in range(10):
            order = studies if worker % 2 else studies[::-1]
            ledger.register([(instance(worker * 100 + number, study=study), PEER) for study in order])

    threads = [threading.Thread(target=store, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    collecting = ledger.collecting()
    assert sorted(c.study_instance_uid for c in collecting) == sorted(studies)
    assert all(len(ledger.study(c.job_id).instances) == 40 for c in collecting)


def test_the_job_list_filters_searches_and_pages(ledger: Ledger, audit: Audit) -> None:
    for number in range(5):
        receive(ledger, instance(1, study=f"1.2.{number + 1}"))
    page, count = audit.jobs(limit=2, offset=2)
    assert count == 5
    assert [line.study_instance_uid for line in page] == ["1.2.3", "1.2.2"]
    assert audit.jobs(search="1.2.4")[1] == 1
    assert audit.jobs(search="%")[1] == 0
    assert audit.jobs(state=State.FAILED)[1] == 0
