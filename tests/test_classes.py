"""Labels of which exactly one applies: how they are worded, read in a sentence, disputed between members and coded."""

from dataclasses import replace

import pytest

from gsco_pacs.domain.findings import Code, Finding, Opinion, Presence, Statement
from gsco_pacs.grounding.concepts import concept_of
from gsco_pacs.grounding.gate import Gate
from gsco_pacs.grounding.labeller import mentions
from gsco_pacs.grounding.lexicon import Lexicon, Term
from gsco_pacs.grounding.positions import Positions, positions_of
from gsco_pacs.grounding.wording import finding_statements, impression
from gsco_pacs.steps.draft import _among_specialists
from tests.briefing_material import answered
from tests.draft_material import parts

TASKS = {
    "brain": {"glioma": "glioma", "meningioma": "meningioma", "pituitary": "pituitary tumour", "notumor": "no tumour"},
    "chest": {"benign": "benign nodule", "malignant": "malignant nodule", "normal": "no nodule"},
    "child": {"bacteria pneumonia": "bacterial pneumonia", "virus pneumonia": "viral pneumonia", "normal": "no pneumonia"},
    "breast": {"benign": "benign lesion", "malignant": "malignant lesion", "normal": "no lesion"},
    "knee": {
        "KL0": "no osteoarthritis",
        "KL1": "doubtful osteoarthritis (grade 1)",
        "KL2": "mild osteoarthritis (grade 2)",
        "KL3": "moderate osteoarthritis (grade 3)",
        "KL4": "severe osteoarthritis (grade 4)",
    },
}  # fmt: skip
"""Label -> words, of the specialists whose labels exclude each other; the label for "nothing found" starts with "no"."""


def findings(task: str) -> dict[str, Finding]:
    code = Code("111286", "DCM", "No abnormality")
    return {
        label: Finding(label, words, code, normal=words.startswith("no "), exclusive=True)
        for label, words in TASKS[task].items()
    }


def held(task: str, *members: dict[str, float]) -> Positions:
    """Positions on a task from the probabilities of each member; absent below 0.1, present from 0.5."""
    names = [task] if len(members) == 1 else [f"{task}.{number}" for number in range(1, len(members) + 1)]
    return positions_of(
        Opinion(name, finding, member.get(label, 0.0), 0.1, 0.5, "1.2")
        for name, member in zip(names, members, strict=True)
        for label, finding in findings(task).items()
    )


def texts(statements: tuple[Statement, ...]) -> list[str]:
    return [statement.text for statement in statements]


def test_one_sentence_says_what_is_most_likely_one_what_else_is_possible_and_none_denies() -> None:
    positions = held("brain", {"glioma": 0.7, "meningioma": 0.16, "notumor": 0.12, "pituitary": 0.02})
    assert texts(finding_statements(positions)) == [
        "Most likely glioma; the specialist's estimate is 70 %.",
        "Also possible: meningioma (16 %) or no tumour (12 %).",
    ]
    assert texts(impression(positions)) == ["Most likely glioma.", "Also possible: meningioma or no tumour."]
    assert [s.presence for s in finding_statements(positions)] == [Presence.PRESENT, Presence.UNCERTAIN]


def test_a_likely_nothing_is_said_in_the_words_of_the_task_and_alone() -> None:
    positions = held("knee", {"KL0": 0.93, "KL1": 0.07})
    assert texts(finding_statements(positions)) == [
        "Most likely no osteoarthritis; the specialist's estimate is 93 %."
    ]
    assert texts(impression(positions)) == ["Most likely no osteoarthritis."]


def test_where_no_answer_is_more_likely_than_not_it_is_only_possible() -> None:
    positions = held("knee", {"KL2": 0.45, "KL1": 0.4, "KL3": 0.15})
    assert texts(finding_statements(positions)) == [
        "Possibly mild osteoarthritis (grade 2); the specialist's estimate is 45 %.",
        "Also possible: doubtful osteoarthritis (grade 1) (40 %) or moderate osteoarthritis (grade 3) (15 %).",
    ]


