"""A node's record filled through the same doors as in operation: studies in every state, with products and reports."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import TypeAdapter
from pydicom import Dataset
from pynetdicom.dsutils import encode

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.database import migrate, open_engine
from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.adapters.job_ledger import Claim, JobLedger
from gsco_pacs.adapters.ledger import Database, Ledger
from gsco_pacs.adapters.queue import open_app
from gsco_pacs.config import Config
from gsco_pacs.domain.completeness import Decision
from gsco_pacs.domain.findings import (
    Answer,
    Briefing,
    Code,
    Consultation,
    Draft,
    Exclusion,
    Finding,
    Mode,
    ModelIdentity,
    Objection,
    Opinion,
    Presence,
    Provenance,
    Receipt,
    Report,
    SimilarCase,
    Statement,
)
from gsco_pacs.domain.incoming import Incoming
from gsco_pacs.domain.job import Event, Stage
from gsco_pacs.domain.study import Instance, Peer, Routing, Study, Trial
from gsco_pacs.intake import HEADER
from gsco_pacs.processes.question_door import QuestionDoor
from gsco_pacs.settings.receiver import Receiver, Sender
from gsco_pacs.sr.source import read_header
from gsco_pacs.steps.compose import compose
from gsco_pacs.steps.receive import receive
from gsco_pacs.testing.phantoms import make_dx
from gsco_pacs.web.app import make_app

ROOM = Peer("CR_ROOM1", "GSCO", "10.1.2.3")
MODEL = ModelIdentity("cxr_findings", "1.2.0", "3fa1" * 16, ("calibrated",))
GENERALIST = ModelIdentity("medgemma-4b-it", "1", "77b0" * 16, ("greedy",))
ROUTE = {"name": "chest-radiograph", "priority": "routine"}
MATCHING = Routing("chest-radiograph", (
    Trial("chest-ct", matched=False, reason="Modality is CT (the study has DX)"),
    Trial("chest-radiograph", matched=True, reason=""),
))  # fmt: skip
_FINDINGS = (
    ("Effusion", "pleural effusion", 0.83), ("Cardiomegaly", "enlarged heart", 0.64), ("Atelectasis", "atelectasis", 0.41),
    ("Infiltration", "infiltration", 0.33), ("Consolidation", "consolidation", 0.22), ("Edema", "pulmonary oedema", 0.12),
    ("Nodule", "nodule", 0.07), ("Pneumothorax", "pneumothorax", 0.02), ("Hernia", "hiatal hernia", 0.0),
)  # fmt: skip


class RecordedNode:
    """A configuration, a store and a ledger in ``folder``, and the moves that fill them."""

    def __init__(
        self,
        folder: Path,
        senders: Sequence[Sender] = (Sender(ae_title="CR_ROOM1"),),
        database: str | None = None,
    ) -> None:
        self.config = Config(
            state=folder / "state",
            receiver=Receiver(reserve_bytes=0, senders=tuple(senders)),
            **({"database": database} if database else {}),
        )
        migrate(self.config.database_url)
        self.engine = open_engine(self.config.database_url)
        self.database = Database(self.engine)
        self.ledger = Ledger(self.database)
        self.jobs = JobLedger(self.database)
        self.store_dir = self.config.state_dir / "store"
        self.store = FileStore(self.store_dir, 0)

    def app(self) -> FastAPI:
        """The administrator's site over this node, with its settings of the moment."""
        door = QuestionDoor(self.database, open_app(self.config))
        return make_app(Audit(self.database), self.store_dir, self.config, door)

    def client(self) -> TestClient:
        """A client of that site on the same machine."""
        return TestClient(self.app(), base_url="http://127.0.0.1")

    def receive(self, *images: Dataset, peer: Peer = ROOM) -> str:
        """Store and register the images of one study; its UID."""
        instances = [self._stored(image, peer) for image in images]
        self.ledger.register([(instance, peer) for instance in instances])
        return instances[0].study_instance_uid

    def _stored(self, image: Dataset, peer: Peer) -> Instance:
        data_set = encode(image, is_implicit_vr=False, is_little_endian=True)
        assert data_set is not None
        syntax = str(image.file_meta.TransferSyntaxUID)
        incoming = Incoming(str(image.SOPClassUID), str(image.SOPInstanceUID), syntax, data_set, peer)
        return receive(incoming, self.store, HEADER)

    def close(self, uid: str, routing: Routing = MATCHING) -> None:
        """Close the study; skipped if ``routing`` has no route."""
        collecting = next(c for c in self.ledger.collecting() if c.study_instance_uid == uid)
        decision = Decision(closed=True, reason="No new image for 60 s.", decided_at=datetime.now(UTC))
        assert self.ledger.close(collecting, decision, routing, ROUTE if routing.route else None)

    def claim(self, stage: Stage) -> Claim:
        """The only queued job of ``stage``, claimed."""
        claim = self.jobs.claim(stage, "ward-server:4711", 30)
        assert claim is not None
        return claim

    def consult(self, *evidence: Report) -> Claim:
        """Walk the queued job through the consult stage, which makes ``evidence``."""
        claim = self.claim(Stage.CONSULT)
        self.jobs.finish(claim, _json(consultation(claim.study)), evidence)
        return claim

    def draft(self) -> tuple[Report, ...]:
        """Walk the consulted job through the draft stage, which makes the two SRs here."""
        claim = self.claim(Stage.DRAFT)
        files = [self.store_dir / instance.path for instance in claim.study.instances]
        narrative, coded, *_ = compose(
            claim.study,
            [read_header(file) for file in files],
            consultation=consultation(claim.study),
            draft=drafted(),
            provenance=Provenance(
                "1.0", "5a" * 32, "chest-radiograph", Mode.MOED_RAD, "briefed", "c4" * 32,
                tuple((instance.sop_instance_uid, instance.sha256) for instance in claim.study.instances),
            ),
            equipment=self.config.equipment,
            predecessors=self.jobs.predecessors(claim.job_id),
            at=datetime.now(UTC),
        )  # fmt: skip
        reports = (narrative, coded)
        self.jobs.finish(claim, {"briefing": _json(briefing()), "draft": _json(drafted())}, reports)
        return reports

    def deliver(self, reports: Sequence[Report]) -> None:
        """Walk the drafted job through the deliver stage."""
        claim = self.claim(Stage.DELIVER)
        receipts = [Receipt("pacs", report.sop_instance_uid, "0x0000") for report in reports]
        self.jobs.keep_receipts(claim.job_id, receipts)
        self.jobs.finish(claim, {"receipts": len(receipts)})

    def delivered(self, *images: Dataset) -> str:
        """A study that went all the way; its UID."""
        uid = self.receive(*images)
        self.close(uid)
        self.consult()
        self.deliver(self.draft())
        return uid

    def every_state(self) -> dict[str, str]:
        """One study in each state: state -> UID. The skipped one matched no route, the failed one could not be sent."""
        uids = {
            "delivered": self.delivered(
                make_dx(study="1"), make_dx(study="1", instance="2", ViewPosition="LL")
            )
        }
        uids["failed"] = self._ended(
            make_dx(study="2"), Event.FAILED_FOR_GOOD, "The specialists could read no image."
        )
        uids["cancelled"] = self._ended(make_dx(study="3"), Event.CANCELLED, "Cancelled by the operator.")
        uids["skipped"] = self.receive(make_dx(study="4"))
        mismatch = Trial("chest-radiograph", matched=False, reason="Modality is CR or DX (the study has OT)")
        self.close(uids["skipped"], Routing(None, (mismatch,)))
        uids["waiting"] = self.receive(make_dx(study="5"))
        self.close(uids["waiting"])
        self.consult()
        self.draft()
        self.jobs.postpone(self.claim(Stage.DELIVER), "pacs: The peer could not be reached or hung up.", 60)
        uids["running"] = self.receive(make_dx(study="6"))
        self.close(uids["running"])
        self.claim(Stage.CONSULT)
        uids["queued"] = self.receive(make_dx(study="7"))
        self.close(uids["queued"])
        uids["collecting"] = self.receive(make_dx(study="8"))
        return uids

    def _ended(self, image: Dataset, event: Event, reason: str) -> str:
        uid = self.receive(image)
        self.close(uid)
        self.jobs.end(self.claim(Stage.CONSULT), event, reason)
        return uid


