"""When a failure that may pass is tried again."""

from collections.abc import Callable


def next_attempt(
    attempt: int,
    elapsed: float,
    *,
    first_seconds: float,
    longest_seconds: float,
    give_up_seconds: float,
    chance: Callable[[], float],
) -> float | None:
    """Seconds until the attempt after number ``attempt`` (1 = the first), or None to give up.

    ``elapsed`` is the time in seconds since the stage began and ``chance`` a source of numbers in 0..1, such as
    ``random.random``. The wait is drawn from 0 to a ceiling that doubles with each attempt (exponential back-off
    with full jitter), so that many jobs that failed together do not come back together. The last attempt falls on
    ``give_up_seconds`` at the latest.
    """
    left = give_up_seconds - elapsed
    if left <= 0:
        return None
    doublings = min(attempt - 1, 64)
    ceiling = min(longest_seconds, first_seconds * 2.0**doublings)
    return min(chance() * ceiling, left)
