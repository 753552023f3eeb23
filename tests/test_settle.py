"""When a study is complete."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gsco_pacs.steps.settle import settle

START = datetime(2026, 1, 1, tzinfo=UTC)


def seconds(number: float) -> datetime:
    return START + timedelta(seconds=number)


def test_a_study_is_closed_when_nothing_came_for_the_quiet_time() -> None:
    decision = settle(START, seconds(10), seconds(70), quiet_seconds=60, deadline_seconds=3600)
    assert (decision.closed, decision.reason) == (True, "No new image for 60 s.")


def test_a_study_stays_open_while_images_come() -> None:
    decision = settle(START, seconds(10), seconds(69), quiet_seconds=60, deadline_seconds=3600)
    assert (decision.closed, decision.reason) == (False, "Quiet for 59 of 60 s.")


def test_a_study_that_never_gets_quiet_goes_on_at_the_deadline_and_says_so() -> None:
    decision = settle(START, seconds(3599), seconds(3600), quiet_seconds=60, deadline_seconds=3600)
    assert decision.closed
    assert "Still arriving" in decision.reason


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e4), st.floats(1, 1e5))
def test_waiting_longer_never_opens_a_closed_study(
    wait: float, more: float, quiet: float, deadline: float
) -> None:
    earlier = settle(START, START, seconds(wait), quiet_seconds=quiet, deadline_seconds=deadline)
    later = settle(START, START, seconds(wait + more), quiet_seconds=quiet, deadline_seconds=deadline)
    assert later.closed or not earlier.closed
