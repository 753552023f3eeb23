"""Decisions are scored as scikit-learn scores them, and differences between contenders are tested in pairs."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

from gsco_pacs.evaluation.decisions import Decisions, best_f1_thresholds, table
from gsco_pacs.evaluation.resampling import drawn, interval, mcnemar, mean_difference, once

OPTIONS = ("a", "b", "c")
classes = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)
sets = st.lists(
    st.tuples(
        st.lists(st.booleans(), min_size=3, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3)
    ),
    min_size=2,
    max_size=40,
)


def one_of(pairs: list[tuple[int, int]]) -> Decisions:
    return Decisions(
        np.eye(3, dtype=bool)[[t for t, _ in pairs]], np.eye(3, dtype=bool)[[s for _, s in pairs]], True
    )


@settings(max_examples=50)
@given(classes)
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label was found")
def test_one_of_several_classes_is_scored_as_scikit_learn_does(pairs: list[tuple[int, int]]) -> None:
    decided, weights = one_of(pairs), once(len(pairs))
    truth, said = [t for t, _ in pairs], [s for _, s in pairs]
    assert decided.accuracy(weights)[0] == pytest.approx(accuracy_score(truth, said))
    assert decided.balanced_accuracy(weights)[0] == pytest.approx(balanced_accuracy_score(truth, said))
    known = sorted(set(truth))
    assert decided.macro_f1(weights)[0] == pytest.approx(f1_score(truth, said, average="macro", labels=known))


@settings(max_examples=30)
@given(sets)
def test_any_of_several_labels_is_scored_as_scikit_learn_does(
    pairs: list[tuple[list[bool], list[bool]]],
) -> None:
    truth, said = np.array([t for t, _ in pairs]), np.array([s for _, s in pairs])
    decided, weights = Decisions(truth, said, False), once(len(pairs))
    assert decided.accuracy(weights)[0] == pytest.approx(accuracy_score(truth, said))
    shown = np.flatnonzero(truth.any(axis=0))
    if len(shown):
        wanted = [f1_score(truth[:, c], said[:, c], zero_division=0) for c in shown]
        assert decided.macro_f1(weights)[0] == pytest.approx(np.mean(wanted))
    both = [c for c in shown if not truth[:, c].all()]
    if both:
        wanted = [balanced_accuracy_score(truth[:, c], said[:, c]) for c in both]
        assert decided.balanced_accuracy(weights)[0] == pytest.approx(np.mean(wanted))


@settings(max_examples=30)
@given(classes.filter(lambda pairs: len({t for t, _ in pairs}) == 3), st.integers(0, 1000))
def test_the_macro_auc_is_scikit_learns_one_against_the_rest(pairs: list[tuple[int, int]], seed: int) -> None:
    said = np.random.default_rng(seed).dirichlet(np.ones(3), len(pairs))
    truth = np.array([t for t, _ in pairs])
    decided = Decisions(np.eye(3, dtype=bool)[truth], np.eye(3, dtype=bool)[truth], True, said)
    wanted = roc_auc_score(truth, said, multi_class="ovr", average="macro")
    assert decided.macro_auc(np.arange(len(pairs))) == pytest.approx(wanted)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30))
def test_no_threshold_has_a_higher_f1_than_the_one_chosen(pairs: list[tuple[int, bool]]) -> None:
    said, truth = np.array([[p / 20] for p, _ in pairs]), np.array([[t] for _, t in pairs])
    (chosen,) = best_f1_thresholds(said, truth)
    if truth.any():
        scores = {cut: f1_score(truth, said >= cut) for cut in {*said[:, 0], chosen}}
        assert scores[chosen] == max(scores.values())


def test_a_weight_of_two_is_a_case_that_stands_twice() -> None:
    decided = one_of([(0, 0), (1, 0), (2, 2)])
    doubled = one_of([(0, 0), (1, 0), (1, 0), (2, 2)])
    weights = np.array([[1.0, 2.0, 1.0]])
    for figure in ("accuracy", "macro_f1", "balanced_accuracy"):
        assert getattr(decided, figure)(weights)[0] == getattr(doubled, figure)(once(4))[0]


def test_whole_patients_are_drawn_and_the_seed_repeats_it() -> None:
    groups = ["p1", "p1", "p2", "p3"]
    weights = drawn(groups, rounds=50, seed=4)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert (weights == drawn(groups, rounds=50, seed=4)).all()


def test_the_interval_holds_the_figure() -> None:
    decided = one_of([(0, 0), (1, 1), (2, 0), (1, 1), (0, 1), (2, 2)] * 10)
    found = interval(decided.accuracy, [str(n) for n in range(60)])
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(4 / 6)


def test_a_clear_difference_is_significant_and_none_is_not() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 200)
    good = one_of([(t, t if random.random() < 0.9 else 0) for t in truth])
    bad = one_of([(t, t if random.random() < 0.5 else 0) for t in truth])
    groups = [str(n) for n in range(200)]
    clear = mean_difference([(good.macro_f1, bad.macro_f1)], [groups])
    assert clear.p < 0.01
    assert 0 < clear.low < clear.value < clear.high
    same = mean_difference([(good.macro_f1, good.macro_f1)], [groups])
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_the_mean_over_tasks_draws_each_task_for_itself() -> None:
    good, bad = one_of([(0, 0), (1, 1)] * 20), one_of([(0, 0), (1, 0)] * 20)
    groups = [[str(n) for n in range(40)]] * 2
    both = mean_difference([(good.macro_f1, bad.macro_f1), (bad.macro_f1, good.macro_f1)], groups)
    assert both.value == pytest.approx(0)
    assert both.p > 0.5
    assert both.low < 0 < both.high


def test_mcnemar_counts_only_the_cases_in_which_one_alone_is_right() -> None:
    first = np.array([True] * 9 + [False] * 2 + [True] * 30)
    second = np.array([False] * 9 + [True] * 2 + [True] * 30)
    alone = [str(n) for n in range(len(first))]
    assert mcnemar(first, second, alone) == pytest.approx(binomtest(9, 11).pvalue)
    assert mcnemar(first, first, alone) == 1


def test_mcnemar_throws_one_coin_for_each_patient() -> None:
    """Patients at 2, 1 and -1: of the eight sums 4, 2, 2, 0, 0, -2, -2, -4 six are as far from 0 as the 2 found."""
    first = np.array([True, True, True, False, True])
    second = np.array([False, False, False, True, True])
    assert mcnemar(first, second, ["a", "a", "b", "c", "c"]) == pytest.approx(6 / 8)
    many = np.array([True] * 12)
    assert mcnemar(many, ~many, ["a"] * 12) == 1
    assert mcnemar(many, ~many, ["a"] * 6 + ["b"] * 6) == 0.5


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcd")), min_size=1, max_size=20))
def test_mcnemar_by_patients_counts_every_throw_of_the_coins(cases: list[tuple[bool, bool, str]]) -> None:
    first, second = np.array([a for a, _, _ in cases]), np.array([b for _, b, _ in cases])
    groups = [name for _, _, name in cases]
    own = {name: sum(a - b for a, b, one in cases if one == name) for name in groups}
    sums = [
        sum(s * d for s, d in zip(signs, own.values(), strict=True))
        for signs in product((1, -1), repeat=len(own))
    ]
    wanted = np.mean([abs(total) >= abs(sum(own.values())) for total in sums])
    assert mcnemar(first, second, groups) == pytest.approx(wanted)


def test_a_table_names_what_each_case_has() -> None:
    assert table([("a", "c"), ()], OPTIONS).tolist() == [[True, False, True], [False, False, False]]
