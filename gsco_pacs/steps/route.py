"""Finds the route that a study takes, says of every other one which condition failed, and counts what a route expects."""

import re
from collections.abc import Iterator, Sequence

from gsco_pacs.conditions import All, AnyOf, Condition, Match, Not, OneImage
from gsco_pacs.domain.completeness import Expected
from gsco_pacs.domain.study import Header, Instance, Routing, Trial
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.settings.settle import Expectation


def route(headers: Sequence[Header], routes: Sequence[RouteSettings]) -> Routing:
    """The first route whose condition the study meets, with the trials up to it; ``headers``: one for each image.

    A test on a tag holds if any image of the study meets it, ``not`` therefore says that no image does,
    and ``one_image`` binds several tests to one and the same image.
    """
    trials: list[Trial] = []
    for candidate in routes:
        failed = why_not(candidate.when, headers)
        trials.append(Trial(candidate.name, matched=not failed, reason=failed))
        if not failed:
            return Routing(candidate.name, tuple(trials))
    return Routing(None, tuple(trials))


def expected(instances: Sequence[Instance], route: RouteSettings) -> tuple[Expected, ...]:
    """How much of what ``route`` expects is among ``instances``."""
    return tuple(
        Expected(f"{wanted.of} with {_words(wanted.when)}", wanted.at_least, _here(wanted, instances))
        for wanted in route.expects
    )


def _here(wanted: Expectation, instances: Sequence[Instance]) -> int:
    meeting = [instance for instance in instances if not why_not(wanted.when, [instance.header])]
    if wanted.of == "series":
        return len({instance.series_instance_uid for instance in meeting})
    return len(meeting)


def keywords(routes: Sequence[RouteSettings]) -> frozenset[str]:
    """Every DICOM keyword that the routes ask for; the receiver keeps these of each image."""
    conditions = [c for each in routes for c in (each.when, *(wanted.when for wanted in each.expects))]
    return frozenset(keyword for condition in conditions for keyword in _keywords(condition))


def _keywords(condition: Condition) -> Iterator[str]:
    match condition:
        case Match():
            yield condition.tag
        case All():
            for part in condition.all:
                yield from _keywords(part)
        case AnyOf():
            for part in condition.any:
                yield from _keywords(part)
        case Not():
            yield from _keywords(condition.not_)
        case OneImage():
            yield from _keywords(condition.one_image)


def why_not(condition: Condition, headers: Sequence[Header]) -> str:
    """The first part of ``condition`` that the study fails, in words; empty if the study meets it."""
    match condition:
        case All():
            return next((failed for part in condition.all if (failed := why_not(part, headers))), "")
        case AnyOf():
            failures = [why_not(part, headers) for part in condition.any]
            return "" if "" in failures else "none of: " + " | ".join(failures)
        case Not():
            return "" if why_not(condition.not_, headers) else f"not ({_words(condition.not_)}) failed"
        case OneImage():
            failures = [why_not(condition.one_image, [header]) for header in headers]
            return "" if "" in failures else "no image meets all: " + " | ".join(sorted(set(failures)))
        case Match():
            return (
                ""
                if any(_meets(condition, header) for header in headers)
                else _with_values(condition, headers)
            )


def _meets(condition: Match, header: Header) -> bool:
    raw = header.get(condition.tag, [])
    values = [raw] if isinstance(raw, str) else raw
    if condition.present is not None and condition.present != bool(values):
        return False
    tests = [condition.equals, condition.one_of, condition.matches, condition.range]
    return all(test is None for test in tests) or any(_passes(condition, value) for value in values)


def _passes(condition: Match, value: str) -> bool:
    if condition.equals is not None and value != condition.equals:
        return False
    if condition.one_of is not None and value not in condition.one_of:
        return False
    if condition.matches is not None and not re.fullmatch(condition.matches, value):
        return False
    return condition.range is None or _in_range(value, *condition.range)


def _in_range(value: str, lowest: float, highest: float) -> bool:
    # Ages carry a unit: 045Y is 45 (PS3.5 section 6.2, AS).
    number = re.fullmatch(r"\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)Y?\s*", value)
    return bool(number) and lowest <= float(number[1]) <= highest  # type: ignore[index]  # bool() above


def _words(condition: Condition) -> str:
    match condition:
        case Match():
            return _tests(condition)
        case All():
            return " and ".join(_words(part) for part in condition.all)
        case AnyOf():
            return " or ".join(_words(part) for part in condition.any)
        case Not():
            return f"not ({_words(condition.not_)})"
        case OneImage():
            return f"one image: {_words(condition.one_image)}"


def _tests(condition: Match) -> str:
    """The condition as a sentence would say it."""
    tests = []
    if condition.equals is not None:
        tests.append(f"is {condition.equals}")
    if condition.one_of is not None:
        tests.append(f"is {' or '.join(condition.one_of)}")
    if condition.matches is not None:
        tests.append(f"matches {condition.matches}")
    if condition.range is not None:
        tests.append("is from {} to {}".format(*condition.range))
    if condition.present is not None:
        tests.append("is present" if condition.present else "is absent")
    return f"{condition.tag} {' and '.join(tests)}"


_SHOWN = frozenset({"Modality", "BodyPartExamined", "ViewPosition", "SOPClassUID", "PresentationIntentType"})
"""Attributes whose values may stand in a reason; others could carry a patient's data."""


def _with_values(condition: Match, headers: Sequence[Header]) -> str:
    if condition.tag not in _SHOWN:
        return _tests(condition)
    seen = sorted({str(header.get(condition.tag, "absent")) for header in headers})
    return f"{_tests(condition)} (the study has {', '.join(seen[:5])})"
