"""The gate before the generalist: when it is asked, why, and that more certainty never makes it be asked more."""

from collections.abc import Sequence
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gsco_pacs.domain.familiarity import Familiarity
from gsco_pacs.domain.findings import Opinion, Presence, SimilarCase
from gsco_pacs.settings.routes import GateSettings
from gsco_pacs.steps.refer import refer
from tests.briefing_material import finding, opinion

WHEN_UNSURE = GateSettings(policy="when_unsure")
CLASSES = tuple(replace(finding(label), exclusive=True) for label in ("Mass", "Nodule", "No Finding"))
P, U, A = Presence.PRESENT, Presence.UNCERTAIN, Presence.ABSENT


def classes(*probabilities: float, specialist: str = "one") -> list[Opinion]:
    """One specialist's opinions on classes that exclude each other."""
    return [
        Opinion(specialist, each, p, 0.2, 0.5, "1.2.3")
        for each, p in zip(CLASSES, probabilities, strict=True)
    ]


def judged(label: str, probability: float, specialist: str = "chest") -> Opinion:
    return replace(opinion(label, P, specialist), probability=probability)


def cases(*labels: Sequence[str], specialist: str = "one") -> list[SimilarCase]:
    return [SimilarCase(specialist, f"case-{n}", tuple(each), 0.9, "1.2.3") for n, each in enumerate(labels)]


@pytest.mark.parametrize(("policy", "made"), [("always", True), ("never", False)])
def test_the_plain_policies_decide_whatever_is_held(policy: str, *, made: bool) -> None:
    referral = refer(classes(0.4, 0.3, 0.3), [], [], GateSettings.model_validate({"policy": policy}))
    assert (referral.made, referral.reasons) == (made, (f"the gate is set to {policy} ask",))


def test_without_an_opinion_nobody_is_asked() -> None:
    assert refer([], [], [], GateSettings()).reasons == ("no specialist gave an opinion",)


def test_a_specialist_who_is_sure_is_left_alone() -> None:
    referral = refer(classes(0.9, 0.05, 0.05), cases(["Mass"], ["Nodule"]), [], WHEN_UNSURE)
    assert (referral.made, referral.reasons) == (
        False,
        ("the specialists are sure, agree, and know such images",),
    )


def test_a_leading_class_that_is_not_sure_enough_is_referred() -> None:
    assert refer(classes(0.6, 0.3, 0.1), [], [], WHEN_UNSURE).reasons == (
        "one is sure of lung mass to 60 % only",
    )


def test_specialists_whose_classes_differ_are_referred() -> None:
    both = [*classes(0.9, 0.05, 0.05), *classes(0.05, 0.9, 0.05, specialist="two")]
    assert refer(both, [], [], WHEN_UNSURE).reasons == ("the specialists disagree: Mass and Nodule lead",)


def test_specialists_of_other_classes_do_not_disagree() -> None:
    other = [replace(each, specialist="two", finding=finding(label)) for each, label in zip(
        classes(0.05, 0.05, 0.9), ("Effusion", "Pneumonia", "Edema"), strict=True)]  # fmt: skip
    other = [replace(each, finding=replace(each.finding, exclusive=True)) for each in other]
    assert not refer([*classes(0.9, 0.05, 0.05), *other], [], [], WHEN_UNSURE).made


def test_a_finding_between_its_thresholds_is_referred_and_one_outside_is_not() -> None:
    assert refer([judged("Effusion", 0.3)], [], [], WHEN_UNSURE).reasons == (
        "chest is uncertain of pleural effusion (30 %)",
    )
    assert not refer([judged("Effusion", 0.55), judged("Mass", 0.09)], [], [], WHEN_UNSURE).made
    assert not refer([judged("Effusion", 0.15)], [], [], WHEN_UNSURE).made  # 85 % sure that it is absent


def test_a_finding_that_one_holds_present_and_another_absent_is_referred() -> None:
    held = [judged("Effusion", 0.9), judged("Effusion", 0.02, "second")]
    assert refer(held, [], [], WHEN_UNSURE).reasons == ("the specialists disagree on pleural effusion",)


