"""The gate and `also`, through a real worker's draft stage: what was asked stands in the ledger, read back from it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from gsco_pacs.adapters.audit import Audit
from gsco_pacs.adapters.queue import open_app
from gsco_pacs.config import Config
from gsco_pacs.consultation import Drafted
from gsco_pacs.domain.findings import Consultation, Mode
from gsco_pacs.domain.job import Stage
from gsco_pacs.processes.worker import CONSULTATION, Desk
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.testing.phantoms import make_dx
from tests import recorded_node
from tests.recorded_node import RecordedNode, consultation
from tests.scripted_server import Script

DRAFTED = TypeAdapter(Drafted)
SAID = "There is lung mass."
Change = Callable[[Consultation], Consultation]
Draft = Callable[..., tuple[Drafted, int]]


def sure(held: Consultation) -> Consultation:
    """The same without the opinions that a gate doubts, and without cases that could contradict."""
    opinions = tuple(each for each in held.opinions if each.probability < 0.05 or each.probability > 0.8)
    return replace(held, opinions=opinions, cases=())


@pytest.fixture
def drafted(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Draft]:
    """Walks a study through a worker's draft stage by a route's settings: its product, and how often the server was asked."""
    node, server = RecordedNode(tmp_path, database=url), Script(*[200] * 20)
    generalists = {"model": {"kind": "openai", "base_url": server.base_url, "model": "smollm2"}}
    node.config = Config(**node.config.model_dump() | {"generalists": generalists})

    def walk(change: Change = lambda held: held, **settings: Any) -> tuple[Drafted, int]:
        route = RouteSettings.model_validate(
            {"name": "chest-radiograph", "when": {"tag": "Modality", "equals": "DX"}, "specialists": ["cxr_findings"],
             "destinations": ["results"], "generalist": "model"} | settings
        )  # fmt: skip
        monkeypatch.setattr(recorded_node, "ROUTE", route.model_dump(mode="json"))
        uid = node.receive(make_dx(320, 280))
        node.close(uid)
        claim = node.claim(Stage.CONSULT)
        held = change(consultation(claim.study))
        node.jobs.finish(claim, CONSULTATION.dump_python(held, mode="json"), ())
        Desk(node.config, Stage.DRAFT, open_app(node.config)).work()
        (revision,) = Audit(node.database).study(uid).revisions
        assert revision.job.stage == Stage.DELIVER, revision.job.reason
        return DRAFTED.validate_python(revision.products[Stage.DRAFT]), len(server.requests)

    yield walk
    server.shutdown()
    node.engine.dispose()


def test_a_gate_that_says_never_leaves_the_generalist_alone(drafted: Draft) -> None:
    made, asked = drafted(gate={"policy": "never"})
    assert asked == 0
    assert made.draft.referral is not None
    assert (made.draft.referral.made, made.draft.referral.reasons) == (
        False,
        ("the gate is set to never ask",),
    )
    assert (made.briefing.mode, made.draft.answer, made.also) == (Mode.SPECIALISTS, None, ())


def test_when_unsure_asks_about_the_doubtful_and_keeps_the_doubt(drafted: Draft) -> None:
    made, asked = drafted(gate={"policy": "when_unsure"})
    assert asked >= 1
    assert made.draft.referral is not None
    assert made.draft.referral.made
    assert "cxr_findings is uncertain of atelectasis (41 %)" in made.draft.referral.reasons
    assert made.draft.answer is not None
    assert made.draft.answer.text == SAID


def test_when_unsure_does_not_ask_about_what_is_sure(drafted: Draft) -> None:
    made, asked = drafted(sure, gate={"policy": "when_unsure"})
    assert asked == 0
    assert made.draft.referral is not None
    assert not made.draft.referral.made
    assert made.draft.answer is None


@pytest.mark.parametrize("policy", ["always", "never"])
def test_every_mode_that_was_asked_for_is_answered_and_kept_whatever_the_gate_says(
    drafted: Draft, policy: str
) -> None:
    also = [Mode.GENERALIST, Mode.MOED, Mode.RAD, Mode.MOED_RAD]
    made, asked = drafted(gate={"policy": policy}, also=also, mode=Mode.MOED_RAD)
    own = Mode.MOED_RAD if policy == "always" else Mode.SPECIALISTS
    assert made.briefing.mode is own
    assert [aside.briefing.mode for aside in made.also] == [mode for mode in also if mode is not own]
    assert asked >= len(also)
    for aside in made.also:
        assert {answer.text for answer in aside.answers} == {SAID}
        assert aside.seconds > 0
        told = "pleural effusion 83 %" in aside.briefing.prompt
        assert told is (aside.briefing.mode in (Mode.MOED, Mode.MOED_RAD))
