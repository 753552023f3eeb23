"""Reads a sentence of a report: which findings it names and whether it states, doubts or denies them.

Rules in the manner of NegEx (Chapman et al. 2001): cues before or after a group of names decide for the whole
group, within a clause. What the rules cannot read for certain is marked so, and the gate refuses it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gsco_pacs.domain.findings import Presence
from gsco_pacs.grounding.lexicon import Lexicon, Name

_SEEN = r"(?:seen|identified|visible|visuali[sz]ed|present|evident|detected|demonstrated|noted|shown|found|apparent)"
_BE = r"(?:is|are|was|were|has been|have been)"
_CANNOT = r"(?:cannot|can not|can't|could not|couldn't|not)"
_EXCLUDE = r"(?:exclude|rule out)"

_FORWARD = {
    "doubt": rf"{_CANNOT}(?: \w+)? {_EXCLUDE}|{_EXCLUDE}|possibl[ey]|probabl[ey]|likely|suspect(?:ed|s)?"
    r"|suspicious for|suspicion (?:of|for)|questionabl[ey]|question(?: of)?|equivocal|suggest(?:s|ing|ive|ed)?(?: of)?"
    r"|concern(?:ing)? for|worrisome for|(?:may|might|could)(?: (?:represent|reflect|indicate|be|have))?"
    r"|versus|vs|differential",
    "hedged": r"no (?:definite|convincing|obvious|large|significant|clear|new)|not (?:definitely|clearly)",
    "deny": r"no|not|without|free of|clear of|negative for|(?:absence|lack|resolution) of|neither|nor|den(?:y|ies)"
    r"|never|rather than|instead of|no longer|doesn't|don't|isn't|aren't",
}
_BACKWARD = {
    "doubt": rf"(?:{_CANNOT} be|{_BE} not|not) (?:\w+ )?(?:excluded|ruled out)"
    rf"|{_BE} (?:possible|likely|probable|suspected|questionable|equivocal)|(?:may|might|could) be {_SEEN}",
    "hedged": rf"{_BE} not absent|(?:{_BE} )?(?:unlikely|not (?:clearly|definitely) {_SEEN})",
    "deny": rf"(?:(?:{_BE}|can|could) ?not(?: be)?|isn't|aren't|not|no longer)(?: \w+)? {_SEEN}|{_BE} (?:absent|excluded|ruled out)"
    r"|(?:has |have )?(?:been )?(?:completely )?resolved|(?:has|have) (?:cleared|disappeared)",
}
_CLAUSE = re.compile(
    r"\b(?:but|however|although|though|whereas|while|except|apart from|aside from|despite|other than)\b"
    r"|[;:]|,?\s*\band\s+there\s+(?:is|are)\b|,\s*there\s+(?:is|are)\b",
    re.IGNORECASE,
)
_BREAKS_A_LIST = (
    r"no|not|without|with|is|are|was|were|has|have|there|possibl[ey]|probabl[ey]|likely|suspect\w*|questionable|may|might"
    r"|can|cannot|could|suggest\w*|free|negative|absence|lack|rather|instead|resol\w*|exclude|rule"
)
_LINK = re.compile(
    rf"\s*(?:(,)|(,)?\s*\b(and/or|and|or|nor)\b)\s*(?:(?!(?:{_BREAKS_A_LIST})\b)[\w-]+\s+){{0,3}}",
    re.IGNORECASE,
)
"""What stands between two names of one list: a comma or a conjunction, and adjectives of the second name."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_HEADING = re.compile(
    r"^\s*(?:[-*•]+\s*|\d+[.)]\s+)?(?:(?:findings?|impression|report)\s*:\s*)?", re.IGNORECASE
)


def _cues(kinds: dict[str, str]) -> re.Pattern[str]:
    return re.compile(
        "|".join(rf"(?P<{kind}>(?<!\w)(?:{cue})(?!\w))" for kind, cue in kinds.items()), re.IGNORECASE
    )


