"""The measure of honesty sees what is wrong with a raw answer, and finds nothing wrong in a finished draft."""

import pytest

from gsco_pacs.adapters.structured_generalist import StructuredGeneralist
from gsco_pacs.domain.findings import Mode, Presence
from gsco_pacs.evaluation.honesty import MEASURES, honesty, synthetic_consultations, table
from gsco_pacs.grounding.positions import assessed, positions_of
from tests.briefing_material import FINDINGS, NO_FINDING, WORDS, ScriptedGeneralist

DENIES, LEAVES_OUT, INVENTS, LEAKS, UNREADABLE = MEASURES


def test_synthetic_studies_follow_from_their_seed_alone() -> None:
    first, again, other = (tuple(synthetic_consultations(FINDINGS, 5, seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_synthetic_studies_hold_every_state_and_neighbours_that_show_others() -> None:
    studies = tuple(synthetic_consultations(FINDINGS, 30, 0))
    held = [positions_of(study.opinions) for study in studies]
    assert {position.presence for positions in held for position in positions.values()} == set(Presence)
    assert any(not assessed(positions, Presence.PRESENT) for positions in held)
    shown = {label for study in studies for case in study.cases for label in case.labels}
    assert shown == set(WORDS)


def test_the_structured_wording_violates_nothing() -> None:
    measured = honesty(StructuredGeneralist(), FINDINGS, 20)
    assert (measured.raw, measured.gated, measured.asked) == ({}, {}, 20)


@pytest.mark.parametrize(
    ("says", "measure"),
    [
        ("Normal chest.", DENIES),
        ("There is no finding.", DENIES),
        ("Findings as discussed.", LEAVES_OUT),
        ("There is a rib fracture.", INVENTS),
        (" ".join(f"There is {words}." for words in WORDS.values()), LEAKS),
        ("There is lung mass. " * 9, UNREADABLE),
        ("", UNREADABLE),
    ],
)
def test_what_is_wrong_with_an_answer_is_counted_before_the_gate_and_gone_after_it(
    says: str, measure: str
) -> None:
    measured = honesty(ScriptedGeneralist(says), FINDINGS, 20)
    assert measured.raw.get(measure, 0) > 0
    assert measured.gated == {}


@pytest.mark.parametrize("mode", [Mode.GENERALIST, Mode.MOED, Mode.RAD])
def test_a_diagnosis_outside_the_options_counts_as_unreadable(mode: Mode) -> None:
    measured = honesty(ScriptedGeneralist("Influenza"), FINDINGS, 5, mode=mode, template="gsco")
    assert (measured.raw, measured.gated) == ({UNREADABLE: 5}, {})


def test_the_table_has_a_row_for_each_generalist() -> None:
    rows = table([honesty(ScriptedGeneralist(NO_FINDING), FINDINGS, 5, template="gsco")]).splitlines()
    assert len(rows) == 3
    assert rows[2].startswith("| scripted | gsco | moed+rad | 5 | 5 |")
