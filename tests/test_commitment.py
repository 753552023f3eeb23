"""Whether a PACS keeps what it took: asked, answered on either side, denied, late, never, and looked for."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from rich.console import Console

from gsco_pacs.adapters.audit import Audit, Confirmation
from gsco_pacs.adapters.commitment_ledger import Commitments
from gsco_pacs.adapters.commitment_messages import (
    outcome_information,
    read_outcome,
    read_request,
    request_information,
)
from gsco_pacs.adapters.node_process import free_port
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.config import Config
from gsco_pacs.domain.commitment import NO_SUCH_INSTANCE, CommitmentState, Named, Outcome, reason_words
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.findings import Receipt
from gsco_pacs.domain.job import Stage
from gsco_pacs.processes.choices import open_destination
from gsco_pacs.processes.commitment_desk import CommitmentDesk
from gsco_pacs.processes.services import services
from gsco_pacs.settings.destinations import Confirmation as Confirm
from gsco_pacs.settings.destinations import DimseDestination
from gsco_pacs.settings.processes import Retry
from gsco_pacs.settings.receiver import Receiver, Sender
from gsco_pacs.terminal import print_study
from gsco_pacs.testing.committing_pacs import CommittingPacs, Promise
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.testing.servers import PostgresqlServer
from tests.recorded_node import RecordedNode
from tests.running_node import Node

COMMITTED, FAILED, OVERDUE, ASKED, OWED = (
    CommitmentState.COMMITTED, CommitmentState.FAILED, CommitmentState.OVERDUE, CommitmentState.ASKED,
    CommitmentState.OWED,
)  # fmt: skip

SOON = Retry(first_seconds=0.01, longest_seconds=0.05)


class Asker:
    """A node with one delivered study, its receiver, and the desk at which a worker asks."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.node = RecordedNode(folder, database=database)
        self.uid = ""
        self.settings = Receiver(host="127.0.0.1", port=free_port(), senders=(Sender(ae_title="LOOPBACK"),))
        self.config = self.node.config.model_copy(update={"retry": SOON})
        self.scp = StorageScp(
            self.settings,
            lambda _: None,
            lambda _: None,
            services(self.config, self.node.database, lambda _: None),
        )
        self.commitments = Commitments(self.node.database, SOON)

    @property
    def address(self) -> tuple[str, int]:
        return "GSCO", self.scp.port

    def deliver(self, pacs: CommittingPacs, **confirm: Any) -> "Asker":
        """Send the reports of a study; the PACS is to be asked about them."""
        settings = Confirm(**({"wait_seconds": 0} | confirm))
        self.config = self._config(pacs, settings)
        self.desk = CommitmentDesk(self.config, self.node.database)
        self.uid = self.node.receive(make_dx())
        self.node.close(self.uid)
        self.node.consult()
        reports = self.node.draft()
        receipts = [Receipt("pacs", report.sop_instance_uid, "0x0000") for report in reports]
        claim = self.node.claim(Stage.DELIVER)
        self.node.jobs.keep_receipts(claim.job_id, receipts, {"pacs": settings.tries})
        self.node.jobs.finish(claim, {})
        return self

    def _config(self, pacs: CommittingPacs, confirm: Confirm) -> Config:
        destination = DimseDestination(
            kind="dimse",
            ae_title=pacs.ae_title,
            host=pacs.host,
            port=pacs.port,
            timeout_seconds=5,
            confirm=confirm,
        )
        return self.config.model_copy(update={"destinations": {"pacs": destination}})

    def work(self, seconds: float = 5) -> None:
        """Ask as soon as something is due."""
        deadline = time.monotonic() + seconds
        while not self.desk.work():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def tries(self) -> tuple[Confirmation, ...]:
        return Audit(self.node.database).study(self.uid).revisions[0].confirmations

    def states(self) -> list[str]:
        return [one.state for one in self.tries()]

    def wait(self, *states: str, seconds: float = 5) -> None:
        deadline = time.monotonic() + seconds
        while self.states() != list(states):
            assert time.monotonic() < deadline, self.tries()
            time.sleep(0.01)


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    asker = Asker(tmp_path)
    asker.scp.start()
    yield asker
    asker.scp.stop()


def test_a_pacs_that_answers_on_the_association_that_asked_has_both_reports_in_one_transaction(
    asker: Asker,
) -> None:
    with CommittingPacs() as pacs:
        asker.deliver(pacs, wait_seconds=5).work()
        asker.wait(COMMITTED, COMMITTED)
    ((transaction_uid, named),) = pacs.asked
    assert {one.transaction_uid for one in asker.tries()} == {transaction_uid}
    assert [one.sop_instance_uid for one in named] == [one.sop_instance_uid for one in asker.tries()]
    assert [one.words for one in asker.tries()] == ["kept, by commitment"] * 2
    assert pacs.statuses == [0x0000]