_CUES_BEFORE, _CUES_AFTER = _cues(_FORWARD), _cues(_BACKWARD)


@dataclass(frozen=True)
class Mention:
    """A finding that a sentence names and what the sentence says about it."""

    label: str
    presence: Presence
    known: bool
    """Whether the finding belongs to the vocabulary."""
    certain: bool
    """False if the rules may have read the sentence wrongly."""
    span: tuple[int, int]


@dataclass(frozen=True)
class _Group:
    """Names that one list joins ("effusion, mass or nodule")."""

    names: tuple[Name, ...]
    links: frozenset[str]
    start: int
    end: int


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of an answer, without headings and bullets; a line break ends one, too."""
    lines = (_HEADING.sub("", line, count=1) for line in text.splitlines())
    return tuple(part.strip() for line in lines for part in _SENTENCE.split(line) if part.strip())


def mentions(sentence: str, lexicon: Lexicon) -> tuple[Mention, ...]:
    """Every finding that ``sentence`` names, in its order."""
    return tuple(mention for clause in _clauses(sentence) for mention in _read(sentence, clause, lexicon))


def _clauses(sentence: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _CLAUSE.finditer(sentence):
        yield start, match.start()
        start = match.start() + 1 if match[0] in ";:" else match.start() + len(match[0])
    yield start, len(sentence)


def _read(sentence: str, clause: tuple[int, int], lexicon: Lexicon) -> Iterator[Mention]:
    names = [name for name in lexicon.names(sentence) if clause[0] <= name.start < clause[1]]
    groups = _grouped(sentence, names)
    edges = [clause[0], *(group.end for group in groups)]
    carried = False
    for start, group, follower in zip(edges, groups, [*groups[1:], None], strict=False):
        lead, tail = (
            sentence[start : group.start],
            sentence[group.end : follower.start if follower else clause[1]],
        )
        before = _kinds(_CUES_BEFORE, lead if start == clause[0] else _CUES_AFTER.sub(" ", lead))
        presence, certain = _judged(before, _kinds(_CUES_AFTER, tail), group.links)
        certain = certain and not (carried and not before)
        carried = bool(before)
        for name in group.names:
            yield _mention(name, presence, certain=certain)


def _mention(name: Name, presence: Presence, *, certain: bool) -> Mention:
    if name.denied:
        certain = certain and presence is Presence.PRESENT
        presence = Presence.ABSENT
    return Mention(name.label, presence, name.known, certain, (name.start, name.end))


def _grouped(sentence: str, names: list[Name]) -> list[_Group]:
    groups: list[_Group] = []
    for name in names:
        link = _LINK.fullmatch(sentence[groups[-1].end : name.start]) if groups else None
        if link:
            last = groups.pop()
            words = {part.lower() for part in link.groups() if part}
            groups.append(_Group((*last.names, name), last.links | words, last.start, name.end))
        else:
            groups.append(_Group((name,), frozenset(), name.start, name.end))
    return groups


def _kinds(cues: re.Pattern[str], text: str) -> list[str]:
    return [match.lastgroup or "" for match in cues.finditer(text)]


def _judged(before: list[str], after: list[str], links: frozenset[str]) -> tuple[Presence, bool]:
    """What a group's cues say, and whether that is certain."""
    cues = before + after
    if not cues:
        return (Presence.UNCERTAIN if links & {"or", "and/or"} else Presence.PRESENT), True
    if set(cues) == {"doubt"}:
        return Presence.UNCERTAIN, not (before and "and" in links)
    plain_list = not after or not before
    if cues == ["deny"]:
        joined = bool(links & {"or", "nor"}) or not links
        return Presence.ABSENT, plain_list and (bool(after) or (joined and "and" not in links))
    return (Presence.UNCERTAIN if "doubt" in cues else Presence.ABSENT), False
