"""When a study is complete: by the first evidence that is satisfied, at the latest by the deadline."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsco_pacs.domain.completeness import (
    Announced,
    Corrected,
    Counted,
    Decision,
    Expected,
    Grounds,
    Patience,
    Standing,
    Step,
)
from gsco_pacs.steps.settle import STEADY, settle

START = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = Patience(quiet_seconds=60, settle_seconds=5, deadline_seconds=3600)
ARRIVING = Standing(START, START, instances=2)
BOTH_VIEWS = (
    Expected("images with ViewPosition is PA", 1, 1),
    Expected("images with ViewPosition is LL", 1, 1),
)
HALF = Corrected(("PatientID",), 1, 1)
ONE_VIEW = (BOTH_VIEWS[0], replace(BOTH_VIEWS[1], here=0))


def mpps(missing: int = 0, step: Step = Step.COMPLETED, images: int = 2) -> Announced:
    return Announced("MPPS of CT1", step, images, missing)


def count(instances: int, times: int = STEADY) -> Counted:
    return Counted("main", instances, times)


def seconds(number: float) -> datetime:
    return START + timedelta(seconds=number)


def after(wait: float, standing: Standing = ARRIVING) -> Decision:
    return settle(standing, PATIENCE, seconds(wait))


def test_a_study_is_closed_when_nothing_came_for_the_quiet_time() -> None:
    decision = after(70, replace(ARRIVING, last_received_at=seconds(10)))
    assert (decision.closed, decision.grounds, decision.reason) == (
        True,
        Grounds.QUIET,
        "No new image for 60 s.",
    )
    assert decision.incomplete == ""


def test_a_study_stays_open_while_images_come() -> None:
    decision = after(69, replace(ARRIVING, last_received_at=seconds(10)))
    assert (decision.closed, decision.reason) == (False, "Quiet for 59 of 60 s.")


def test_a_study_that_never_gets_quiet_goes_on_at_the_deadline_and_says_so() -> None:
    decision = after(3600, replace(ARRIVING, last_received_at=seconds(3599)))
    assert (decision.closed, decision.grounds) == (True, Grounds.DEADLINE)
    assert decision.incomplete == "Images were still arriving."
    assert "Incomplete: Images were still arriving." in decision.reason


def test_a_study_closes_early_when_everything_that_its_route_expects_is_here() -> None:
    standing = replace(ARRIVING, expected=BOTH_VIEWS)
    assert not after(4, standing).closed
    decision = after(5, standing)
    assert (decision.closed, decision.grounds) == (True, Grounds.EXPECTED)
    assert "images with ViewPosition is LL: 1" in decision.reason


def test_a_study_that_lacks_what_its_route_expects_waits_for_the_deadline_and_then_says_what_is_missing() -> (
    None
):
    standing = replace(ARRIVING, expected=ONE_VIEW)
    assert not after(3599, standing).closed
    decision = after(3600, standing)
    assert (decision.closed, decision.grounds) == (True, Grounds.DEADLINE)
    assert decision.incomplete == "images with ViewPosition is LL: at least 1 expected, 0 here."


def test_of_a_later_revision_the_expectations_say_nothing() -> None:
    assert not after(59, replace(ARRIVING, expected=BOTH_VIEWS, revision=2)).closed


def test_a_study_closes_at_once_when_all_announced_images_are_here() -> None:
    decision = after(0, replace(ARRIVING, announced=(mpps(),)))
    assert (decision.closed, decision.grounds) == (True, Grounds.ANNOUNCED)
    assert decision.reason == "All announced images are here: 2, by MPPS of CT1."


@pytest.mark.parametrize(
    ("announced", "missing"),
    [
        ((mpps(missing=1),), "MPPS of CT1: 1 of 2 announced images have not come."),
        ((mpps(), mpps(step=Step.IN_PROGRESS, images=0)), "MPPS of CT1: the acquisition is in progress."),
    ],
)
def test_what_the_modality_has_not_finished_or_sent_is_waited_for(
    announced: tuple[Announced, ...], missing: str
) -> None:
    standing = replace(ARRIVING, announced=announced)
    assert not after(3599, standing).closed
    assert after(3600, standing).incomplete == missing


def test_an_acquisition_that_was_discontinued_is_read_at_once_and_the_draft_says_so() -> None:
    decision = after(0, replace(ARRIVING, announced=(mpps(step=Step.DISCONTINUED),)))
    assert decision.closed
    assert decision.incomplete == "MPPS of CT1: the acquisition was discontinued."


def test_images_beyond_the_announced_ones_are_given_the_quiet_time() -> None:
    standing = replace(ARRIVING, announced=(mpps(),), unannounced=1)
    assert not after(59, standing).closed
    assert after(60, standing).grounds is Grounds.QUIET


def test_an_announcement_without_images_is_no_evidence() -> None:
    standing = replace(ARRIVING, announced=(mpps(images=0),))
    assert not after(59, standing).closed
    assert after(60, standing).grounds is Grounds.QUIET


def test_a_study_closes_early_when_the_archive_holds_as_many_and_said_so_twice() -> None:
    assert not after(20, replace(ARRIVING, counted=count(2, times=1))).closed
    decision = after(20, replace(ARRIVING, counted=count(2)))
    assert (decision.closed, decision.grounds) == (True, Grounds.COUNTED)


def test_a_study_of_which_the_archive_holds_more_waits_for_the_deadline() -> None:
    standing = replace(ARRIVING, counted=count(5))
    assert not after(3599, standing).closed
    assert after(3600, standing).incomplete == "main holds 5 instances; 2 are here."


def test_an_archive_that_holds_less_is_behind_and_decides_nothing() -> None:
    standing = replace(ARRIVING, counted=count(1))
    assert not after(59, standing).closed
    assert after(60, standing).grounds is Grounds.QUIET


def test_a_correction_that_is_half_here_closes_by_nothing_but_the_deadline() -> None:
    standing = replace(ARRIVING, corrected=HALF, announced=(mpps(),), counted=count(2), expected=BOTH_VIEWS)
    assert not after(3599, standing).closed
    assert (
        "Corrected: PatientID; images that have the new values: 1, the former ones: 1."
        in after(3600, standing).incomplete
    )


def standings() -> st.SearchStrategy[Standing]:
    """Any evidence, with the newest image up to two hours after the first."""
    small = st.integers(0, 3)
    announced = st.builds(Announced, st.just("MPPS of CT1"), st.sampled_from(Step), small, small)
    return st.builds(
        Standing,
        st.just(START),
        st.floats(0, 7200).map(seconds),
        revision=st.integers(1, 3),
        instances=st.integers(1, 3),
        expected=st.lists(st.builds(Expected, st.just("images"), st.integers(1, 2), small), max_size=2).map(
            tuple
        ),
        announced=st.lists(announced, max_size=2).map(tuple),
        unannounced=small,
        counted=st.none() | st.builds(Counted, st.just("main"), small, st.integers(1, 3)),
        corrected=st.none() | st.builds(Corrected, st.just(("PatientID",)), st.just(1), st.integers(0, 1)),
    )


def patience() -> st.SearchStrategy[Patience]:
    return st.builds(Patience, st.floats(1, 600), st.floats(0.1, 60), st.floats(1, 7200))


@given(standings(), patience(), st.floats(0, 1e5), st.floats(0, 1e5))
def test_waiting_longer_never_opens_a_closed_study(
    standing: Standing, waits: Patience, wait: float, more: float
) -> None:
    at = standing.last_received_at + timedelta(seconds=wait)
    earlier, later = settle(standing, waits, at), settle(standing, waits, at + timedelta(seconds=more))
    assert later.closed or not earlier.closed


@given(standings(), patience(), st.floats(0, 1e5))
def test_the_deadline_closes_every_study(standing: Standing, waits: Patience, wait: float) -> None:
    at = max(standing.last_received_at, seconds(waits.deadline_seconds + 0.001)) + timedelta(seconds=wait)
    assert settle(standing, waits, at).closed


@given(standings(), patience(), st.floats(0, 1e4))
def test_no_study_is_closed_before_any_evidence_is_satisfied(
    standing: Standing, waits: Patience, wait: float
) -> None:
    at = standing.last_received_at + timedelta(seconds=wait)
    decision = settle(standing, waits, at)
    satisfied = {
        Grounds.QUIET: wait >= waits.quiet_seconds - 1e-3,
        Grounds.EXPECTED: all(each.here >= each.wanted for each in standing.expected)
        and bool(standing.expected),
        Grounds.ANNOUNCED: not any(a.missing or a.step is Step.IN_PROGRESS for a in standing.announced),
        Grounds.COUNTED: standing.counted is not None and standing.counted.instances == standing.instances,
        Grounds.DEADLINE: at >= seconds(waits.deadline_seconds - 0.001),
        None: False,
    }
    assert decision.closed == (decision.grounds is not None)
    assert satisfied[decision.grounds] or not decision.closed


@given(standings(), patience(), st.floats(0, 1e5))
def test_what_is_known_to_be_missing_is_never_left_out_of_the_draft(
    standing: Standing, waits: Patience, wait: float
) -> None:
    decision = settle(standing, waits, standing.last_received_at + timedelta(seconds=wait))
    lacking = any(e.here < e.wanted for e in standing.expected) or any(a.missing for a in standing.announced)
    assert (
        not (decision.closed and (lacking or (standing.corrected and standing.corrected.left)))
        or decision.incomplete
    )
