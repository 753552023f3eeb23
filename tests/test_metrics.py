"""Figures of merit equal scikit-learn's, and the bootstrap draws patients."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

from gsco_pacs.evaluation.metrics import (
    auc,
    balanced_accuracy,
    bootstrap,
    brier,
    expected_calibration_error,
    sensitivity,
    specificity,
)
from gsco_pacs.evaluation.specialist import macro_auc
from gsco_pacs.training.learning import macro_auc as macro_auc_while_training

# Steps of a hundredth, so that ties are common.
cases = st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=2, max_size=50).filter(
    lambda pairs: 0 < sum(positive for _, positive in pairs) < len(pairs)
)


def arrays(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p / 100 for p, _ in pairs]), np.array([float(t) for _, t in pairs])


@given(cases, st.integers(0, 100))
def test_auc_balanced_accuracy_and_brier_equal_scikit_learns(pairs: list[tuple[int, bool]], cut: int) -> None:
    said, truth = arrays(pairs)
    threshold = cut / 100
    assert auc(said, truth) == pytest.approx(roc_auc_score(truth, said))
    assert balanced_accuracy(said, truth, threshold) == pytest.approx(
        balanced_accuracy_score(truth, said >= threshold)
    )
    assert brier(said, truth) == pytest.approx(brier_score_loss(truth, said))


@given(cases)
def test_the_macro_auc_that_chooses_the_epoch_is_the_one_that_is_reported(
    pairs: list[tuple[int, bool]],
) -> None:
    said, truth = arrays(pairs)
    both = np.stack([said, 1 - said, said], axis=1).astype(np.float32)
    true = np.stack([truth, truth, np.zeros_like(truth)], axis=1).astype(np.float32)
    assert macro_auc_while_training(both, true) == pytest.approx(macro_auc(both, true), abs=1e-6)


def test_a_figure_without_positives_or_negatives_is_not_a_number() -> None:
    said = np.array([0.2, 0.7])
    assert math.isnan(auc(said, np.zeros(2)))
    assert math.isnan(sensitivity(said, np.zeros(2), 0.5))
    assert math.isnan(specificity(said, np.ones(2), 0.5))


def test_calibration_error_is_the_weighted_gap_in_ten_bins() -> None:
    said = np.array([0.05, 0.05, 0.95, 0.95, 1.0])
    truth = np.array([0, 1, 1, 1, 0])
    assert expected_calibration_error(said, truth) == pytest.approx((abs(0.1 - 1) + abs(2.9 - 2)) / 5)
    assert expected_calibration_error(truth.astype(float), truth) == 0


def test_the_bootstrap_draws_whole_patients() -> None:
    groups = ["a"] * 50 + ["b"] * 50
    values = np.array([0.0] * 50 + [1.0] * 50)
    interval = bootstrap(lambda rows: float(values[rows].mean()), groups, rounds=200)
    assert interval.value == 0.5
    assert (interval.low, interval.high) == (0.0, 1.0)
    alone = bootstrap(lambda rows: float(values[rows].mean()), [str(n) for n in range(100)], rounds=200)
    assert 0.35 < alone.low < 0.5 < alone.high < 0.65


def test_the_bootstrap_repeats_with_its_seed() -> None:
    values = np.random.default_rng(0).random(40)
    groups = [str(n // 2) for n in range(40)]
    first, again = (bootstrap(lambda rows: float(values[rows].mean()), groups, 100, seed=3) for _ in range(2))
    assert first == again
