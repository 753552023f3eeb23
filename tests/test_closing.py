"""The housekeeper's closing under load: a STAT study never waits for the routine ones that came before it."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gsco_pacs.adapters.announcements import Announcements
from gsco_pacs.adapters.archive_counts import ArchiveCounts
from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.corrections import Corrections
from gsco_pacs.adapters.ledger import Database, Ledger
from gsco_pacs.config import Config
from gsco_pacs.domain.job import State
from gsco_pacs.domain.study import Instance, Peer
from gsco_pacs.outlook import Outlooks
from gsco_pacs.processes.closing import Closing
from gsco_pacs.processes.counting import Counting
from gsco_pacs.processes.peers import open_archive

ROUTINE = 60


def receive(ledger: Ledger, number: int, description: str) -> None:
    uid, sha256 = f"1.2.{number}", f"{number}".rjust(64, "0")
    header = {"StudyDescription": description}
    instance = Instance(uid, f"{uid}.1", f"{uid}.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", sha256, 1, sha256, header)  # fmt: skip
    ledger.register([(instance, Peer("CT1", "GSCO", "127.0.0.1"))])


@pytest.fixture
def closing(database: Database, tmp_path: Path) -> Closing:
    """Of studies that are complete at once: many routine ones, and behind them a STAT one."""
    route = {"specialists": ["any"], "destinations": ["pacs"]}
    stat = {"tag": "StudyDescription", "equals": "STAT"}
    settings: dict[str, Any] = {
        "base": tmp_path,
        "settle": {"quiet_seconds": 0.001},
        "destinations": {"pacs": {"kind": "folder", "path": "out"}},
        "routes": [
            {"name": "stat", "when": stat, "priority": "stat", **route},
            {"name": "routine", "when": {"not": stat}, **route},
        ],
    }
    config, ledger = Config.model_validate(settings), Ledger(database)
    for number in range(ROUTINE):
        receive(ledger, number, "ROUTINE")
    receive(ledger, ROUTINE, "STAT")
    counts = ArchiveCounts(database, 15)
    outlooks = Outlooks(ledger, Announcements(database), Corrections(database), counts, config)
    return Closing(ledger, outlooks, Counting(counts, partial(open_archive, config=config)))


def test_the_workers_are_woken_for_a_stat_study_before_any_routine_one_is_closed(
    closing: Closing, database: Database
) -> None:
    audit, woken = Audit(database), []
    closing.tend(lambda: woken.append(audit.counts()[State.COLLECTING]), routine_seconds=60)
    assert woken == [ROUTINE]
    assert audit.study(f"1.2.{ROUTINE}").revisions[0].job.state == State.QUEUED
    assert audit.counts() == {State.QUEUED: ROUTINE + 1}


def test_a_round_of_routine_studies_ends_in_time_and_the_next_rounds_close_the_rest(
    closing: Closing, database: Database
) -> None:
    audit = Audit(database)
    closing.tend(lambda: None, routine_seconds=0)
    assert audit.counts() == {State.QUEUED: 2, State.COLLECTING: ROUTINE - 1}
    for _ in range(ROUTINE - 1):
        closing.tend(lambda: None, routine_seconds=0)
    assert audit.counts() == {State.QUEUED: ROUTINE + 1}
