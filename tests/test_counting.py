"""Archives that are asked how much they hold of an arriving study: beside the housekeeper's round, kept, and evidence."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pydicom import Dataset

from gsco_pacs.adapters.announcements import Announcements
from gsco_pacs.adapters.archive_counts import ArchiveCounts, Told
from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.corrections import Corrections
from gsco_pacs.adapters.job_ledger import JobLedger
from gsco_pacs.adapters.ledger import Database, Ledger
from gsco_pacs.config import Config
from gsco_pacs.domain.completeness import Decision, Grounds
from gsco_pacs.domain.findings import ObjectKind, Report
from gsco_pacs.domain.job import Stage
from gsco_pacs.domain.study import Instance, Peer, Routing
from gsco_pacs.outlook import Outlook, Outlooks
from gsco_pacs.processes.closing import Closing
from gsco_pacs.processes.counting import Counting
from gsco_pacs.processes.peers import open_archive
from gsco_pacs.steps.settle import settle
from gsco_pacs.testing.archive import Scripted, ScriptedArchive

STUDY = "1.2.3"
PEER = Peer("CT1", "GSCO", "127.0.0.1")


def study_of(instances: int) -> Dataset:
    """An archive's answer to a query for the study."""
    match = Dataset()
    match.QueryRetrieveLevel, match.StudyInstanceUID = "STUDY", STUDY
    match.NumberOfStudyRelatedInstances = instances
    return match


def series_of(uid: str, instances: int) -> Dataset:
    """An archive's answer to a query for the study's series."""
    match = Dataset()
    match.QueryRetrieveLevel, match.StudyInstanceUID, match.SeriesInstanceUID = "SERIES", STUDY, uid
    match.NumberOfSeriesRelatedInstances = instances
    return match


