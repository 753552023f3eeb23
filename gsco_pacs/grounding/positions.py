"""What the specialists together hold on each finding: the measure of every sentence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from gsco_pacs.domain.findings import Finding, Opinion, Presence
from gsco_pacs.grounding.concepts import Section, section_of

DENIED_BELOW = 0.05
"""Only what is less probable than this is denied by name: a missed threshold alone does not rule a finding out."""


@dataclass(frozen=True)
class Position:
    """All opinions on one finding."""

    finding: Finding
    opinions: tuple[Opinion, ...]

    @property
    def presence(self) -> Presence:
        """Present if one holds it so and none is against; absent if all hold it so; else uncertain.

        Where exactly one finding applies, the specialists' mean decides, so that at most one is present; but what one
        of them holds present is not absent.
        """
        if self.finding.exclusive:
            return self._mean_presence
        held = {opinion.presence for opinion in self.opinions}
        if held == {Presence.ABSENT}:
            return Presence.ABSENT
        return (
            Presence.PRESENT
            if Presence.PRESENT in held and Presence.ABSENT not in held
            else Presence.UNCERTAIN
        )

    @property
    def deniable(self) -> bool:
        """Whether a report may say that it is not there: all hold it absent, and to none it is probable enough to matter."""
        return self.presence is Presence.ABSENT and self.probability < DENIED_BELOW

    @property
    def disputed(self) -> bool:
        """Whether one specialist holds it present and another absent."""
        return {Presence.PRESENT, Presence.ABSENT} <= {opinion.presence for opinion in self.opinions}

    @property
    def probability(self) -> float:
        """The highest estimate."""
        return max(opinion.probability for opinion in self.opinions)

    @property
    def mean(self) -> float:
        """The mean of the estimates."""
        return fmean(opinion.probability for opinion in self.opinions)

    @property
    def section(self) -> Section:
        """Where it stands in a report."""
        return section_of(self.finding.label, self.finding.text)

    @property
    def basis(self) -> tuple[str, ...]:
        """Each opinion with the threshold that it passed, such as "cxr_findings 0.83 (present from 0.41)"."""
        return tuple(f"{o.specialist} {o.probability:.2f} ({_threshold(o)})" for o in self.opinions)

    @property
    def holders(self) -> str:
        """Who holds it and how strongly, such as "cxr_findings (0.83)"."""
        return " and ".join(f"{o.specialist} ({o.probability:.2f})" for o in self.opinions)

    @property
    def _mean_presence(self) -> Presence:
        if self.mean >= fmean(opinion.present_from for opinion in self.opinions):
            return Presence.PRESENT
        absent = self.mean < fmean(opinion.absent_below for opinion in self.opinions)
        held = any(opinion.presence is Presence.PRESENT for opinion in self.opinions)
        return Presence.ABSENT if absent and not held else Presence.UNCERTAIN


Positions = Mapping[str, Position]
"""Label -> position."""


def positions_of(opinions: Iterable[Opinion]) -> Positions:
    """The positions on all findings, in the order in which a radiologist reports; likelier ones first."""
    by_label: dict[str, list[Opinion]] = {}
    for opinion in opinions:
        by_label.setdefault(opinion.finding.label, []).append(opinion)
    positions = [Position(held[0].finding, tuple(held)) for held in by_label.values()]
    positions.sort(key=lambda p: (p.section, -p.probability, p.finding.label))
    return {position.finding.label: position for position in positions}


def diagnoses(opinions: Iterable[Opinion]) -> Mapping[str, tuple[Opinion, ...]]:
    """Member -> what it holds by itself, without a vote: the likeliest class, or all findings from their thresholds on."""
    said: dict[str, list[Opinion]] = {}
    for opinion in opinions:
        said.setdefault(opinion.specialist, []).append(opinion)
    return {member: _held(own) for member, own in said.items()}


def classes(positions: Positions) -> tuple[tuple[Position, ...], ...]:
    """The positions of which exactly one applies, the likeliest first: one group for all members of a bundle."""
    groups: dict[frozenset[str], list[Position]] = {}
    for position in positions.values():
        if position.finding.exclusive:
            specialists = frozenset(opinion.specialist for opinion in position.opinions)
            groups.setdefault(specialists, []).append(position)
    return tuple(tuple(sorted(group, key=lambda p: (-p.mean, p.finding.label))) for group in groups.values())


def side_by_side(positions: Positions) -> Positions:
    """The positions on findings that may stand side by side, each for itself."""
    return {label: position for label, position in positions.items() if not position.finding.exclusive}


def assessed(positions: Positions, presence: Presence | None = None) -> tuple[Position, ...]:
    """The positions on what can be found (never the label for "nothing found"), all or those of one presence."""
    return tuple(
        position
        for position in positions.values()
        if not position.finding.normal and presence in (None, position.presence)
    )


def _held(own: Sequence[Opinion]) -> tuple[Opinion, ...]:
    if all(opinion.finding.exclusive for opinion in own):
        return (max(own, key=lambda opinion: opinion.probability),)
    return tuple(opinion for opinion in own if opinion.presence is Presence.PRESENT)


def _threshold(opinion: Opinion) -> str:
    if opinion.presence is Presence.PRESENT:
        return f"present from {opinion.present_from:.2f}"
    if opinion.presence is Presence.ABSENT:
        return f"absent below {opinion.absent_below:.2f}"
    return f"absent below {opinion.absent_below:.2f}, present from {opinion.present_from:.2f}"