def test_an_answer_on_another_association_reaches_a_receiver_that_knows_nothing_of_the_worker(
    asker: Asker,
) -> None:
    with CommittingPacs([Promise("other")], asker.address) as pacs:
        asker.deliver(pacs).work()
        asker.wait(COMMITTED, COMMITTED)
    assert pacs.statuses == [0x0000]


def test_a_denied_object_is_sent_anew_and_asked_for_under_a_new_transaction(asker: Asker) -> None:
    with CommittingPacs([Promise("other", denies=True)], asker.address) as pacs:
        asker.deliver(pacs).work()
        asker.wait(FAILED, FAILED, OWED, OWED)
        asker.work()
        assert len(pacs.taken) == 2
        asker.wait(FAILED, FAILED, ASKED, ASKED)
    first, second = (uid for uid, _ in pacs.asked)
    assert first != second
    assert "no such object instance (0x0112)" in asker.tries()[0].reason
    assert "sent and asked for again" in asker.tries()[0].words


def test_a_try_sends_anew_once_however_often_it_has_to_ask(asker: Asker) -> None:
    promises = [Promise("other", denies=True), Promise(status=0x0213), Promise(status=0x0213)]
    with CommittingPacs(promises, asker.address) as pacs:
        asker.deliver(pacs).work()
        asker.wait(FAILED, FAILED, OWED, OWED)
        for _ in range(3):
            asker.work()
        assert len(pacs.asked) == 4
        assert len(pacs.taken) == 2


