"""brief: writes what the generalist is told, from a closed vocabulary and numbers only."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from statistics import fmean
from string import Template

from gsco_pacs.domain.findings import Briefing, Consultation, Finding, Mode, Opinion, Presence, percent
from gsco_pacs.grounding.positions import Position, Positions, assessed, classes, diagnoses, positions_of

VERSIONS = {
    name: f"{name}-v1"
    for name in (
        "gsco",
        "gsco-single",
        "options",
        "options-single",
        "briefed",
        "question-briefed",
        "question",
    )
}
"""Template as it is called in config.yaml -> its file. A changed text is a new file with a new number."""

_OPINIONS = frozenset({"moed", "ranking", "absent", "uncertain", "present"})
_CASES = frozenset({"rad", "tally", "similar"})
_NO_FINDING = "no finding"
_NONE = "none"


def brief(
    consultation: Consultation,
    findings: tuple[Finding, ...],
    mode: Mode,
    template: str,
    question: str = "",
) -> Briefing:
    """The prompt for ``mode`` made from ``template``; empty in the mode ``specialists``, in which nobody is asked.

    Nothing of a DICOM header enters: only labels, words and numbers of the bundles, and a person's ``question``.
    ``gsco`` is the prompt of GSCo (He et al. 2026) with bare labels, for one or more options; ``options`` asks the same
    with every member's probability, likeliest option last; ``-single`` is their form for exactly one, taken by itself
    where labels exclude each other; ``briefed`` asks for a report from calibrated probabilities, ``question`` for a
    reply from them, ``question-briefed`` for one under the lines of ``options``. A line of a template whose list the mode does not show is left out.
    """
    exclusive = bool(findings) and all(finding.exclusive for finding in findings)
    if (
        template in ("gsco", "options")
        and exclusive
        and len(classes(positions_of(consultation.opinions))) == 1
    ):
        template = f"{template}-single"
    name = VERSIONS[template]
    content = files("gsco_pacs").joinpath("prompts", f"{name}.txt").read_bytes()
    values = {**_values(consultation, findings), "question": question}
    lines = [
        Template(line).substitute(values) for line in content.decode().splitlines() if _shown(line, mode)
    ]
    # The published prompt is a triple-quoted string whose line breaks become spaces, also the first and the last.
    prompt = f" {' '.join(lines)} " if template.startswith("gsco") else "\n".join(lines)
    return Briefing(
        mode=mode,
        prompt="" if mode is Mode.SPECIALISTS else prompt,
        template=name,
        template_sha256=hashlib.sha256(content).hexdigest(),
        options=tuple(dict.fromkeys(finding.label for finding in findings)),
        normal=next((finding.label for finding in findings if finding.normal), ""),
    )


def _shown(line: str, mode: Mode) -> bool:
    used = set(re.findall(r"\$(\w+)", line))
    return (mode.opinions_shown or not used & _OPINIONS) and (mode.cases_shown or not used & _CASES)


def _values(consultation: Consultation, findings: tuple[Finding, ...]) -> Mapping[str, str]:
    positions = positions_of(consultation.opinions)
    normal = next((finding.label for finding in findings if finding.normal), _NO_FINDING)
    known = {finding.label: finding for finding in findings}
    recalled = [[label for label in case.labels if label in known] or [normal] for case in consultation.cases]
    held = diagnoses(consultation.opinions).values()
    diagnosed = [[opinion.finding.label for opinion in own] or [normal] for own in held]
    return {
        "examines": consultation.region or "medical",
        "normal": normal,
        "quoted_options": ", ".join(f"'{label}'" for label in known),
        "words": ", ".join(dict.fromkeys(finding.text for finding in findings if not finding.normal)),
        "rad": ",".join(label for labels in recalled for label in labels) or _NONE,
        "moed": ",".join(label for labels in diagnosed for label in labels) or _NONE,
        "similar": _counted(recalled, known),
        "plain_options": ", ".join(known),
        "recalled": str(len(recalled)),
        "tally": _tally(recalled) or _NONE,
        "ranking": _ranking(consultation.opinions),
        **{presence.value: _estimates(positions, presence) for presence in Presence},
    }


def _counted(recalled: Iterable[list[str]], known: Mapping[str, Finding]) -> str:
    cases = list(recalled)
    counts = _counts(cases).most_common()
    return ", ".join(f"{_words(label, known)} {n} of {len(cases)}" for label, n in counts) or _NONE


def _counts(recalled: Iterable[list[str]]) -> Counter[str]:
    return Counter(label for labels in recalled for label in dict.fromkeys(labels))


def _tally(recalled: Iterable[list[str]]) -> str:
    """How many cases show each label, such as '1 "Nodule", 2 "Mass"'; the most frequent last."""
    return ", ".join(f'{n} "{label}"' for label, n in reversed(_counts(recalled).most_common()))


def _ranking(opinions: Iterable[Opinion]) -> str:
    """A line for each option with every member's percent in two digits, such as '62 07 "Mass"'; the likeliest last.

    A causal model reads from left to right: at a name it has seen what holds of it, and what matters most stands right
    before the answer. In quotes a name has the same tokens as at the beginning of an answer.
    """
    held: dict[str, list[float]] = {}
    for opinion in opinions:
        held.setdefault(opinion.finding.label, []).append(opinion.probability)
    ranked = sorted(held.items(), key=lambda item: fmean(item[1]))
    return "".join(f'\n{_two_digits(said)} "{label}"' for label, said in ranked) or f" {_NONE}"


def _two_digits(probabilities: Sequence[float]) -> str:
    return " ".join(f"{min(99, max(1, round(100 * p))):02d}" for p in probabilities)


def _words(label: str, known: Mapping[str, Finding]) -> str:
    return _NO_FINDING if label not in known or known[label].normal else known[label].text


def _estimates(positions: Positions, presence: Presence) -> str:
    return ", ".join(_estimate(position) for position in assessed(positions, presence)) or _NONE


def _estimate(position: Position) -> str:
    return f"{position.finding.text} {' and '.join(percent(o.probability) for o in position.opinions)}"
