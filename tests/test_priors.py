"""Priors come by rule: fetched from Orthanc, consulted on without a draft, and waited for no longer than allowed."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset
from sqlalchemy import update

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.database import migrate
from gsco_pacs.adapters.job_ledger import Claim, JobLedger
from gsco_pacs.adapters.ledger import Ledger
from gsco_pacs.adapters.prior_searches import PriorSearches
from gsco_pacs.adapters.prior_studies import PriorStudies
from gsco_pacs.adapters.tables import JobRow, PriorSearchRow
from gsco_pacs.adapters.upkeep import Upkeep
from gsco_pacs.config import Config
from gsco_pacs.domain.completeness import Decision
from gsco_pacs.domain.fetch import FetchState
from gsco_pacs.domain.findings import Consultation, ModelIdentity, ObjectKind
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.job import Event, Stage, State
from gsco_pacs.domain.part10 import take_apart
from gsco_pacs.domain.prior_search import SearchState
from gsco_pacs.domain.study import Peer
from gsco_pacs.processes.fetcher import Fetcher
from gsco_pacs.processes.filing import open_intake
from gsco_pacs.processes.parts import open_database
from gsco_pacs.sr.reading import as_text
from gsco_pacs.steps.route import route
from gsco_pacs.testing.phantoms import encoded, make_dx
from gsco_pacs.testing.servers import OrthancServer
from tests.running_node import Node as RunningNode

PATIENT = "WITH-PRIORS"
MODEL = ModelIdentity("cxr_findings", "1", "0" * 64)


def chest(study: str, day: str, **values: Any) -> Dataset:
    return make_dx(study=study, PatientID=PATIENT, StudyDate=day, **values)


TODAY = chest("prior today", "20260105")


@pytest.fixture(scope="module")
def filled(orthanc: OrthancServer) -> OrthancServer:
    """The patient's studies at the PACS: two that fit, a hand, one that is too old, one that is later."""
    stored = [
        TODAY, chest("prior new", "20250601"), chest("prior old", "20240601"), chest("prior later", "20260106"),
        chest("prior hand", "20250701", BodyPartExamined="HAND"), chest("prior ancient", "20010101"),
    ]  # fmt: skip
    for image in stored:
        httpx.post(f"{orthanc.url}/instances", content=encoded(image)).raise_for_status()
    return orthanc


class Node:
    """A node's record whose stages are gone through by hand."""

    def __init__(self, folder: Path, url: str, **rule: Any) -> None:
        wanted = {"from": "pacs", "body_parts": ["CHEST"], "most": 2} | rule
        chest_route = {
            "name": "chest", "when": {"tag": "Modality", "one_of": ["DX"]}, "specialists": ["cxr_findings"],
            "destinations": ["results"], "priors": wanted,
        }  # fmt: skip
        self.config = Config(
            state=folder / "state", receiver={"reserve_bytes": 0}, routes=[chest_route],
            archives={"pacs": {"kind": "dicomweb", "url": url}},
            destinations={"results": {"kind": "folder", "path": "results"}},
        )  # fmt: skip
        migrate(self.config.database_url)
        self.database = open_database(self.config)
        self.ledger, self.jobs, self.audit = (
            Ledger(self.database),
            JobLedger(self.database),
            Audit(self.database),
        )
        self.fetcher, self.searches = Fetcher(self.config, self.database), PriorSearches(self.database)

    def receive(self, image: Dataset) -> int:
        """Take in a study and close it; its job."""
        with open_intake(self.config, self.database) as take:
            take(Incoming(*take_apart(encoded(image)), Peer("CR1", "GSCO", "127.0.0.1")))
        (collecting,) = self.ledger.collecting()
        headers = [instance.header for instance in self.ledger.study(collecting.job_id).instances]
        routing = route(headers, self.config.routes)
        snapshot = self.config.routes[0].model_dump(mode="json", by_alias=True)
        decision = Decision(closed=True, reason="quiet", decided_at=datetime.now(UTC))
        assert self.ledger.close(collecting, decision, routing, snapshot)
        return collecting.job_id

    def fetch_priors(self) -> None:
        """What the fetcher does at one time, to its end."""
        with ThreadPoolExecutor(1) as pool:
            self.fetcher.work(pool)

    def consult(self) -> tuple[Claim, State]:
        """A consult worker's work on the next job."""
        claim = self.jobs.claim(Stage.CONSULT, "worker", 30)
        assert claim
        read = tuple(instance.sop_instance_uid for instance in claim.study.instances)
        consultation = Consultation((MODEL,), read, (), (), (), "chest X-ray")
        return claim, self.jobs.finish(claim, asdict(consultation))

    def job(self, image: Dataset) -> Any:
        return self.audit.study(str(image.StudyInstanceUID)).revisions[0]


@pytest.fixture
def node(filled: OrthancServer, tmp_path: Path) -> Node:
    return Node(tmp_path, filled.dicomweb)


