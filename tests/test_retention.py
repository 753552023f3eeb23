"""What the node deletes: nothing unless it is told to, nothing that is undelivered, unconfirmed or promised."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom.dsutils import encode
from sqlalchemy import insert, select, update

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.inbox import Inbox
from gsco_pacs.adapters.question_ledger import Questions
from gsco_pacs.adapters.retention import Retention
from gsco_pacs.adapters.tables import CommitmentRow, InstanceRow, JobRow, QuestionRow
from gsco_pacs.adapters.upkeep import Upkeep
from gsco_pacs.domain.commitment import CommitmentState
from gsco_pacs.domain.errors import IllegalMoveError, PermanentError
from gsco_pacs.domain.findings import Receipt
from gsco_pacs.domain.incoming import Arrival, Incoming
from gsco_pacs.domain.job import Event, Stage
from gsco_pacs.domain.registration import Registration
from gsco_pacs.domain.storage import Holding
from gsco_pacs.domain.study import Instance, Peer
from gsco_pacs.intake import HEADER, file, take_in
from gsco_pacs.processes.cleaning import Cleaning
from gsco_pacs.processes.filing import Filing
from gsco_pacs.settings.retention import Retention as Settings
from gsco_pacs.testing.phantoms import make_dx
from tests.recorded_node import ROOM, RecordedNode

DAY = timedelta(days=1)


@pytest.fixture
def node(tmp_path: Path) -> RecordedNode:
    return RecordedNode(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> RecordedNode:
    """A node on each of the two databases."""
    if request.param == "sqlite":
        return RecordedNode(tmp_path)
    return RecordedNode(tmp_path, database=request.getfixturevalue("postgresql").new_database())


def change(node: RecordedNode, row: Any, **values: Any) -> None:
    with node.database.writing() as connection:
        connection.execute(update(row).values(**values))


def delivered(node: RecordedNode, confirmed: Sequence[CommitmentState] = (), *images: Dataset) -> str:
    """A study that was delivered to "pacs" two days ago, which is asked and has answered so."""
    uid = node.receive(*(images or (make_dx(), make_dx(instance="2", ViewPosition="LL"))))
    node.close(uid)
    node.consult()
    reports = node.draft()
    claim = node.claim(Stage.DELIVER)
    receipts = [Receipt("pacs", report.sop_instance_uid, "0x0000") for report in reports]
    node.jobs.keep_receipts(claim.job_id, receipts, {"pacs": 1} if confirmed else {})
    node.jobs.finish(claim, {})
    ago = datetime.now(UTC) - 2 * DAY
    change(node, JobRow, settled_at=ago)
    for number, state in enumerate(confirmed, start=1):
        with node.database.writing() as connection:
            row = update(CommitmentRow).where(CommitmentRow.id == number)
            connection.execute(row.values(state=state, settled_at=ago))
    return uid


def retention(node: RecordedNode) -> Retention:
    return Retention(node.database, ["pacs"])


def files(node: RecordedNode) -> list[Path]:
    return sorted(node.store_dir.glob("??/*.dcm"))


def holdings(node: RecordedNode) -> set[str]:
    with node.database.reading() as connection:
        return set(connection.execute(select(InstanceRow.holding)).scalars())


BOTH = (CommitmentState.COMMITTED, CommitmentState.COMMITTED)


def test_nothing_is_deleted_unless_the_configuration_says_so(node: RecordedNode) -> None:
    delivered(node, BOTH)
    Cleaning(node.database, node.config).tend()
    assert len(files(node)) == 2
    assert all(report.content for report in node.jobs.reports(1))


def test_what_is_over_and_confirmed_goes_in_one_round_and_the_record_says_so(either: RecordedNode) -> None:
    node = either
    uid = delivered(node, BOTH)
    settings = Settings(images_days=1, reports_days=1)
    Cleaning(node.database, node.config.model_copy(update={"retention": settings})).tend()
    assert files(node) == []
    history = Audit(node.database).study(uid)
    told = [moment.reason for moment in history.revisions[0].moments if moment.event == Event.CLEANED_UP]
    assert told == [
        "2 received objects were deleted.", "2 reports were deleted; every destination keeps them.",
    ]  # fmt: skip
    assert {each.holding for each in history.received} == {Holding.GONE}


def test_a_report_goes_only_when_every_destination_that_is_asked_keeps_it(node: RecordedNode) -> None:
    uid = delivered(node, (CommitmentState.COMMITTED, CommitmentState.ASKED))
    assert retention(node).delete_reports(3) == 0, "confirmed for two days only"
    assert retention(node).delete_reports(1) == 1
    narrative, coded = node.jobs.reports(1)
    assert (narrative.content, bool(coded.content)) == (b"", True)
    page = node.client().get(f"/studies/{uid}")
    assert page.status_code == 200
    assert "deleted here" in page.text
    assert node.client().get(f"/reports/{narrative.sop_instance_uid}.dcm").status_code == 404


def test_without_a_destination_that_is_asked_no_report_goes(node: RecordedNode) -> None:
    delivered(node)
    assert Retention(node.database, []).delete_reports(0.001) == 0
    assert Retention(node.database, []).give_up_images(0.001) == 2


def new_question(node: RecordedNode) -> None:
    asked = {
        "job_id": 1,
        "question": "?",
        "asked_by": "x",
        "asked_at": datetime.now(UTC),
        "to_be_filed": False,
    }
    with node.database.writing() as connection:
        connection.execute(insert(QuestionRow).values(receipts=[], **asked))


@pytest.mark.parametrize(
    "hindrance",
    [
        lambda node: change(node, JobRow, settled_at=datetime.now(UTC)),
        lambda node: change(node, JobRow, state="failed"),
        lambda node: change(node, JobRow, state="waiting"),
        lambda node: change(node, CommitmentRow, state=CommitmentState.OVERDUE),
        lambda node: change(node, InstanceRow, kept_until=datetime.now(UTC) + DAY),
        lambda node: change(node, InstanceRow, kind=Registration.VARIANT),
        new_question,
        lambda node: node.receive(make_dx(instance="3")),
    ],
    ids=["too young", "failed", "unfinished", "unconfirmed", "promised", "uncompared", "asked about", "late image"],
)  # fmt: skip
def test_images_that_are_still_needed_stay(
    node: RecordedNode, hindrance: Callable[[RecordedNode], object]
) -> None:
    delivered(node, BOTH)
    hindrance(node)
    assert retention(node).give_up_images(1) == 0
    assert holdings(node) == {Holding.HERE}


def test_a_promise_that_has_run_out_keeps_nothing(node: RecordedNode) -> None:
    delivered(node, BOTH)
    change(node, InstanceRow, kept_until=datetime.now(UTC) - DAY)
    assert retention(node).give_up_images(1) == 2


def test_what_was_begun_before_a_crash_is_finished_by_the_next_round(node: RecordedNode) -> None:
    delivered(node, BOTH)
    retention(node).give_up_images(1)
    assert holdings(node) == {Holding.GOING}
    files(node)[0].unlink()  # killed after the first file
    assert retention(node).delete_images(node.store.delete) == 2
    assert (files(node), holdings(node)) == ([], {Holding.GONE})
    assert retention(node).delete_images(node.store.delete) == 0


def arrivals(node: RecordedNode, inbox: Inbox, *images: Dataset) -> list[Arrival]:
    came: list[Arrival] = []
    for image in images:
        data_set = encode(image, is_implicit_vr=False, is_little_endian=True) or b""
        syntax = str(image.file_meta.TransferSyntaxUID)
        incoming = Incoming(str(image.SOPClassUID), str(image.SOPInstanceUID), syntax, data_set, ROOM)
        take_in(incoming, inbox, HEADER, came.append)
    return came


@pytest.mark.parametrize("deleted", [False, True])
def test_an_image_that_is_sent_again_is_here_again(node: RecordedNode, deleted: bool) -> None:
    image = make_dx()
    delivered(node, BOTH, image)
    retention(node).give_up_images(1)
    if deleted:
        retention(node).delete_images(node.store.delete)
    inbox = Inbox(node.store)
    file(arrivals(node, inbox, image), inbox, node.ledger)
    assert retention(node).delete_images(node.store.delete) == 0
    assert (len(files(node)), holdings(node)) == (1, {Holding.HERE})


def test_an_image_that_comes_again_while_its_bytes_are_deleted_is_not_lost(
    node: RecordedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_dx()
    delivered(node, BOTH, image)
    retention(node).give_up_images(1)
    register = node.ledger.register

    def late(batch: Sequence[tuple[Instance, Peer]]) -> list[Registration]:
        assert len(files(node)) == 1
        retention(node).delete_images(node.store.delete)
        assert files(node) == []
        return register(batch)

    monkeypatch.setattr(node.ledger, "register", late)
    inbox = Inbox(node.store)
    file(arrivals(node, inbox, image), inbox, node.ledger)
    assert (len(files(node)), holdings(node)) == (1, {Holding.HERE})


def test_what_a_killed_receiver_acknowledged_of_a_deleted_study_is_filed_by_the_next(
    node: RecordedNode,
) -> None:
    image = make_dx()
    delivered(node, BOTH, image)
    retention(node).give_up_images(1)
    (arrival,) = arrivals(node, Inbox(node.store), image)
    retention(node).delete_images(node.store.delete)
    nobodys = (
        node.store_dir / "inbox" / "0123"
    )  # this process lives on, and with it the lock of its own folder
    nobodys.mkdir()
    arrival.record.rename(nobodys / arrival.record.name)
    filing = Filing(Inbox(node.store), node.ledger, HEADER)
    filing.start()
    filing.stop()
    assert (len(files(node)), holdings(node)) == (1, {Holding.HERE})


def test_a_study_without_its_images_is_neither_tried_again_nor_asked_about(node: RecordedNode) -> None:
    uid = delivered(node, BOTH)
    retention(node).give_up_images(1)
    change(node, JobRow, state="skipped")
    with pytest.raises(IllegalMoveError, match="send them again"):
        Upkeep(node.database).requeue(uid, "operator")
    with pytest.raises(PermanentError, match="send them again"):
        Questions(node.database).ask(uid, "Is there an effusion?", "reader", to_be_filed=False)
    assert node.client().get(f"/studies/{uid}").status_code == 200