class Desk:
    """The housekeeper's part that closes studies, by hand, with one archive."""

    def __init__(self, database: Database, archive: ScriptedArchive, **settle: float) -> None:
        settings: dict[str, Any] = {
            "settle": settle,
            "archives": {"main": {"kind": "dimse", "ae_title": "ARCHIVE", "host": archive.host, "port": archive.port}},
            "destinations": {"pacs": {"kind": "folder", "path": "out"}},
            "routes": [{
                "name": "ct", "when": {"tag": "Modality", "equals": "CT"}, "specialists": ["any"],
                "destinations": ["pacs"], "ask": "main",
            }],
        }  # fmt: skip
        config = Config.model_validate(settings)
        self.ledger, self.jobs = Ledger(database), JobLedger(database)
        self.counts = ArchiveCounts(database, config.settle.ask_seconds)
        self.outlooks = Outlooks(
            self.ledger, Announcements(database), Corrections(database), self.counts, config
        )
        self.counting = Counting(self.counts, partial(open_archive, config=config))

    def receive(self, *numbers: int) -> None:
        header = {"Modality": "CT"}
        instances = [
            Instance(STUDY, f"{STUDY}.1", f"{STUDY}.1.{n}", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", f"{n}".ljust(64, "0"), 1, "x", header)
            for n in numbers
        ]  # fmt: skip
        self.ledger.register([(instance, PEER) for instance in instances])

    def outlook(self, after: float) -> tuple[Outlook, datetime]:
        (collecting,) = arriving = self.ledger.collecting()
        self.outlooks.refresh(arriving)
        at = collecting.last_received_at + timedelta(seconds=after)
        outlook = self.outlooks.of(collecting, at)
        assert outlook is not None
        return outlook, at

    def decision(self, after: float) -> Decision:
        outlook, at = self.outlook(after)
        return settle(outlook.standing, outlook.patience, at)

    def ask(self, after: float, until: Callable[[Told], bool]) -> Told:
        """Ask so many seconds after the newest image, and wait for the answer to be kept."""
        self.counting.ask(STUDY, *self.outlook(after))
        deadline = time.monotonic() + 30
        while not (told := self.counts.told().get(STUDY)) or not until(told):
            assert time.monotonic() < deadline, told
            time.sleep(0.02)
        return told


@pytest.fixture
def archive() -> Any:
    with ScriptedArchive(Scripted([study_of(2)])) as archive:
        yield archive


@pytest.fixture
def desk(database: Database, archive: ScriptedArchive) -> Desk:
    return Desk(database, archive)


def test_a_study_closes_when_the_archive_has_said_twice_that_it_holds_as_many(desk: Desk) -> None:
    desk.receive(1, 2)
    desk.ask(6, lambda told: told.times == 1)
    assert not desk.decision(21).closed
    desk.ask(21, lambda told: told.times == 2)
    decision = desk.decision(22)
    assert (decision.closed, decision.grounds) == (True, Grounds.COUNTED)


def test_what_the_archive_said_before_the_newest_image_came_is_no_evidence(desk: Desk) -> None:
    desk.receive(1)
    desk.ask(6, lambda told: told.times == 1)
    desk.receive(2)
    desk.ask(21, lambda told: told.times == 1)
    assert not desk.decision(22).closed


def test_a_study_of_which_the_archive_holds_more_is_held_open(desk: Desk) -> None:
    desk.receive(1)
    desk.ask(6, lambda told: told.times == 1)
    assert not desk.decision(61).closed
    assert desk.decision(3601).incomplete == "main holds 2 instances; 1 are here."


def test_an_archive_is_asked_again_only_when_it_is_time(desk: Desk, archive: ScriptedArchive) -> None:
    desk.receive(1, 2)
    desk.ask(6, lambda told: told.times == 1)
    desk.ask(7, lambda told: told.times == 1)
    assert len(archive.queries) == 1


def test_a_slow_archive_keeps_nobody_waiting_and_one_that_fails_is_asked_less_and_less(
    desk: Desk, archive: ScriptedArchive
) -> None:
    desk.receive(1, 2)
    archive.script = Scripted([], status=None)
    began = datetime.now(UTC)
    first = desk.ask(6, lambda told: bool(told.error))
    assert first.not_before - began > timedelta(seconds=29)
    assert any("did not answer" in line for line in desk.decision(30).evidence)
    assert desk.decision(61).grounds is Grounds.QUIET
    archive.script = Scripted([study_of(2)], delay_seconds=1)
    began = datetime.now(UTC)
    desk.ask(40, lambda _: True)
    assert datetime.now(UTC) - began < timedelta(seconds=0.9)
    assert desk.ask(41, lambda told: told.times == 1).error == ""


def test_the_nodes_own_results_in_the_archive_are_not_counted(desk: Desk, archive: ScriptedArchive) -> None:
    desk.receive(1)
    (collecting,) = desk.ledger.collecting()
    decision = Decision(closed=True, reason="quiet", decided_at=datetime.now(UTC))
    desk.ledger.close(collecting, decision, Routing("ct", ()), {"name": "ct", "priority": "routine"})
    claim = desk.jobs.claim(Stage.CONSULT, "worker", 30)
    assert claim is not None
    own = Report(ObjectKind.CAPTURE, "1.2.840.10008.5.1.4.1.1.7", STUDY, "2.25.1", "2.25.2", b"x", "0" * 64)
    desk.jobs.finish(claim, {}, [own])
    desk.receive(2)
    archive.script = Scripted([series_of(f"{STUDY}.1", 2), series_of("2.25.1", 5)])
    assert desk.ask(6, lambda told: told.times == 1).instances == 2


def test_the_housekeeper_asks_by_itself_and_closes_what_the_archive_confirms(
    database: Database, archive: ScriptedArchive
) -> None:
    desk = Desk(database, archive, settle_seconds=0.1, ask_seconds=0.2)
    desk.receive(1, 2)
    closing = Closing(desk.ledger, desk.outlooks, desk.counting)
    deadline = time.monotonic() + 30
    while desk.ledger.collecting():
        closing.tend(lambda: None, routine_seconds=0.5)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    detail = Audit(database).study(STUDY).revisions[0].moments[-1].detail
    assert detail["grounds"] == "archive's count"
    assert "main holds 2 instances (answered so 2 times)." in detail["evidence"]
