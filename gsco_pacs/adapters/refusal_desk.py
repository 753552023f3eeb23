"""Passes refusals on so that no peer can flood the log or the ledger with them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.domain.study import Peer

_MINUTE = 60.0
_ADDRESSES = 1000
"""So many addresses are told apart within a minute."""


@dataclass
class _Repeated:
    refusal: Refusal
    since: float
    untold: int = 0


class RefusalDesk:
    """Tells the first of equal refusals at once and the others of its minute as one with a count.

    An address with more than ``per_minute`` different refusals gets one line for the rest. ``record`` is called in the
    thread of tell() or of flush().
    """

    def __init__(
        self,
        record: Callable[[Refusal], None],
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, dict[Refusal, _Repeated]] = {}
        """By address."""

    def tell(self, refusal: Refusal, *, at_once: bool = True) -> None:
        """Record ``refusal``, or count it if it was recorded within the last minute; ``at_once`` false leaves it to flush()."""
        with self._lock:
            known = self._of_address(refusal.peer.address)
            if refusal not in known and len(known) >= self._per_minute:
                reason = "more refusals than receiver.limits.refusals_per_minute; the rest is counted here."
                refusal = Refusal(Peer("", "", refusal.peer.address), "connection", reason)
            is_first = refusal not in known
            repeated = known.setdefault(refusal, _Repeated(refusal, self._clock()))
            repeated.refusal = refusal  # its time is the newest
            repeated.untold += not (is_first and at_once)
        if is_first and at_once:
            self._record(refusal)

    def flush(self, *, everything: bool = False) -> None:
        """Record what was counted in minutes that are over, or ``everything``; to be called every second or so."""
        now = self._clock()
        with self._lock:
            ended = [
                (known, repeated)
                for known in self._known.values()
                for repeated in known.values()
                if everything or now - repeated.since >= _MINUTE
            ]
            for known, repeated in ended:
                del known[repeated.refusal]
            self._known = {address: known for address, known in self._known.items() if known}
        for _, repeated in ended:
            if repeated.untold:
                self._record(replace(repeated.refusal, times=repeated.untold))

    def _of_address(self, address: str) -> dict[Refusal, _Repeated]:
        if address not in self._known and len(self._known) >= _ADDRESSES:
            address = "many addresses"
        return self._known.setdefault(address, {})
