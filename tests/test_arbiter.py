"""What the small generalist weighs, read out of the briefing that the node writes, and how the weights are fitted."""

import numpy as np
import pytest

from gsco_pacs.adapters.arbiter import Arbiter, arbiter_for, sources_of
from gsco_pacs.domain.findings import Mode, Presence
from gsco_pacs.steps.brief import brief
from gsco_pacs.training.arbitration import as_entry, fitted
from tests.briefing_material import FINDINGS, consultation, opinion

P, U, A = Presence.PRESENT, Presence.UNCERTAIN, Presence.ABSENT
SHOWN = (FINDINGS[0], FINDINGS[6], FINDINGS[-1])
OPTIONS = tuple(finding.label for finding in SHOWN)
LANGUAGE = np.array([-1.0, -2.0, -3.0])
BARE = Arbiter("chest X-ray", OPTIONS, (4, 0, 2), single=True, ways={})


def prompt(mode: Mode) -> str:
    told = consultation(
        {"Effusion": P, "Mass": A}, [["Mass"], ["Mass"], []], [opinion("Effusion", U, "second")]
    )
    return brief(told, SHOWN, mode, "options-single").prompt


def test_the_numbers_of_a_briefing_are_read_as_they_were_written() -> None:
    found = sources_of(BARE, prompt(Mode.MOED_RAD), None, LANGUAGE)
    assert list(found) == ["opinions", "cases", "language"]
    assert np.exp(found["opinions"]) == pytest.approx([0.55, 0.02, 0.01])
    assert np.exp(found["cases"]) == pytest.approx([0.5 / 4, 2.5 / 4, 1.5 / 4])


def test_what_the_mode_does_not_show_is_not_weighed() -> None:
    evidence = np.array([1.0, 9, 2, 9, 3])
    found = sources_of(BARE, prompt(Mode.GENERALIST), evidence, LANGUAGE)
    assert list(found) == ["eye", "language"]
    assert np.exp(found["eye"]) == pytest.approx(np.exp([3, 1, 2]) / np.exp([3, 1, 2]).sum())


def test_an_arbiter_serves_its_options_in_any_order_and_no_others() -> None:
    ways = {"language": ([1.0], [0.0, 5.0, 0.0])}
    entry = as_entry(Arbiter("chest X-ray", OPTIONS, (4, 0, 2), single=True, ways=ways))
    asked = prompt(Mode.MOED)
    turned = arbiter_for([entry], asked, OPTIONS[::-1], single=True)
    assert turned is not None
    assert turned.words == (2, 0, 4)
    assert turned.log_odds("Which?", None, LANGUAGE[::-1]).argmax() == 1
    assert arbiter_for([entry], asked, OPTIONS[:2], single=True) is None
    assert arbiter_for([entry], asked, OPTIONS, single=False) is None


def test_an_arbiter_of_another_examination_with_the_same_options_is_not_asked() -> None:
    entry = as_entry(Arbiter("breast ultrasound", OPTIONS, (4, 0, 2), single=True, ways={}))
    assert arbiter_for([entry], prompt(Mode.MOED), OPTIONS, single=True) is None


def test_a_mixture_of_sources_that_was_never_fitted_leaves_the_language_alone() -> None:
    assert np.array_equal(BARE.log_odds(prompt(Mode.MOED), None, LANGUAGE), LANGUAGE)


@pytest.mark.parametrize("single", [True, False])
def test_the_source_that_is_right_more_often_is_trusted_more(single: bool) -> None:
    random = np.random.default_rng(2)
    truth = np.eye(3)[random.integers(0, 3, 300)]
    cases = [{"opinions": 3 * one + random.normal(0, 1, 3), "eye": random.normal(0, 1, 3)} for one in truth]
    weights, bias = fitted(cases, truth, single=single)
    assert weights[0] > 3 * weights[1]
    assert len(bias) == 3
