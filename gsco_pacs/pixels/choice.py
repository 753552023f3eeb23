"""Which pictures of a series are read, as a specialist's metadata says, and in which words a report tells it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gsco_pacs.ports import Reading


@dataclass(frozen=True)
class Choice:
    """Numbers of the candidates that are read, in ascending order, and how they were chosen."""

    numbers: tuple[int, ...]
    how: str
    """Such as "evenly spread"."""


@dataclass(frozen=True)
class Candidate:
    """A picture that fits: its image, its frame (1 = first) and its series."""

    sop_instance_uid: str
    frame: int
    series: str


def choose(
    candidates: Sequence[Candidate], reading: Reading, most: int, keys: Mapping[str, tuple[int, ...]]
) -> Choice:
    """What ``reading`` takes of the ``candidates``, which stand in the order of the study."""
    count = len(candidates)
    if reading.images == "all":
        return Choice(tuple(range(count)), "all that fit")
    if reading.images == "every":
        return Choice(every(candidates, reading.every), f"every {_ordinal(reading.every)} of a series")
    if reading.images == "spread":
        return Choice(spread(count, most), "evenly spread")
    named = [number for number, candidate in enumerate(candidates) if _is_key(candidate, keys)]
    if named:
        kept = tuple(named[place] for place in spread(len(named), most))
        return Choice(kept, "named by a Key Object Selection")
    first = max(0, (count - most) // 2)
    return Choice(
        tuple(range(first, min(count, first + most))), "the middle ones, since none is named as key image"
    )


def spread(count: int, most: int) -> tuple[int, ...]:
    """At most ``most`` numbers out of range(count) in ascending order, each the middle of an equal share."""
    if count <= most:
        return tuple(range(count))
    return tuple((2 * share + 1) * count // (2 * most) for share in range(most))


def every(candidates: Sequence[Candidate], step: int) -> tuple[int, ...]:
    """The middle one of each run of ``step`` pictures of a series; also of the last, shorter run."""
    runs: dict[tuple[str, int], list[int]] = {}
    seen: dict[str, int] = {}
    for number, candidate in enumerate(candidates):
        place = seen.get(candidate.series, 0)
        seen[candidate.series] = place + 1
        runs.setdefault((candidate.series, place // step), []).append(number)
    return tuple(sorted(run[len(run) // 2] for run in runs.values()))


def _is_key(candidate: Candidate, keys: Mapping[str, tuple[int, ...]]) -> bool:
    frames = keys.get(candidate.sop_instance_uid)
    return frames is not None and (not frames or candidate.frame in frames)


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, "th")
    return f"{number}{ending}"
