"""Which sentences have a form that the gate can vouch for, and what no draft may hold whatever it says."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum

from gsco_pacs.grounding.labeller import Mention

_REPEATED_WORDS = 6
_REPEATED_TIMES = 3


class Fault(StrEnum):
    """What is wrong with a sentence before anybody asks whether it is true."""

    DATE = "states a date or a time"
    NUMBER = "states a number that no source gave"
    COMPARISON = "compares with another examination that nobody has seen"
    RECOMMENDATION = "recommends something"
    PERSON = "names or describes a person"
    ATTRIBUTE = "states a side, size, degree or place that no source gave"
    PLAIN = "is not a plain sentence that the gate can vouch for"


_FORBIDDEN = {
    Fault.DATE: r"\b(?:19|20)\d\d\b|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d:\d\d|\b(?:january|february|march|april|june|july|august"
    r"|september|october|november|december|today|yesterday|days?|weeks?|months?|years?|hours?)\b",
    Fault.NUMBER: r"\d|%|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twice|several|multiple|many|few|single|both)\b",
    Fault.COMPARISON: r"\b(?:compar\w*|prior|previous\w*|unchanged|stable|interval\w*|again|increas\w*|decreas\w*|improv\w*|worse\w*"
    r"|progress\w*|resol\w*|new|newly|old|persist\w*|earlier|since|no longer|still|remains?|similar|healed|cleared)\b",
    Fault.RECOMMENDATION: r"\b(?:recommend\w*|advis\w*|suggest(?:s|ed)? (?:follow|ct|mr)|follow[- ]?up|should|consult\w*|refer\w*|biopsy"
    r"|further|consider\w*|repeat|needs?|treat\w*|therapy|antibiotics?|surgery|urgent\w*|correlat\w*|please|must)\b",
    Fault.PERSON: r"\b(?:patient\w*|mr\.?|mrs\.?|ms\.?|dr\.?|doctor|physician|man|woman|male|female|boy|girl|child|he|she|his|her|they|i|we|you"
    r"|history|named?|signed)\b",
    Fault.ATTRIBUTE: r"\b(?:left|right|bilateral\w*|unilateral\w*|upper|lower|middle|mid|apical|apex|bas(?:al|ilar|es?)|lobes?|lobar|lingula\w*"
    r"|peri\w+|hilar|central|lateral|medial|anterior|posterior|retrocardiac|small|large|tiny|huge|big|mild\w*|moderate\w*|severe\w*"
    r"|minimal\w*|massive|marked\w*|extensive|diffuse\w*|focal|patchy|multifocal|scattered|dense|subtle|slight\w*|trace|gross\w*"
    r"|acute\w*|chronic\w*|calcified|cm|mm|ml|grade|stage|size[ds]?|tension|loculated|spiculated|well[- ]defined|malignant|benign)\b",
}  # fmt: skip
_PATTERNS = {fault: re.compile(pattern, re.IGNORECASE) for fault, pattern in _FORBIDDEN.items()}

_NAME = "\u25c6"
"""Stands where a finding was named."""
_F = rf"(?:(?:a|an|the) )?{_NAME}"
_SEEN = r"(?:seen|identified|visible|present|evident|detected|demonstrated|noted)"
_BE = r"(?:is|are)"
_THERE = r"(?:there (?:is|are) )?"
_OR = rf"{_F}(?:(?:, {_F})*,? or {_F})?"
_AND = rf"{_F}(?:(?:, {_F})*,? and {_F})?"
_WHERE = r"(?: (?:on|in) (?:this|the) (?:image|radiograph|examination|picture))?"
_PLAIN = re.compile(
    "|".join(
        (
            rf"{_THERE}(?:evidence of |signs of )?{_AND}(?: {_BE} {_SEEN})?{_WHERE}",
            rf"{_THERE}no (?:evidence of |sign of |signs of )?{_OR}(?: {_BE})?(?: {_SEEN})?{_WHERE}",
            rf"{_THERE}no {_NAME}(?:,? and no {_NAME})+{_WHERE}",
            rf"(?:{_AND}|{_OR}) {_BE} (?:not {_SEEN}|absent){_WHERE}",
            rf"{_THERE}(?:possible|probable|suspected) {_OR}{_WHERE}",
            rf"(?:{_AND}|{_OR}) {_BE} (?:possible|probable|suspected|likely){_WHERE}",
            rf"(?:{_AND}|{_OR}) cannot be (?:excluded|ruled out){_WHERE}",
        )
    ),
    re.IGNORECASE,
)


def faults(sentence: str, named: Sequence[Mention]) -> Iterator[Fault]:
    """What is wrong with the form of ``sentence``, whose findings are ``named``; the names themselves may hold any word."""
    bare = _bare(sentence, named)
    found = [fault for fault, pattern in _PATTERNS.items() if pattern.search(bare)]
    yield from found
    if not found and not (_PLAIN.fullmatch(bare) and bare.count(_NAME) == len(named)):
        yield Fault.PLAIN


def repeats(text: str) -> bool:
    """Whether the same six words stand in ``text`` three times, or a shorter sentence does: a loop, not a report."""
    words = re.findall(r"\w+", text.lower())
    runs = Counter(tuple(words[i : i + _REPEATED_WORDS]) for i in range(len(words) - _REPEATED_WORDS + 1))
    lines = Counter(line.strip().lower() for line in re.split(r"[.\n]+", text) if line.strip())
    return any(count >= _REPEATED_TIMES for counter in (runs, lines) for count in counter.values())


def _bare(sentence: str, named: Sequence[Mention]) -> str:
    parts, at = [], 0
    for mention in named:
        parts.append(sentence[at : mention.span[0]])
        at = mention.span[1]
    return re.sub(r"\s+", " ", _NAME.join((*parts, sentence[at:]))).strip().removesuffix(".").strip()