def test_on_postgresql_a_denied_object_is_owed_again_and_an_overdue_one_too(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    asker = Asker(tmp_path, postgresql.new_database())
    asker.scp.start()
    with CommittingPacs([Promise("other", denies=True), Promise("never")], asker.address) as pacs:
        asker.deliver(pacs, deadline_seconds=0.05).work()
        asker.wait(FAILED, FAILED, OWED, OWED)
        asker.work()
        time.sleep(0.06)
        assert asker.commitments.pass_deadlines() == 2
    asker.scp.stop()
    assert asker.states() == [FAILED, FAILED, OVERDUE, OVERDUE, OWED, OWED]


def test_after_the_last_try_an_object_is_shown_as_unconfirmed(asker: Asker) -> None:
    with CommittingPacs([Promise("other", denies=True)] * 2, asker.address) as pacs:
        asker.deliver(pacs, tries=2).work()
        asker.wait(FAILED, FAILED, OWED, OWED)
        asker.work()
        asker.wait(FAILED, FAILED, FAILED, FAILED)
    assert not asker.desk.work()
    assert asker.tries()[-1].words == "failed, unconfirmed for good"


def test_no_answer_by_the_deadline_is_overdue_and_the_next_try_follows(asker: Asker) -> None:
    with CommittingPacs([Promise("never")], asker.address) as pacs:
        asker.deliver(pacs, deadline_seconds=0.05).work()
        asker.wait(ASKED, ASKED)
        time.sleep(0.06)
        assert asker.commitments.pass_deadlines() == 2
        assert asker.states() == [OVERDUE, OVERDUE, OWED, OWED]
        assert asker.commitments.pass_deadlines() == 0
        asker.work()
    assert len(pacs.taken) == 2


def test_an_answer_after_the_deadline_still_counts_and_leaves_nothing_to_ask(asker: Asker) -> None:
    with CommittingPacs([Promise("never")], asker.address) as pacs:
        asker.deliver(pacs, deadline_seconds=0.05).work()
        time.sleep(0.06)
        asker.commitments.pass_deadlines()
        pacs.report(*pacs.asked[0])
    asker.wait(*[COMMITTED] * 4)
    assert not asker.desk.work()
    assert pacs.statuses == [0x0000]


def test_a_repeated_answer_changes_nothing_and_an_answer_to_nothing_is_refused(asker: Asker) -> None:
    with CommittingPacs([Promise("never")], asker.address) as pacs:
        asker.deliver(pacs).work()
        transaction_uid, named = pacs.asked[0]
        pacs.report(transaction_uid, named)
        before = asker.tries()
        pacs.report(transaction_uid, named)
        pacs.report(transaction_uid, named, denies=True)
        assert asker.tries() == before
        pacs.report("1.2.3", named)
    assert pacs.statuses == [0x0000, 0x0000, 0x0000, 0x0115]


@pytest.mark.parametrize("by", ["commitment", "query"])
def test_a_pacs_without_commitment_is_searched_for_the_objects(asker: Asker, by: str) -> None:
    with CommittingPacs(commits=by == "query") as pacs:
        asker.deliver(pacs, by=by)
        asker.desk.work()
        assert asker.states() == [OWED, OWED]
        assert asker.tries()[0].reason == "A query does not find it."
        report = asker.node.jobs.reports(1)[0]
        open_destination("pacs", asker.config).send([report])
        time.sleep(0.05)
        asker.work()
        assert asker.states() == [COMMITTED, OWED]
    assert asker.tries()[0].words == "kept, by query"
    assert pacs.asked == []


def test_a_pacs_that_is_away_busy_or_unwilling_is_asked_later_and_that_is_no_try(asker: Asker) -> None:
    with CommittingPacs([Promise(status=0x0213), Promise(status=0x0110)], asker.address) as pacs:
        asker.deliver(pacs)
        for words in ("no resources", "0x0110"):
            asker.work()
            assert words in asker.tries()[0].reason
    asker.work()
    assert "cannot be reached" in asker.tries()[0].reason
    assert [one.number for one in asker.tries()] == [1, 1]
    with CommittingPacs(commits=False, finds=False) as deaf:
        asker.desk = CommitmentDesk(asker._config(deaf, Confirm()), asker.node.database)
        asker.work()
    assert "neither storage commitment nor C-FIND" in asker.tries()[0].reason


def test_what_cannot_be_asked_by_the_deadline_is_overdue(asker: Asker) -> None:
    with CommittingPacs() as pacs:
        asker.deliver(pacs, deadline_seconds=0.001, tries=1)
    asker.work()
    assert asker.states() == [OVERDUE, OVERDUE]


def test_two_workers_never_ask_for_the_same_and_what_a_dead_worker_had_comes_back(asker: Asker) -> None:
    with CommittingPacs() as pacs:
        asker.deliver(pacs)
    asking = asker.commitments.claim(0.05)
    assert asking is not None
    assert len(asking.reports) == 2
    assert asker.commitments.claim(60) is None
    time.sleep(0.06)
    assert asker.commitments.is_due()
    again = asker.commitments.claim(60)
    assert again is not None
    assert again.transaction_uid != asking.transaction_uid
    assert again.again == ()


def test_a_destination_that_asks_for_no_confirmation_any_longer_is_left_alone(asker: Asker) -> None:
    with CommittingPacs() as pacs:
        asker.deliver(pacs)
        asker.desk = CommitmentDesk(asker.node.config, asker.node.database)
        asker.work()
    assert asker.states() == [FAILED, FAILED]
    assert pacs.associations == 0


def test_the_page_and_the_command_tell_how_it_stands(asker: Asker) -> None:
    with CommittingPacs([Promise("never")], asker.address) as pacs:
        asker.deliver(pacs).work()
    page = asker.node.client().get(f"/studies/{asker.uid}").text
    assert "asked, not answered yet" in page
    console = Console(record=True, width=200)
    print_study(console, Audit(asker.node.database).study(asker.uid))
    assert "Narrative report at pacs, request 1: asked, not answered yet" in console.export_text()


def test_requests_and_results_are_read_back_as_they_were_written() -> None:
    named = (Named("1.2.3", "1.2.4"), Named("1.2.3", "1.2.5"))
    assert read_request(request_information("1.9", [*named, named[0]])) == ("1.9", named)
    outcome = Outcome("1.9", named[:1], {named[1]: NO_SUCH_INSTANCE})
    assert read_outcome(outcome_information(outcome)) == outcome
    assert reason_words(0x0999) == "reason unknown to us (0x0999)"


@pytest.mark.parametrize("broken", ["TransactionUID", "ReferencedSOPSequence"])
def test_a_request_that_names_nothing_is_a_bad_object(broken: str) -> None:
    information = request_information("1.9", [Named("1.2.3", "1.2.4")])
    delattr(information, broken)
    with pytest.raises(BadObjectError):
        read_request(information)
    with pytest.raises(BadObjectError):
        read_request(Dataset())


def test_a_whole_node_delivers_asks_and_is_told_through_its_receiver(tmp_path: Path) -> None:
    image = tmp_path / "chest.dcm"
    image.write_bytes(encoded(make_dx(320, 280)))
    port = free_port()
    senders = [{"ae_title": "MODALITY"}, {"ae_title": "LOOPBACK"}]
    with CommittingPacs([Promise("other")], ("GSCO", port)) as pacs:
        confirm = {"wait_seconds": 0, "deadline_seconds": 60}
        results = {
            "kind": "dimse",
            "ae_title": "LOOPBACK",
            "host": pacs.host,
            "port": pacs.port,
            "confirm": confirm,
        }
        node = Node(
            tmp_path,
            destinations={"results": results},
            receiver={"host": "127.0.0.1", "port": port, "reserve_bytes": 0, "senders": senders},
        )
        with node.running():
            node.send(image)
            uid = str(dcmread(image, stop_before_pixels=True).StudyInstanceUID)
            history = node.wait(
                uid, lambda h: {one.state for one in h.revisions[0].confirmations} == {COMMITTED}
            )
    assert len(history.revisions[0].confirmations) == len(pacs.taken) >= 2
    assert len(pacs.asked) == 1
    assert pacs.statuses == [0x0000]
