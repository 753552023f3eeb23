"""A campaign of hostile inputs against a running node, and the table of what came of it."""

import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gsco_pacs.testing.fuzz_target import PATIENCE_SECONDS, Inspection, Target, Vitals
from gsco_pacs.testing.hostile_attacks import BLOCK, Attacks, family_of
from gsco_pacs.testing.hostile_data_sets import odd_files
from gsco_pacs.testing.hostile_peer import HostilePeer, Outcome

_PEERS = 8
_ENDS = ("stored", "refused", "answered", "rejected", "released", "aborted", "hung up")


@dataclass(frozen=True)
class Fault:
    """What must not happen, and at which number or in which batch of numbers it did."""

    numbers: str
    what: str


@dataclass(frozen=True)
class Campaign:
    """How every attack ended, every fault, and what the receiver used before and after."""

    outcomes: tuple[Outcome, ...]
    faults: tuple[Fault, ...]
    before: Vitals
    after: Vitals
    seconds: float


def fuzz(
    folder: Path,
    numbers: range,
    *,
    seed: int = 1,
    odd: Sequence[Path] = (),
    batch: int = 1000,
    progress: Callable[[str], None] = lambda _: None,
) -> Campaign:
    """Play the attacks of ``numbers`` and look after each ``batch`` of them whether everything still holds.

    ``folder`` is where the attacked node lives. ``odd`` are folders of files to start from, beside phantoms and
    pydicom's own test files; the same seed, folders and number make the same attack.
    """
    target, attacks, began = Target(folder), Attacks(seed, [odd_files(), *odd]), time.monotonic()
    outcomes: list[Outcome] = []
    faults: list[Fault] = []
    with target.running():
        inspection = Inspection(target)
        before = after = target.vitals()
        for start in range(0, len(numbers), batch):
            some = numbers[start : start + batch]
            played = _play(target.port, attacks, some)
            outcomes += played
            found = [Fault(str(outcome.attack.number), outcome.fault) for outcome in played if outcome.fault]
            found += [Fault(f"{some[0]}-{some[-1]}", what) for what in inspection.faults(played)]
            faults += found
            if target.dead():
                break
            after = target.vitals()
            progress(
                f"{len(outcomes)} of {len(numbers)} in {time.monotonic() - began:.0f} s, {_used(after)}, faults: {len(faults)}"
            )
            for fault in found:
                progress(f"{fault.numbers}: {fault.what}")
    return Campaign(tuple(outcomes), tuple(faults), before, after, time.monotonic() - began)


def _play(port: int, attacks: Attacks, numbers: range) -> list[Outcome]:
    def play_in_turn(some: Sequence[int]) -> list[Outcome]:
        peer = HostilePeer(port, PATIENCE_SECONDS)
        try:
            return [peer.play(attacks[number]) for number in some]
        finally:
            peer.close()

    # A block of data sets shares an association; the others wait for the node most of the time.
    blocks = [numbers[start : start + BLOCK] for start in range(0, len(numbers), BLOCK)]
    turns = [some for b in blocks for some in ([b] if family_of(b[0]) == "data set" else [[n] for n in b])]
    with ThreadPoolExecutor(_PEERS) as pool:
        return [outcome for played in pool.map(play_in_turn, turns) for outcome in played]


def fuzz_table(campaign: Campaign) -> str:
    """Markdown: how the attacks of each family ended, with date, machine, n, time, and every fault."""
    families = sorted({outcome.attack.family for outcome in campaign.outcomes})
    head = (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"n = {len(campaign.outcomes)} inputs in {campaign.seconds:.0f} s"
    )
    lines = [
        head,
        "",
        "| family | n | " + " | ".join(_ENDS) + " | slowest, s |",
        "| --- " * (len(_ENDS) + 3) + "|",
    ]
    lines += [
        _row(family, [o for o in campaign.outcomes if o.attack.family == family]) for family in families
    ]
    acknowledged = sum(len(outcome.acknowledged) for outcome in campaign.outcomes)
    lines += ["", f"Receiver at the start: {_used(campaign.before)}; at the end: {_used(campaign.after)}."]
    lines += [f"Acknowledged with 0x0000 and checked against file, hash and row: {acknowledged}.", ""]
    lines += [f"Fault at {fault.numbers}: {fault.what}" for fault in campaign.faults] or ["Faults: none."]
    return "\n".join(lines)


def _row(family: str, outcomes: Sequence[Outcome]) -> str:
    ends = Counter(outcome.ended for outcome in outcomes)
    counts = " | ".join(str(ends[end]) for end in _ENDS)
    return f"| {family} | {len(outcomes)} | {counts} | {max(o.seconds for o in outcomes):.1f} |"


def _used(vitals: Vitals) -> str:
    return f"{vitals.resident_bytes >> 20} MiB, {vitals.threads} threads, {vitals.descriptors} descriptors"
