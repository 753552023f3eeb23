"""Text is measured by maintained packages, with known values; labels and answers are read by rules."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsco_pacs.evaluation import text_metrics
from gsco_pacs.evaluation.text_metrics import labelled, micro_f1, right_answers, stated, text_figures

REFERENCES = (
    "The heart size is normal. There is a small left pleural effusion.",
    "There is no pneumothorax. The lungs are free of consolidation.",
    "Possible atelectasis at the base. No pleural effusion.",
)
OVERLAP = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L")


def test_the_reference_itself_scores_best() -> None:
    found = text_figures(REFERENCES, REFERENCES)
    for name in OVERLAP:
        assert found[name] == pytest.approx(1), name
    assert float(found["METEOR"]) > 0.99
    assert found["CIDEr"] == pytest.approx(10)
    assert found["label macro-F1"] == found["label micro-F1"] == 1


def test_known_values_of_bleu_and_rouge() -> None:
    """Said "the the cat", reference "the cat sat": 2 of 3 words, 1 of 2 pairs; the longest common run has two words."""
    found = text_figures(["the the cat"], ["the cat sat"])
    assert found["BLEU-1"] == pytest.approx(2 / 3)
    assert found["BLEU-2"] == pytest.approx(math.sqrt(2 / 3 * 1 / 2))
    assert found["ROUGE-L"] == pytest.approx(2 / 3)


def test_meteor_knows_synonyms_from_wordnet() -> None:
    near, far = (text_figures([said], ["a car there"])["METEOR"] for said in ("a auto there", "a dog there"))
    assert float(near) > float(far)


def test_a_normal_report_reads_alike_and_says_nothing_of_what_is_there() -> None:
    found = text_figures(["The heart size is normal. There is no pleural effusion."], REFERENCES[:1])
    assert float(found["ROUGE-L"]) > 0.6
    assert found["label micro-F1"] == 0


def test_a_report_states_what_is_there_or_may_be_there() -> None:
    assert stated(REFERENCES[0]) == {"pleural effusion"}
    assert stated(REFERENCES[1]) == set()
    assert stated(REFERENCES[2]) == {"atelectasis"}


def test_micro_f1_counts_every_pair_of_report_and_finding() -> None:
    decided = labelled(
        ["There is pleural effusion. There is pneumothorax.", "Normal."], [REFERENCES[0], REFERENCES[2]]
    )
    assert micro_f1(decided) == pytest.approx(2 * 1 / (2 + 2))


def test_what_is_missing_is_named_and_never_made_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(text_metrics, "WORDNET", tmp_path)
    found = text_figures(REFERENCES[:1], REFERENCES[:1])
    assert "wordnet-base" in str(found["METEOR"])
    assert all(str(found[name]).startswith("not measured") for name in text_metrics.BY_PATH)


@pytest.mark.parametrize(
    ("said", "answer", "closed", "score"),
    [
        ("Yes.", "yes", True, 1),
        ("Yes, there is one.", "Yes", True, 1),
        ("yes or no", "yes", True, 0),
        ("There is, yes", "yes", True, 0),
        ("No", "yes", True, 0),
        ("Axial", "axial", True, 1),
        ("axial or coronal", "axial", True, 0),
        ("the right lung", "right lung", False, 1),
        ("the left lung", "right lung", False, 0.5),
        ("", "lung", False, 0),
    ],
)
def test_answers_are_scored_strictly(said: str, answer: str, closed: bool, score: float) -> None:
    assert right_answers(said, answer, closed=closed) == score


@given(st.text(max_size=60), st.text(max_size=30), st.booleans())
def test_an_answers_score_lies_between_nought_and_one(said: str, answer: str, closed: bool) -> None:
    assert 0 <= right_answers(said, answer, closed=closed) <= 1