def test_priors_are_fetched_consulted_on_without_a_draft_and_then_the_draft_is_due(node: Node) -> None:
    job_id = node.receive(TODAY)
    claim, state = node.consult()
    assert (claim.job_id, state) == (job_id, State.WAITING)
    assert node.job(TODAY).moments[-1].event == Event.PRIORS_AWAITED
    assert Upkeep(node.database).queue_due() == 0

    node.fetch_priors()
    for image in (chest("prior new", "20250601"), chest("prior old", "20240601")):
        assert node.job(image).job.state == State.QUEUED
    assert [node.consult()[1] for _ in range(2)] == [State.SKIPPED, State.SKIPPED]
    assert "prior of another study" in node.job(chest("prior new", "20250601")).job.reason

    node.fetch_priors()
    (search,) = node.job(TODAY).priors
    assert search.state == SearchState.ENDED
    assert search.reason == "2 wanted: 20250601 came (1 objects); 20240601 came (1 objects)."
    assert Upkeep(node.database).queue_due() == 1
    assert (node.job(TODAY).job.state, node.job(TODAY).job.stage) == (State.QUEUED, Stage.DRAFT)
    assert [prior.study_date for prior in PriorStudies(node.database).before(job_id)] == [
        "2025-06-01",
        "2024-06-01",
    ]


def test_a_draft_that_comes_after_its_priors_does_not_wait(node: Node) -> None:
    node.receive(TODAY)
    node.fetch_priors()
    claims = [node.consult() for _ in range(2)]
    assert {state for _, state in claims} == {State.SKIPPED}  # priors first: somebody waits for them
    node.fetch_priors()
    assert node.consult()[1] is State.QUEUED


def test_at_the_deadline_the_draft_goes_on_without_them(filled: OrthancServer, tmp_path: Path) -> None:
    node = Node(tmp_path, "http://127.0.0.1:9/dicom-web")
    job_id = node.receive(TODAY)
    assert node.consult()[1] is State.WAITING
    node.fetch_priors()
    assert node.job(TODAY).priors[0].state == SearchState.WAITING  # the archive is away: tried again
    past = datetime.now(UTC) - timedelta(seconds=1)
    with node.database.writing() as connection:
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(not_before=past))
        connection.execute(update(PriorSearchRow).values(deadline_at=past))
    assert Upkeep(node.database).queue_due() == 1
    node.fetch_priors()
    assert node.job(TODAY).priors[0].reason == "The deadline passed before the archive answered."


def test_a_rule_that_nothing_fits_ends_at_once(filled: OrthancServer, tmp_path: Path) -> None:
    node = Node(tmp_path, filled.dicomweb, modalities=["MR"])
    node.receive(TODAY)
    assert node.consult()[1] is State.WAITING
    node.fetch_priors()
    node.fetch_priors()
    assert (node.job(TODAY).priors[0].state, node.job(TODAY).priors[0].reason) == (
        SearchState.ENDED,
        "There are none.",
    )
    assert Upkeep(node.database).queue_due() == 1


def test_a_person_who_tries_a_prior_again_gets_a_draft_of_it(node: Node) -> None:
    prior = chest("prior new", "20250601")
    node.receive(TODAY)
    node.fetch_priors()
    for _ in range(2):
        node.consult()
    Upkeep(node.database).requeue(str(prior.StudyInstanceUID), "tester")
    (collecting,) = node.ledger.collecting()
    node.fetcher._close_one(collecting, "again")
    with node.database.reading() as connection:
        row = connection.execute(JobRow.__table__.select().where(JobRow.id == collecting.job_id)).one()
    assert not row.is_prior


def test_a_rule_must_name_an_archive_that_is_there() -> None:
    chest_route = {
        "name": "chest",
        "when": {"tag": "Modality", "equals": "DX"},
        "specialists": ["x"],
        "destinations": ["r"],
    }
    with pytest.raises(ValueError, match=r"routes\.chest\.priors\.from: 'pacs' is not defined"):
        Config(
            routes=[chest_route | {"priors": {"from": "pacs"}}],
            destinations={"r": {"kind": "folder", "path": "r"}},
        )


def test_a_running_node_fetches_a_named_study_and_its_prior_before_the_draft_that_compares_them(
    orthanc: OrthancServer, tmp_path: Path
) -> None:
    today, prior = (
        make_dx(320, 280, study=f"walked {day}", PatientID="WALKED", StudyDate=day) for day in ("20260105", "20250601")
    )  # fmt: skip
    for image in (today, prior):
        httpx.post(f"{orthanc.url}/instances", content=encoded(image)).raise_for_status()
    (chest_route,) = RunningNode(tmp_path / "plain").config.routes
    rule = {"priors": {"from": "pacs", "body_parts": ["CHEST"]}}
    node = RunningNode(
        tmp_path / "node", archives={"pacs": {"kind": "dicomweb", "url": orthanc.dicomweb}},
        routes=[chest_route.model_dump(mode="json", by_alias=True) | rule],
    )  # fmt: skip
    command = f"--config {node.file} fetch {today.StudyInstanceUID} --from pacs --wait 120"
    with node.running():
        subprocess.run([sys.executable, "-m", "gsco_pacs", *command.split()], check=True, cwd=tmp_path)
    history, earlier = (node.audit.study(str(image.StudyInstanceUID)) for image in (today, prior))
    (revision,), (named,), (by_rule,) = history.revisions, history.fetches, earlier.fetches
    assert (named.state, revision.job.state) == (FetchState.COMPLETE, State.DELIVERED)
    assert (by_rule.state, by_rule.asked_by) == (FetchState.COMPLETE, f"job {revision.job.job_id}")
    assert earlier.revisions[0].job.state == State.SKIPPED
    assert revision.priors[0].reason == "1 wanted: 20250601 came (1 objects)."
    draft = next(attempt for attempt in revision.attempts if attempt.stage == Stage.DRAFT)
    assert by_rule.ended_at is not None
    assert by_rule.ended_at < draft.started_at
    narrative = next(report for report in revision.reports if report.kind == ObjectKind.NARRATIVE)
    assert "the study of 2025-06-01" in as_text(node.audit.report(narrative.sop_instance_uid))
