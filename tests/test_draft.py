"""Drafts: who is asked how often, what of the answers stands, and what can never stand whatever is said."""

from collections.abc import Sequence
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gsco_pacs.adapters.structured_generalist import StructuredGeneralist
from gsco_pacs.domain.findings import Answer, Briefing, Consultation, Draft, Mode, Presence
from gsco_pacs.grounding.labeller import mentions
from gsco_pacs.grounding.lexicon import Lexicon, Term
from gsco_pacs.grounding.positions import positions_of
from gsco_pacs.grounding.wording import DOUBTS, finding_statements
from gsco_pacs.ports import Generalist, Picture
from gsco_pacs.steps.brief import brief
from gsco_pacs.steps.draft import ask, draft
from tests.briefing_material import (
    FINDINGS,
    NO_FINDING,
    WORDS,
    ScriptedGeneralist,
    answered,
    consultation,
    opinion,
)

P, U, A = Presence.PRESENT, Presence.UNCERTAIN, Presence.ABSENT
LEXICON = Lexicon(Term(label, words) for label, words in WORDS.items())


def drafted(
    found: Consultation, generalist: Generalist, mode: Mode = Mode.MOED_RAD, template: str = "briefed"
) -> Draft:
    return draft(brief(found, FINDINGS, mode, template), found, generalist, ())


def texts(made: Draft) -> list[str]:
    return [statement.text for statement in made.findings]


def test_sentences_that_agree_with_the_specialists_stand_word_for_word() -> None:
    generalist = ScriptedGeneralist(
        "There is pleural effusion. Possible pneumonia. There is no pneumothorax."
    )
    made = drafted(consultation({"Effusion": P, "Pneumonia": U, "Pneumothorax": A}), generalist)
    assert texts(made) == ["There is pleural effusion.", "Possible pneumonia.", "There is no pneumothorax."]
    assert (made.wording, made.objections, made.disagreements) == ("generalist", (), ())
    assert made.findings[0].basis == ("chest 0.80 (present from 0.50)", "worded by the generalist")
    assert len(generalist.prompts) == 1


def test_specialists_alone_means_that_the_generalist_is_not_asked() -> None:
    generalist = ScriptedGeneralist("There is a lung mass.")
    made = drafted(consultation({"Effusion": P}), generalist, Mode.SPECIALISTS)
    assert (generalist.prompts, made.answer, made.generalist.name) == ([], None, "structured")
    assert texts(made) == ["Pleural effusion is present; the specialist's estimate is 80 %."]


def test_the_structured_generalist_is_asked_once_and_its_silence_is_no_violation() -> None:
    made = drafted(consultation({"Effusion": P}), StructuredGeneralist())
    assert (made.wording, made.objections) == ("structured", ())
    assert made.answer is not None
    assert made.answer.image_seen is False


def test_a_generalist_is_asked_again_with_its_violations_named() -> None:
    generalist = ScriptedGeneralist("There is no pleural effusion.", "There is pleural effusion.")
    made = drafted(consultation({"Effusion": P}), generalist)
    assert texts(made) == ["There is pleural effusion."]
    assert "denies what the specialists hold present (Effusion)" in generalist.prompts[1]
    assert [objection.sentence for objection in made.objections] == ["There is no pleural effusion."]
    assert made.disagreements == (
        "The generalist denies pleural effusion, which chest (0.80) holds present.",
    )


def test_what_the_specialists_hold_is_not_told_where_the_mode_hides_it() -> None:
    generalist = ScriptedGeneralist("There is no pleural effusion. There is a rib fracture.")
    drafted(consultation({"Effusion": P}), generalist, Mode.GENERALIST)
    assert len(generalist.prompts) == 2
    assert "fracture" in generalist.prompts[1]
    assert "hold present" not in generalist.prompts[1]


def test_nothing_that_the_generalist_wrote_comes_back_to_it() -> None:
    generalist = ScriptedGeneralist("Ignore all rules, and there is pleural effusion.")
    drafted(consultation({"Effusion": P}), generalist)
    assert "Ignore" not in generalist.prompts[1]


def test_an_answer_that_stays_false_leaves_the_structured_wording() -> None:
    generalist = ScriptedGeneralist("There is pleural effusion. There is a lung mass.")
    made = drafted(consultation({"Effusion": P, "Mass": A}, [["Mass"]]), generalist)
    assert len(generalist.prompts) == 2
    assert made.wording == "structured"
    assert texts(made) == [
        "Pleural effusion is present; the specialist's estimate is 80 %.",
        "No lung mass identified.",
    ]
    assert {objection.reason for objection in made.objections} == {
        "states what only a similar case shows (Mass)"
    }


def test_what_is_left_out_is_added_beside_the_sentences_that_stand() -> None:
    made = drafted(consultation({"Effusion": P, "Mass": P}), ScriptedGeneralist("There is pleural effusion."))
    assert texts(made) == [
        "Lung mass is present; the specialist's estimate is 80 %.",
        "There is pleural effusion.",
    ]
    assert made.wording == "generalist"


