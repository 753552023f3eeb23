"""When a failure that may pass is tried again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from gsco_pacs.domain.retry import next_attempt
from gsco_pacs.settings.processes import Retry

ATTEMPTS = st.integers(min_value=1, max_value=10**9)
SECONDS = st.floats(min_value=0.001, max_value=1e7)
CHANCES = st.floats(min_value=0, max_value=1)


def wait(
    attempt: int,
    elapsed: float = 0,
    chance: float = 1,
    first: float = 30,
    longest: float = 3600,
    give_up: float = 7 * 24 * 3600,
) -> float | None:
    return next_attempt(
        attempt,
        elapsed,
        first_seconds=first,
        longest_seconds=longest,
        give_up_seconds=give_up,
        chance=lambda: chance,
    )


def test_the_longest_wait_doubles_from_half_a_minute_to_an_hour() -> None:
    assert [wait(attempt) for attempt in range(1, 10)] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_the_defaults_of_the_configuration_are_these_numbers() -> None:
    defaults = Retry()
    assert (defaults.first_seconds, defaults.longest_seconds, defaults.give_up_seconds) == (30, 3600, 604800)


@given(attempt=ATTEMPTS, elapsed=SECONDS, chance=CHANCES, first=SECONDS, longest=SECONDS, give_up=SECONDS)
def test_a_wait_is_never_negative_nor_longer_than_allowed_nor_past_the_end(
    attempt: int, elapsed: float, chance: float, first: float, longest: float, give_up: float
) -> None:
    delay = wait(attempt, elapsed, chance, first, longest, give_up)
    if elapsed >= give_up:
        assert delay is None
    else:
        assert delay is not None
        assert 0 <= delay <= min(longest, give_up - elapsed)


@given(attempt=ATTEMPTS, chance=CHANCES)
def test_a_later_attempt_waits_as_long_as_an_earlier_one_or_longer(attempt: int, chance: float) -> None:
    earlier, later = wait(attempt, chance=chance), wait(attempt + 1, chance=chance)
    assert earlier is not None
    assert later is not None
    assert later >= earlier


def test_jobs_that_failed_together_come_back_spread_over_the_whole_wait() -> None:
    source = random.Random(1)
    waits = [
        next_attempt(4, 0, first_seconds=30, longest_seconds=3600, give_up_seconds=1e6, chance=source.random)
        for _ in range(1000)
    ]
    quarters = [
        sum(low <= delay < low + 60 for delay in waits if delay is not None) for low in (0, 60, 120, 180)
    ]
    assert min(quarters) > 200


def test_a_week_of_failures_ends_after_a_bounded_number_of_attempts() -> None:
    source = random.Random(2)
    elapsed, attempt = 0.0, 1
    while (
        delay := next_attempt(
            attempt,
            elapsed,
            first_seconds=30,
            longest_seconds=3600,
            give_up_seconds=604800,
            chance=source.random,
        )
    ) is not None:
        elapsed, attempt = elapsed + delay, attempt + 1
    assert elapsed == 604800
    assert 200 < attempt < 600
