"""The main job, end to end, with the real processes: a study goes in over DICOM, two draft SRs come out."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from pydicom import Dataset, dcmread, examples
from pydicom.filereader import read_dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless

from gsco_pacs.adapters.audit import StudyHistory
from gsco_pacs.adapters.database import open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.processes.auditing import TransferAuditing
from gsco_pacs.testing.pacs import Answer, Arrival, HangUp, LoopbackPacs
from gsco_pacs.testing.phantoms import encoded, make_dx
from tests.running_node import Node


@pytest.fixture
def chest(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a chest phantom of a study of its own and returns the file."""

    def write(study: str, instance: str = "1") -> Path:
        path = tmp_path / f"chest-{study}-{instance}.dcm"
        path.write_bytes(encoded(make_dx(320, 280, study=study, instance=instance)))
        return path

    return write


def uid_of(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def dimse(pacs: LoopbackPacs) -> dict[str, dict[str, object]]:
    settings = {
        "kind": "dimse",
        "ae_title": pacs.ae_title,
        "host": "127.0.0.1",
        "port": pacs.port,
        "timeout_seconds": 5,
    }
    return {"results": settings}


def dataset(arrival: Arrival) -> Dataset:
    implicit = arrival.transfer_syntax_uid == ImplicitVRLittleEndian
    return read_dataset(BytesIO(arrival.data_set), is_implicit_VR=implicit, is_little_endian=True)


def events(history: StudyHistory) -> list[str]:
    return [moment.event for moment in history.revisions[0].moments]


@pytest.fixture(params=["sqlite and folder", "postgresql and redis", "postgresql and rabbitmq"])
def servers(request: pytest.FixtureRequest) -> dict[str, str]:
    """The embedded default, and the two production brokers with the production database."""
    if request.param == "sqlite and folder":
        return {}
    broker = request.getfixturevalue(request.param.split()[-1])
    return {"database": request.getfixturevalue("postgresql").new_database(), "broker": broker.url}


@dataclass(frozen=True)
class Site:
    """A running node, and the PACS that it delivers to."""

    node: Node
    pacs: LoopbackPacs


@pytest.fixture(scope="module")
def long_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with LoopbackPacs() as pacs:
        node = Node(tmp_path_factory.mktemp("site"), destinations=dimse(pacs))
        with node.running():
            yield Site(node, pacs)


@pytest.fixture
def site(long_running: Site) -> Site:
    """One node for every test that changes none of its settings; its PACS remembers nothing of another test."""
    long_running.pacs.start_anew()
    return long_running


def test_a_study_that_is_sent_comes_back_as_two_draft_reports(
    tmp_path: Path, chest: Callable[[str], Path], servers: dict[str, str], loopback_pacs: LoopbackPacs
) -> None:
    image = chest("1")
    node = Node(tmp_path, destinations=dimse(loopback_pacs), **servers)
    with node.running():
        assert [sent.status for sent in node.send(image)] == [0]
        history = node.settled(uid_of(image))
    assert history.revisions[0].job.state == State.DELIVERED, history.revisions[0].job.reason
    assert events(history) == [
        Event.INSTANCE_STORED, Event.STUDY_CLOSED, *[Event.CLAIMED, Event.STAGE_FINISHED] * 2, Event.CLAIMED,
        Event.REPORTS_ACCEPTED,
    ]  # fmt: skip
    source = dcmread(image)
    arrived = [dataset(arrival) for arrival in loopback_pacs.arrivals]
    assert [report.SeriesNumber for report in arrived] == [9001, 9002]
    for report in arrived:
        assert report.StudyInstanceUID == source.StudyInstanceUID
        assert report.PatientID == source.PatientID
        assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
            "COMPLETE", "UNVERIFIED", "PRELIMINARY",
        )  # fmt: skip
    products = history.revisions[0].products
    assert len(products[Stage.CONSULT]["opinions"]) == 2 * 15  # each member has one of each finding
    assert len(products[Stage.CONSULT]["cases"]) == 10
    assert products[Stage.DRAFT]["briefing"]["prompt"]
    sender = node.config.receiver.senders[0].ae_title
    assert told_transfers(node) == [(sender, ["1"]), (loopback_pacs.ae_title, ["1", "1"])]