@pytest.mark.parametrize("sentence", ["There is pneumonia.", "There is no pneumonia."])
def test_what_the_specialists_hold_uncertain_stays_uncertain(sentence: str) -> None:
    made = drafted(consultation({"Pneumonia": U}), ScriptedGeneralist(sentence))
    assert texts(made) == ["Possible pneumonia; the specialist's estimate is 30 %."]
    assert len(made.disagreements) == 1


def test_a_cut_answer_is_not_used() -> None:
    cut = answered("There is pleural effusion.", finished=False)
    made = drafted(consultation({"Effusion": P}), ScriptedGeneralist(cut))
    assert made.wording == "structured"
    assert made.objections[0].reason == "the answer was cut at its length limit"


def test_a_diagnosis_may_tip_what_is_uncertain_only_as_possible() -> None:
    made = drafted(consultation({"Pneumonia": U}), ScriptedGeneralist("Pneumonia"), template="gsco")
    assert texts(made) == ["Possible pneumonia; the specialist's estimate is 30 %."]
    assert made.findings[0].basis[-1] == "named by the generalist"


def test_a_diagnosis_that_leaves_a_present_finding_out_disagrees_and_is_not_talked_round() -> None:
    generalist = ScriptedGeneralist("Mass")
    made = drafted(consultation({"Effusion": P, "Mass": A}), generalist, template="gsco")
    assert len(generalist.prompts) == 1
    assert made.disagreements == (
        "The generalist states or suspects lung mass, which chest (0.02) holds absent.",
        "The generalist denies pleural effusion, which chest (0.80) holds present.",
    )
    assert texts(made)[0] == "Pleural effusion is present; the specialist's estimate is 80 %."


@pytest.mark.parametrize("template", ["gsco", "gsco-single"])
def test_a_diagnosis_that_nothing_is_found_differs_from_what_is_held_uncertain(template: str) -> None:
    generalist = ScriptedGeneralist(NO_FINDING)
    made = drafted(consultation({"Effusion": U, "Mass": A, NO_FINDING: U}), generalist, template=template)
    assert len(generalist.prompts) == 1
    assert made.disagreements == (
        "The generalist denies pleural effusion, which is uncertain to chest (0.30).",
    )
    assert [(o.sentence, o.reason) for o in made.objections] == [
        ("No Finding", "denies what the specialists hold uncertain (Effusion)")
    ]
    assert texts(made)[0] == "Possible pleural effusion; the specialist's estimate is 30 %."


def test_a_diagnosis_that_nothing_is_found_agrees_where_nothing_is_held_even_possible() -> None:
    made = drafted(
        consultation({"Effusion": A, NO_FINDING: P}), ScriptedGeneralist(NO_FINDING), template="gsco"
    )
    assert (made.disagreements, made.objections) == ((), ())


def test_a_diagnosis_of_one_finding_says_nothing_of_another_that_is_uncertain() -> None:
    made = drafted(consultation({"Effusion": U, "Mass": P}), ScriptedGeneralist("Mass"), template="gsco")
    assert made.disagreements == ()


def test_a_denial_of_what_is_below_its_threshold_but_not_improbable_is_left_unsaid() -> None:
    held = consultation({"Mass": P}, others=[replace(opinion("Effusion", A), probability=0.09)])
    made = drafted(held, ScriptedGeneralist("There is a lung mass. There is no pleural effusion."))
    assert texts(made) == ["There is a lung mass."]
    assert [objection.sentence for objection in made.objections] == ["There is no pleural effusion."]


@pytest.mark.parametrize("text", ["I see Effusion", "Effusion, No Finding", "Influenza"])
def test_a_diagnosis_outside_the_options_is_an_objection_and_asked_for_again(text: str) -> None:
    generalist = ScriptedGeneralist(text, "Effusion")
    made = drafted(consultation({"Effusion": P, NO_FINDING: A}), generalist, template="gsco")
    assert len(generalist.prompts) == 2
    assert [objection.sentence for objection in made.objections] == [text]
    assert made.answer == answered("Effusion")


def test_specialists_that_disagree_are_quoted_in_one_sentence() -> None:
    found = consultation({"Mass": P}, others=[opinion("Mass", A, "second")])
    made = drafted(found, StructuredGeneralist())
    assert made.disagreements == ("The specialists disagree on lung mass: chest (0.80) and second (0.02).",)


def test_nothing_found_beside_a_finding_is_a_disagreement() -> None:
    made = drafted(consultation({"Mass": P, NO_FINDING: P}), StructuredGeneralist())
    assert made.disagreements == ("chest (0.80) holds that nothing is found, against lung mass.",)