def test_the_mean_of_the_members_decides_and_each_estimate_is_told() -> None:
    positions = held("breast", {"benign": 0.45, "malignant": 0.55}, {"benign": 0.75, "malignant": 0.25})
    assert texts(finding_statements(positions)) == [
        "Most likely benign lesion; the specialists' estimates are 45 % and 75 %.",
        "Also possible: malignant lesion (55 % or 25 %).",
    ]
    assert [p.finding.label for p in positions.values() if p.presence is Presence.PRESENT] == ["benign"]
    assert list(_among_specialists(positions)) == [
        "The specialists disagree on what is most likely: breast.1 malignant lesion (0.55), breast.2 benign lesion (0.75)."
    ]


def test_what_one_member_holds_the_likeliest_is_not_passed_over_however_the_mean_falls() -> None:
    finding = findings("chest")
    said = {"malignant": (0.31, 0.72), "normal": (0.58, 0.21), "benign": (0.11, 0.07)}
    positions = positions_of(
        Opinion(f"chest.{member}", finding[label], estimates[member - 1], 0.45, 0.5, "1.2")
        for label, estimates in said.items()
        for member in (1, 2)
    )
    assert texts(finding_statements(positions)) == [
        "Most likely malignant nodule; the specialists' estimates are 31 % and 72 %.",
        "Also possible: no nodule (58 % or 21 %).",
    ]


def test_members_that_hold_the_same_answer_do_not_disagree() -> None:
    positions = held("breast", {"benign": 0.95, "normal": 0.05}, {"benign": 0.6, "normal": 0.4})
    assert list(_among_specialists(positions)) == []


def test_findings_that_stand_side_by_side_are_worded_as_before_beside_a_class() -> None:
    single = Opinion("chest", Finding("Mass", "lung mass", Code("1", "DCM", "x")), 0.8, 0.1, 0.5, "1.2")
    both = {**held("knee", {"KL4": 0.9}), **positions_of([single])}
    assert texts(finding_statements(both)) == [
        "Most likely severe osteoarthritis (grade 4); the specialist's estimate is 90 %.",
        "Lung mass is present; the specialist's estimate is 80 %.",
    ]
    assert texts(impression(both)) == ["Most likely severe osteoarthritis (grade 4).", "Lung mass."]


@pytest.mark.parametrize("task", TASKS)
def test_the_words_of_each_task_are_known_and_read_in_a_sentence(task: str) -> None:
    abnormal = {label: words for label, words in TASKS[task].items() if not words.startswith("no ")}
    lexicon = Lexicon(Term(label, words) for label, words in abnormal.items())
    for label, words in abnormal.items():
        assert concept_of(words), words
        for sentence, presence in (
            (f"There is a {words}.", Presence.PRESENT),
            (f"Possible {words}.", Presence.UNCERTAIN),
            (f"No {words} is seen.", Presence.ABSENT),
        ):
            (mention,) = mentions(sentence, lexicon)
            assert (mention.label, mention.presence, mention.known) == (label, presence, True), sentence


def test_the_gate_lets_a_sentence_stand_that_the_members_mean_supports_and_no_other() -> None:
    positions = held("brain", {"glioma": 0.8, "notumor": 0.2}, {"glioma": 0.6, "notumor": 0.4})
    gate = Gate(positions, tuple(positions), frozenset())
    assert gate.report(answered("There is a glioma.")).breaches == ()
    assert gate.report(answered("There is a glioma. There is a meningioma.")).blocked


def test_the_grade_of_a_finding_stands_in_the_coded_report() -> None:
    knee = Code("239873007", "SCT", "Osteoarthritis of knee")
    severe = Code("24484000", "SCT", "Severe")
    finding = Finding("KL4", "severe osteoarthritis (grade 4)", knee, exclusive=True, severity=severe)
    told = parts()
    uid = told.consultation.read[0]
    opinions = (Opinion("cxr_findings", finding, 0.9, 0.1, 0.5, uid),)
    _, coded = replace(told, consultation=replace(told.consultation, opinions=opinions)).composed()
    assert b"24484000" in coded.content
    assert b"246112005" in coded.content