def told_transfers(node: Node) -> list[tuple[str | None, list[str | None]]]:
    """Whom each audit message of a transfer names beside the node, and its numbers of instances."""
    # What the housekeeper had not told when it was stopped, it would tell after its next start.
    TransferAuditing(Database(open_engine(node.config.database_url)), node.config).tend()
    paths = sorted((node.config.state_dir / "audit").glob("*-transfer*.xml"))
    return [
        (
            next(other for part in message.findall("ActiveParticipant") if not (other := part.get("UserID", "")).isdigit()),
            [each.get("NumberOfInstances") for each in message.iter("SOPClass")],
        )
        for message in (fromstring(path.read_bytes()) for path in paths)
    ]  # fmt: skip


def test_studies_that_no_route_or_no_specialist_fits_are_skipped_with_the_reason(
    site: Site, tmp_path: Path
) -> None:
    ct, hand = tmp_path / "ct.dcm", tmp_path / "hand.dcm"
    shutil.copyfile(examples.get_path("ct"), ct)
    hand.write_bytes(encoded(make_dx(320, 280, study="2", ViewPosition="LL")))
    site.node.send(ct, hand)
    no_route, no_fit = (site.node.settled(uid_of(path)).revisions[0].job for path in (ct, hand))
    assert (no_route.state, no_fit.state) == (State.SKIPPED, State.SKIPPED)
    assert "the study has CT" in no_route.reason
    assert "View Position" in no_fit.reason


def test_a_late_image_makes_a_second_draft_that_names_the_first(
    site: Site, chest: Callable[..., Path]
) -> None:
    first, late = chest("3", "1"), chest("3", "2")
    site.node.send(first)
    site.node.settled(uid_of(first))
    site.node.send(late, first)
    history = site.node.wait(
        uid_of(first), lambda h: len(h.revisions) == 2 and h.revisions[0].job.state == State.DELIVERED
    )
    arrivals = site.pacs.arrivals
    old, new = ([dataset(arrival) for arrival in arrivals[start : start + 2]] for start in (0, 2))
    assert len(arrivals) == 4
    assert history.received[0].resent == 1
    for before, after in zip(old, new, strict=True):
        assert after.SeriesInstanceUID != before.SeriesInstanceUID
        assert _predecessors(after) == [before.SOPInstanceUID]


