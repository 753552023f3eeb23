"""What modalities and archives announce: taken with the standard's statuses, kept, and matched with what has come."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from gsco_pacs.adapters.announcement_scp import AVAILABILITY, MPPS, AnnouncementScp
from gsco_pacs.adapters.announcements import Announcements, Taken
from gsco_pacs.adapters.archive_counts import ArchiveCounts
from gsco_pacs.adapters.corrections import Corrections
from gsco_pacs.adapters.ledger import Database, Ledger
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.config import Config
from gsco_pacs.domain.completeness import Announced, Announcement, Grounds, Step
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.domain.study import Instance, Peer
from gsco_pacs.outlook import Outlooks
from gsco_pacs.settings.receiver import Receiver, Sender
from gsco_pacs.steps.settle import settle
from tests.announcing import availability, created_step, finished_step

CT = "1.2.840.10008.5.1.4.1.1.2"
RAW = "1.2.840.10008.5.1.4.1.1.66"
STUDY, OTHER = "1.2.3", "1.2.4"
PEER = Peer("CT1", "GSCO", "127.0.0.1")


@pytest.fixture
def announcements(database: Database) -> Announcements:
    return Announcements(database)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


@pytest.fixture
def refusals() -> list[Refusal]:
    return []


@pytest.fixture
def association(announcements: Announcements, refusals: list[Refusal]) -> Iterator[Association]:
    settings = Receiver(host="127.0.0.1", port=0, senders=(Sender(ae_title="CT1"),))
    services = AnnouncementScp(announcements, refusals.append).services()
    scp = StorageScp(settings, lambda _: None, refusals.append, services)
    scp.start()
    ae = AE("CT1")
    ae.acse_timeout = ae.dimse_timeout = 10
    ae.add_requested_context(MPPS)
    ae.add_requested_context(AVAILABILITY)
    association = ae.associate("127.0.0.1", scp.port, ae_title="GSCO")
    assert association.is_established
    yield association
    association.release()
    scp.stop()


def image(number: int, study: str = STUDY) -> str:
    return f"{study}.1.{number}"


def receive(ledger: Ledger, *numbers: int, study: str = STUDY) -> None:
    instances = [
        Instance(study, f"{study}.1", image(n, study), CT, "1.2.840.10008.1.2.1", f"{study}{n}".ljust(64, "0"), 1, "x")
        for n in numbers
    ]  # fmt: skip
    ledger.register([(instance, PEER) for instance in instances])


def create(association: Association, ds: Dataset, uid: str | None = "1.9.1", sop_class: str = MPPS) -> int:
    status, _ = association.send_n_create(ds, sop_class, uid)
    return int(status.Status)


def change(association: Association, ds: Dataset, uid: str = "1.9.1") -> Dataset:
    status, _ = association.send_n_set(ds, MPPS, uid)
    return status


def announced(announcements: Announcements, study: str = STUDY) -> tuple[Announced, ...]:
    return announcements.of(study)[0]


def test_a_performed_step_is_taken_and_says_what_is_missing_when_it_is_completed(
    association: Association, announcements: Announcements, ledger: Ledger
) -> None:
    assert create(association, created_step(STUDY)) == 0x0000
    assert announced(announcements) == (Announced("MPPS of CT1", Step.IN_PROGRESS, 0, 0),)
    receive(ledger, 1, 2)
    images = [(CT, image(n)) for n in (1, 2, 3)]
    assert change(association, finished_step(images)).Status == 0x0000
    assert announced(announcements) == (Announced("MPPS of CT1", Step.COMPLETED, 3, 1),)
    receive(ledger, 3)
    assert announced(announcements)[0].missing == 0


def test_an_availability_notification_is_taken_also_without_a_uid_and_leaves_out_what_is_unavailable(
    association: Association, announcements: Announcements
) -> None:
    notified = availability(STUDY, [(CT, image(1), "ONLINE"), (CT, image(2), "UNAVAILABLE")])
    assert create(association, notified, None, AVAILABILITY) == 0x0000
    assert announced(announcements) == (Announced("Availability notification of CT1", Step.COMPLETED, 1, 1),)


def test_what_the_node_does_not_take_is_not_waited_for(
    association: Association, announcements: Announcements
) -> None:
    create(association, created_step(STUDY))
    change(association, finished_step([(CT, image(1)), (RAW, image(2))]))
    assert announced(announcements)[0].images == 1


def test_a_step_for_two_studies_is_matched_with_the_images_of_both(
    announcements: Announcements, ledger: Ledger
) -> None:
    images = (image(1), image(1, OTHER))
    announcements.create(Announcement("MPPS", "1.9.1", (STUDY, OTHER), Step.COMPLETED, images), PEER)
    receive(ledger, 1)
    assert [announced(announcements, study)[0].missing for study in (STUDY, OTHER)] == [1, 1]
    receive(ledger, 1, study=OTHER)
    assert [announced(announcements, study)[0].missing for study in (STUDY, OTHER)] == [0, 0]


def _without(keyword: str) -> Dataset:
    ds = created_step(STUDY)
    del ds[keyword]
    return ds


def _with(keyword: str, value: object) -> Dataset:
    ds = created_step(STUDY)
    setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("ds", "status"),
    [
        (_without("PerformedProcedureStepStatus"), 0x0120),
        (_with("PerformedProcedureStepStatus", ""), 0x0121),
        (_with("PerformedProcedureStepStatus", "COMPLETED"), 0x0106),
        (_with("ScheduledStepAttributesSequence", []), 0x0121),
        (created_step("1.02.3"), 0x0117),
    ],
)
def test_a_step_that_is_not_as_the_standard_has_it_is_refused_with_its_status_and_told(
    association: Association, refusals: list[Refusal], ds: Dataset, status: int
) -> None:
    assert create(association, ds) == status
    assert refusals[0].what == "announcement"
    assert f"0x{status:04X}" in refusals[0].reason


def test_a_step_that_is_there_or_is_not_there_or_is_finished_is_refused_with_its_status(
    association: Association,
) -> None:
    assert change(association, finished_step([])).Status == 0x0112
    assert create(association, created_step(STUDY)) == 0x0000
    assert create(association, created_step(STUDY)) == 0x0111
    undefined = Dataset()
    undefined.PerformedProcedureStepStatus = "DONE"
    assert change(association, undefined).Status == 0x0106
    assert change(association, finished_step([], "DISCONTINUED")).Status == 0x0000
    finished = change(association, finished_step([]))
    assert (finished.Status, finished.ErrorID) == (0x0110, 0xA710)


def test_a_change_without_series_leaves_the_images_that_were_announced(announcements: Announcements) -> None:
    announcements.create(Announcement("MPPS", "1.9.1", (STUDY,), Step.IN_PROGRESS, (image(1),)), PEER)
    assert announcements.change("1.9.1", Step.COMPLETED, None) is Taken.TAKEN
    assert announced(announcements)[0].images == 1


def test_an_arriving_study_is_looked_at_again_when_something_was_announced_or_came(
    announcements: Announcements, ledger: Ledger, database: Database
) -> None:
    outlooks = Outlooks(ledger, announcements, Corrections(database), ArchiveCounts(database, 15), Config())

    def grounds() -> Grounds | None:
        (collecting,) = arriving = ledger.collecting()
        outlooks.refresh(arriving)
        at = datetime.now(UTC) + timedelta(seconds=1)
        outlook = outlooks.of(collecting, at)
        return settle(outlook.standing, outlook.patience, at).grounds if outlook else None

    announcements.create(Announcement("MPPS", "1.9.1", (STUDY,), Step.IN_PROGRESS, ()), PEER)
    receive(ledger, 1)
    assert grounds() is None
    announcements.change("1.9.1", Step.COMPLETED, (image(1), image(2)))
    assert grounds() is None
    receive(ledger, 2)
    assert grounds() is Grounds.ANNOUNCED
    receive(ledger, 3)  # nobody announced it
    assert grounds() is None
