"""Decides whether a study is complete: by quiet time, never by the end of an association (PS3.4 B.4)."""

from datetime import datetime

from gsco_pacs.domain.study import Decision


def settle(
    first_received_at: datetime,
    last_received_at: datetime,
    at: datetime,
    *,
    quiet_seconds: float,
    deadline_seconds: float,
) -> Decision:
    """Closed when nothing came for ``quiet_seconds``, or ``deadline_seconds`` after the first image; with the reason."""
    quiet = (at - last_received_at).total_seconds()
    age = (at - first_received_at).total_seconds()
    if quiet >= quiet_seconds:
        return Decision(closed=True, reason=f"No new image for {quiet_seconds:g} s.", decided_at=at)
    if age >= deadline_seconds:
        reason = f"Still arriving {deadline_seconds:g} s after the first image: it goes on with what is here."
        return Decision(closed=True, reason=reason, decided_at=at)
    return Decision(closed=False, reason=f"Quiet for {quiet:.0f} of {quiet_seconds:g} s.", decided_at=at)