def _predecessors(report: Dataset) -> list[str]:
    return [
        instance.ReferencedSOPInstanceUID
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


def test_a_pacs_that_was_down_gets_the_same_bytes_later_without_a_second_inference(
    site: Site, chest: Callable[[str], Path]
) -> None:
    image = chest("4")
    site.pacs.start_anew([Answer(0xA700), Answer(HangUp.DROP)])
    site.node.send(image)
    history = site.node.settled(uid_of(image))
    revision = history.revisions[0]
    assert revision.job.state == State.DELIVERED
    assert [attempt.stage for attempt in revision.attempts].count(Stage.CONSULT) == 1
    assert Event.FAILED_FOR_NOW in events(history)
    by_uid: dict[str, set[bytes]] = {}
    for arrival in site.pacs.arrivals:
        by_uid.setdefault(arrival.sop_instance_uid, set()).add(arrival.data_set)
    assert len(by_uid) == 2
    assert all(len(contents) == 1 for contents in by_uid.values())


def test_a_pacs_that_refuses_for_good_parks_the_job_until_an_operator_tries_again(
    site: Site, chest: Callable[[str], Path]
) -> None:
    image = chest("5")
    site.pacs.start_anew([Answer(0x0122), Answer(0x0122)])
    site.node.send(image)
    parked = site.node.settled(uid_of(image)).revisions[0].job
    _command(site.node, "retry", uid_of(image))
    again = site.node.wait(uid_of(image), lambda h: h.revisions[0].job.state == State.DELIVERED)
    assert parked.state == State.FAILED
    assert "0x0122" in parked.reason
    assert Event.REQUEUED in events(again)


@pytest.mark.parametrize("stage", Stage)
def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(
    site: Site, tmp_path: Path, chest: Callable[[str], Path], stage: Stage
) -> None:
    slow, others = slow_study(tmp_path, f"slow {stage}"), [chest(f"{stage} {number}") for number in range(2)]
    studies = [uid_of(path) for path in (slow[0], *others)]
    site.pacs.start_anew([Answer(delay_seconds=0.5)] * 100)
    site.node.send(*slow, *others)
    site.node.wait(studies[0], lambda h: _in(h, stage))
    for pid in site.node.processes(f"worker {stage}"):
        os.kill(pid, signal.SIGKILL)
    histories = [site.node.settled(study) for study in studies]
    assert [history.revisions[0].job.state for history in histories] == [State.DELIVERED] * 3
    assert Event.LEASE_LOST in events(histories[0])
    uids = {arrival.sop_instance_uid for arrival in site.pacs.arrivals}
    assert len(uids) == 6


def slow_study(folder: Path, study: str) -> list[Path]:
    """Four images that take a second to decode, so that a worker can be caught at work on them."""
    paths = [folder / f"slow-{number}.dcm" for number in range(4)]
    for number, path in enumerate(paths):
        ds = make_dx(1600, 1400, study=study, instance=str(number))
        noise = np.random.default_rng(number).integers(0, 4096, (1600, 1400), dtype=np.uint16)
        ds.PixelData = noise.tobytes()
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        path.write_bytes(encoded(ds))
    return paths


def _in(history: StudyHistory, stage: Stage) -> bool:
    job = history.revisions[0].job
    return (job.state, job.stage) == (State.RUNNING, stage)


def test_a_stage_that_hangs_is_killed_at_its_limit_and_fails_after_three_workers(
    tmp_path: Path, chest: Callable[[str], Path]
) -> None:
    image = chest("8")
    with LoopbackPacs([Answer(delay_seconds=4)] * 20) as pacs:
        workers = {"lease_seconds": 1.5, "deliver_seconds": 1}
        node = Node(tmp_path, destinations=dimse(pacs), workers=workers)
        with node.running():
            node.send(image)
            revision = node.settled(uid_of(image)).revisions[0]
    assert revision.job.state == State.FAILED
    assert "3 workers died" in revision.job.reason
    assert [a.outcome for a in revision.attempts if a.stage == Stage.DELIVER] == [Event.LEASE_LOST] * 3


def test_what_was_unfinished_when_the_node_stopped_is_finished_at_the_next_start(
    tmp_path: Path, chest: Callable[[str], Path]
) -> None:
    image = chest("7")
    node = Node(tmp_path)
    with node.running():
        assert node.send(image)[0].status == 0
    assert node.audit.study(uid_of(image)).revisions[0].job.state == State.COLLECTING
    started = time.monotonic()
    with node.running():
        assert node.settled(uid_of(image)).revisions[0].job.state == State.DELIVERED
    assert time.monotonic() - started < 120


def test_a_node_that_is_killed_takes_its_processes_with_it_and_never_shares_its_state(tmp_path: Path) -> None:
    node = Node(tmp_path)
    with node.running() as process:
        command = [sys.executable, "-m", "gsco_pacs", "--config", str(node.file), "node"]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert "running already" in second.stderr
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while left := [pid for name in ("receiver", "housekeeper", "worker") for pid in node.processes(name)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.2)


def _command(node: Node, *words: str) -> str:
    command = [sys.executable, "-m", "gsco_pacs", "--config", str(node.file), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