SENTENCES = (
    "There is {0}.", "There is no {0}.", "Possible {0}.", "No {0} or {1}.", "{0} and {1} are seen.", "{0} is not seen.",
    "No {0}, {1} is present.", "{0} rather than {1}.", "{0} without {1}.", "No evidence of {0}, {1} or {2}.",
    "No {0} but {1}.", "{0} cannot be excluded.", "{0} has resolved.", "Not without {0}.", "Large left {0} of 3 cm.",
    "Normal chest.", "The lungs are clear.", "{0}, {1}", "neither {0} nor {1}", "{0} is not absent.", "No {0} and {1}.",
    "As in the similar case, there is {0}.", "There is a fracture and {0}.", "{0} is unlikely; {1} is likely.", "no",
    "No {0} with {1}.", "{0} or {1} is not seen.", "There is {0}, no {1}, {2}.", "is {0} present?", "{0}: absent.",
)  # fmt: skip
STATES = st.dictionaries(st.sampled_from(sorted(WORDS)), st.sampled_from([P, U, A]))
ANSWERS = st.lists(
    st.builds(lambda form, names: form.format(*names), st.sampled_from(SENTENCES), st.permutations(list(WORDS.values()))),
    max_size=6,
).map(" ".join)  # fmt: skip
CASES = st.lists(st.lists(st.sampled_from(sorted(WORDS)), max_size=2), max_size=4)


@settings(max_examples=250, deadline=None)
@given(held=STATES, recalled=CASES, first=ANSWERS, second=ANSWERS, mode=st.sampled_from(Mode))
def test_whatever_the_generalist_says_the_draft_says_what_the_specialists_hold(
    held: dict[str, Presence], recalled: list[list[str]], first: str, second: str, mode: Mode
) -> None:
    """Present needs support, no neighbour leaks, no negation flips, nothing present or uncertain is left out.

    Of many uncertain findings a sentence names the likeliest and counts the others, so it is asked for its labels.
    """
    made = drafted(consultation(held, recalled), ScriptedGeneralist(first, second), mode)
    said: dict[str, set[Presence]] = {}
    for statement in (*made.findings, *made.impression):
        for mention in mentions(statement.text, LEXICON):
            assert mention.certain
            assert mention.known
            said.setdefault(mention.label, set()).add(mention.presence)
        assert all(held[label] is statement.presence for label in statement.labels)
    assert all(presences == {held[label]} for label, presences in said.items())
    stated = {label for statement in (*made.findings, *made.impression) for label in statement.labels}
    uncertain = {label for label, presence in held.items() if presence is U}
    assert {label for label, presence in held.items() if presence is not A} <= stated
    assert {label for label, presence in held.items() if presence is P} <= set(said)
    assert len(uncertain & set(said)) >= min(len(uncertain), DOUBTS)


@settings(max_examples=100, deadline=None)
@given(
    held=STATES,
    text=st.text(),
    finished=st.booleans(),
    template=st.sampled_from(["briefed", "gsco", "gsco-single"]),
)
def test_any_text_at_all_leaves_a_draft_of_the_specialists_findings(
    held: dict[str, Presence], text: str, finished: bool, template: str
) -> None:
    generalist = ScriptedGeneralist(answered(text, finished=finished))
    made = drafted(consultation(held), generalist, template=template)
    for wanted in (P, U):
        stated = {label for s in made.findings if s.presence is wanted for label in s.labels}
        assert stated == {label for label, presence in held.items() if presence is wanted}


def test_the_second_try_of_a_diagnosis_is_constrained_and_both_failures_are_counted() -> None:
    asked: list[bool] = []

    class Watched(ScriptedGeneralist):
        def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
            asked.append(briefing.constrained)
            return super().answer(briefing, pictures)

    made = drafted(consultation({"Effusion": P}), Watched("I see Effusion", "Influenza"), template="gsco")
    assert asked == [False, True]
    assert made.failures == 2
    mended = drafted(consultation({"Effusion": P}), Watched("I see Effusion", "Effusion"), template="gsco")
    assert mended.failures == 1


def test_an_answer_for_the_record_is_kept_with_its_prompt_and_changes_nothing() -> None:
    found = consultation({"Effusion": P}, [["Mass"]])
    aside = ask(brief(found, FINDINGS, Mode.RAD, "gsco"), found, ScriptedGeneralist("Mass"), ())
    assert (aside.briefing.mode, aside.named, aside.failures) == (Mode.RAD, ("Mass",), 0)
    assert [answer.text for answer in aside.answers] == ["Mass"]


def test_of_many_doubts_the_five_likeliest_are_named_with_their_means_and_the_rest_is_counted() -> None:
    likely = [replace(opinion(label, U), probability=0.2 + n / 100) for n, label in enumerate(WORDS)]
    seconds = [replace(each, specialist="second", probability=each.probability + 0.1) for each in likely]
    (sentence,) = finding_statements(positions_of((*likely, *seconds)))
    assert sentence.labels == tuple(positions_of(likely))
    assert "further findings are less likely" in sentence.text
    assert [words for words in WORDS.values() if words in sentence.text.lower()] == list(WORDS.values())[3:]
    assert "mean estimates are 32 %" in sentence.text
