"""What the labels of a bundle mean among the options of a data set: the same words, however each of them writes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from gsco_pacs.datasets.cases import EvaluationCase, Task
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.findings import Consultation, SimilarCase
from gsco_pacs.evaluation.records import CaseRecord


@cache
def option_of(label: str, options: tuple[str, ...]) -> str | None:
    """The option that is ``label``, else the only one with its letters and digits in any case; None if none is."""
    if label in options:
        return label
    same = [option for option in options if _bare(option) == _bare(label)]
    return same[0] if len(same) == 1 else None


def in_words_of(case: CaseRecord, consultation: Consultation) -> Consultation:
    """The consultation with the options of a diagnosis in the place of the bundle's labels for them.

    A similar case that shows none of the options is left out: in a briefing it would stand for "no finding".
    """
    if case.task is not Task.DIAGNOSIS:
        return consultation
    opinions = (
        replace(opinion, finding=replace(opinion.finding, label=_said(opinion.finding.label, case.options)))
        for opinion in consultation.opinions
    )
    cases = _telling(consultation.cases, case.options)
    return replace(consultation, opinions=tuple(opinions), cases=tuple(cases))


def must_understand(bundle: str, labels: Sequence[str], case: EvaluationCase) -> str:
    """The options that ``bundle`` has no opinion on, as a line, "" if there are none; ConfigError if it is of no use.

    Exactly one true option is chosen among all of them, so a bundle must know each. Where any number is true a
    bundle is of use from one finding on: no finding at all is also said of images that it never learnt to read.
    """
    known = {option_of(label, case.options) for label in labels}
    unknown = ", ".join(option for option in case.options if option not in known)
    foreign = ", ".join(label for label in labels if not option_of(label, case.options))
    if (case.single and unknown) or not known & set(case.options) - {case.normal}:
        raise ConfigError(
            f"{case.dataset}: {bundle} cannot be asked. No label of it means: {unknown or 'none'}. "
            f"Its labels that are no option: {foreign or 'none'}."
        )
    return f"{case.dataset}: {bundle} has no opinion on: {unknown}." if unknown else ""


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _said(label: str, options: tuple[str, ...]) -> str:
    return option_of(label, options) or label


def _telling(cases: Sequence[SimilarCase], options: tuple[str, ...]) -> Iterator[SimilarCase]:
    for similar in cases:
        if not similar.labels or any(option_of(label, options) for label in similar.labels):
            yield replace(similar, labels=tuple(_said(label, options) for label in similar.labels))