def consultation(study: Study) -> Consultation:
    """What a specialist for chest radiographs might say about ``study``."""
    first = study.instances[0].sop_instance_uid
    opinions = tuple(
        Opinion(
            MODEL.name,
            Finding(label, text, Code("404684003", "SCT", "Clinical finding")),
            p,
            0.25,
            0.55,
            first,
        )
        for label, text, p in _FINDINGS
    )
    chance = random.Random(1)
    labels = (
        ("Effusion", "Cardiomegaly"),
        ("Effusion",),
        ("No Finding",),
        ("Effusion", "Atelectasis"),
        ("Cardiomegaly",),
    )
    cases = tuple(
        SimilarCase(MODEL.name, f"{chance.getrandbits(32):08x}", found, 0.94 - 0.02 * place, first)
        for place, found in enumerate(labels)
    )
    others = tuple(
        Exclusion(i.sop_instance_uid, "View Position: the model reads AP, PA.") for i in study.instances[1:]
    )
    return Consultation((MODEL,), (first,), opinions, cases, others, "chest X-ray")


def briefing() -> Briefing:
    """What the generalist might have been told."""
    prompt = (
        "You see a chest X-ray.\nA specialist model says:\n- pleural effusion: present (0.83)\n- enlarged heart: present (0.64)\n"
        "Similar cases were: effusion (4 of 5).\nName the findings."
    )
    return Briefing(Mode.MOED_RAD, prompt, "briefed", "c4" * 32, ("pleural effusion", "enlarged heart"))


def drafted() -> Draft:
    """A draft with everything that a draft can have."""
    effusion = Statement(
        "Pleural effusion is present.",
        ("Effusion",),
        Presence.PRESENT,
        ("cxr_findings 0.83", "4 of 5 similar cases"),
    )
    heart = Statement("The heart is enlarged.", ("Cardiomegaly",), Presence.PRESENT, ("cxr_findings 0.64",))
    answer = Answer(
        "There is a pleural effusion.\nThe heart is enlarged.\nThere is a rib fracture.",
        GENERALIST,
        image_seen=True,
    )
    return Draft(
        findings=(effusion, heart),
        impression=(replace(effusion, text="Pleural effusion with an enlarged heart."),),
        disagreements=("Atelectasis: the generalist does not mention it, cxr_findings is uncertain (0.41).",),
        objections=(Objection("There is a rib fracture.", "No opinion supports it."),),
        generalist=GENERALIST,
        answer=answer,
        wording="generalist",
    )


def _json(value: Any) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")
