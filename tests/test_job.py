"""The job's state machine: every pair of state and event, and what the table as a whole promises."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsco_pacs.domain.errors import IllegalMoveError
from gsco_pacs.domain.job import ACTIVE, MOVES, SETTLED, Event, Stage, State, after


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_moves_as_the_table_says_or_is_refused(state: State, event: Event) -> None:
    if (state, event) in MOVES:
        assert after(state, event) is MOVES[state, event]
    else:
        with pytest.raises(IllegalMoveError, match=str(event)):
            after(state, event)


def test_every_state_can_be_reached_from_collecting() -> None:
    reached = {State.COLLECTING}
    for _ in State:
        reached |= {target for (state, _), target in MOVES.items() if state in reached}
    assert reached == set(State)


def test_every_active_job_can_settle() -> None:
    settling = set(SETTLED)
    for _ in State:
        settling |= {state for (state, _), target in MOVES.items() if target in settling}
    assert settling >= ACTIVE


def test_only_a_failed_or_a_skipped_job_is_ever_reopened_and_only_by_an_operator() -> None:
    assert {pair for pair, target in MOVES.items() if pair[0] in SETTLED and target != pair[0]} == {
        (State.FAILED, Event.REQUEUED), (State.SKIPPED, Event.REQUEUED),
    }  # fmt: skip


@given(st.lists(st.sampled_from(Event)))
def test_no_run_of_events_leaves_the_table(events: list[Event]) -> None:
    state = State.COLLECTING
    for event in events:
        try:
            state = after(state, event)
        except IllegalMoveError:
            assert (state, event) not in MOVES
    assert state in State


def test_the_stages_follow_each_other() -> None:
    assert [stage.following for stage in Stage] == [Stage.DRAFT, Stage.DELIVER, None]