def test_similar_cases_that_show_something_else_are_a_reason() -> None:
    recalled = cases(["Nodule"], ["Nodule"], ["Nodule"], ["Mass"])
    assert refer(classes(0.9, 0.05, 0.05), recalled, [], WHEN_UNSURE).reasons == (
        "lung mass is held present, but 1 of 4 similar cases show it",
    )
    every = cases(["Mass"], ["Mass"], ["Mass"], specialist="chest")
    assert refer([judged("Mass", 0.05)], every, [], WHEN_UNSURE).reasons == (
        "lung mass is held absent, but 3 of 3 similar cases show it",
    )


def test_similar_cases_of_another_specialist_do_not_count() -> None:
    assert not refer(classes(0.9, 0.05, 0.05), cases(["Nodule"], specialist="two"), [], WHEN_UNSURE).made


def test_far_reference_cases_are_a_reason_by_the_routes_limit_or_else_the_bundles() -> None:
    near, far = Familiarity("one", 0.7, 0.6), Familiarity("one", 0.5, 0.6)
    strict = WHEN_UNSURE.model_copy(update={"similar_from": 0.8})
    sure = classes(0.9, 0.05, 0.05)
    assert [refer(sure, [], [each], WHEN_UNSURE).made for each in (near, far)] == [False, True]
    assert refer(sure, [], [near], strict).reasons == (
        "the reference cases of one are far: similarity 0.70, near from 0.80",
    )
    assert not refer(sure, [], [Familiarity("one", 0.1)], WHEN_UNSURE).made


probabilities = st.floats(0, 1)
gates = st.builds(
    GateSettings, policy=st.just("when_unsure"), confident_from=probabilities, agreeing_cases=probabilities,
    similar_from=st.none() | st.floats(-1, 1),
)  # fmt: skip
labels = st.lists(st.sampled_from(["Mass", "Nodule", "Effusion", "No Finding"]), max_size=2)
recalled = st.lists(labels, max_size=6).map(lambda each: cases(*each))
familiarities = st.lists(
    st.builds(Familiarity, st.just("one"), st.floats(-1, 1), st.none() | st.floats(-1, 1))
)
shares = st.tuples(probabilities, probabilities, probabilities).map(
    lambda p: [each / (sum(p) or 1) for each in p]
)


@given(shares, recalled, familiarities, gates, st.floats(0, 1))
def test_a_surer_leading_class_is_never_referred_where_a_less_sure_one_was_not(
    held: list[float],
    others: list[SimilarCase],
    familiarity: list[Familiarity],
    gate: GateSettings,
    more: float,
) -> None:
    leads = max(range(3), key=lambda n: (held[n], CLASSES[n].label))
    surer = [p + more * (1 - p) if n == leads else p * (1 - more) for n, p in enumerate(held)]
    if not refer(classes(*held), others, familiarity, gate).made:
        assert not refer(classes(*surer), others, familiarity, gate).made


@given(probabilities, gates, st.floats(0, 1))
def test_a_finding_farther_from_even_odds_is_never_referred_where_a_nearer_one_was_not(
    p: float, gate: GateSettings, more: float
) -> None:
    surer = p + more * ((1 if p >= 0.5 else 0) - p)
    before, after = ([replace(judged("Mass", each), present_from=0.5)] for each in (p, surer))
    if not refer(before, [], [], gate).made:
        assert not refer(after, [], [], gate).made


@given(shares, recalled, familiarities, gates, st.floats(0, 1), st.floats(0, 1))
def test_thresholds_that_ask_for_less_never_refer_more(
    held: list[float], others: list[SimilarCase], familiarity: list[Familiarity], gate: GateSettings,
    confident: float, agreeing: float,
) -> None:  # fmt: skip
    laxer = gate.model_copy(update={
        "confident_from": gate.confident_from * confident, "agreeing_cases": gate.agreeing_cases * agreeing,
    })  # fmt: skip
    opinions = [*classes(*held), judged("Effusion", held[0], "one")]
    if not refer(opinions, others, familiarity, gate).made:
        assert not refer(opinions, others, familiarity, laxer).made


@given(shares, recalled, familiarities, gates)
def test_a_decision_always_has_a_reason(
    held: list[float], others: list[SimilarCase], familiarity: list[Familiarity], gate: GateSettings
) -> None:
    assert refer(classes(*held), others, familiarity, gate).reasons
