"""What the labeller reads, what the gate lets stand, and how opinions are worded."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gsco_pacs.domain.findings import Presence, percent
from gsco_pacs.grounding.form import repeats
from gsco_pacs.grounding.gate import Gate, Violation
from gsco_pacs.grounding.labeller import mentions, sentences
from gsco_pacs.grounding.lexicon import Lexicon, Term
from gsco_pacs.grounding.options import NotAnOptionError, chosen
from gsco_pacs.grounding.positions import DENIED_BELOW, positions_of
from gsco_pacs.grounding.wording import finding_statements, impression
from tests.briefing_material import WORDS, answered, opinion

P, U, A = Presence.PRESENT, Presence.UNCERTAIN, Presence.ABSENT
LEXICON = Lexicon(Term(label, words) for label, words in WORDS.items())

# Sentence -> what it says. Written for this test, one linguistic trap a line.
SENTENCES: dict[str, dict[str, Presence]] = {
    "There is a pleural effusion.": {"Effusion": P},
    "Small left effusion is noted.": {"Effusion": P},
    "Bilateral effusions are present.": {"Effusion": P},
    "The heart is enlarged.": {"Cardiomegaly": P},
    "Consolidation and atelectasis are seen.": {"Consolidation": P, "Atelectasis": P},
    "Findings are consistent with pneumonia.": {"Pneumonia": P},
    "A lung mass with atelectasis.": {"Mass": P, "Atelectasis": P},
    "Known pneumothorax, again seen.": {"Pneumothorax": P},
    "Lung nodule in the right upper lobe.": {"Nodule": P},
    "Collapsed lung.": {"Pneumothorax": P},
    "No evidence of pneumothorax.": {"Pneumothorax": A},
    "Pneumothorax is not seen.": {"Pneumothorax": A},
    "A mass is not identified.": {"Mass": A},
    "The effusion has resolved.": {"Effusion": A},
    "Resolved consolidation; the effusion has cleared.": {"Consolidation": P, "Effusion": A},
    "Without pleural effusion.": {"Effusion": A},
    "The lungs are free of consolidation.": {"Consolidation": A},
    "Negative for pneumonia.": {"Pneumonia": A},
    "Absence of pneumothorax.": {"Pneumothorax": A},
    "No effusion, pneumothorax or consolidation.": {"Effusion": A, "Pneumothorax": A, "Consolidation": A},
    "No mass, nodule, or consolidation is seen.": {"Mass": A, "Nodule": A, "Consolidation": A},
    "Neither effusion nor pneumothorax.": {"Effusion": A, "Pneumothorax": A},
    "No effusion and no pneumothorax.": {"Effusion": A, "Pneumothorax": A},
    "Effusion or pneumothorax is not seen.": {"Effusion": A, "Pneumothorax": A},
    "Heart size is normal.": {"Cardiomegaly": A},
    "The heart is not enlarged.": {"Cardiomegaly": A},
    "The costophrenic angles are sharp.": {"Effusion": A},
    "Pneumonia has been ruled out.": {"Pneumonia": A},
    "Pneumothorax is absent.": {"Pneumothorax": A},
    "There is no longer an effusion.": {"Effusion": A},
    "The image does not show a mass.": {"Mass": A},
    "Possible atelectasis.": {"Atelectasis": U},
    "Probable pneumonia.": {"Pneumonia": U},
    "We cannot exclude pneumonia.": {"Pneumonia": U},
    "Pneumonia cannot be excluded.": {"Pneumonia": U},
    "A small effusion is not excluded.": {"Effusion": U},
    "Suspicious for a lung mass.": {"Mass": U},
    "This may represent consolidation.": {"Consolidation": U},
    "Suggestive of pneumonia.": {"Pneumonia": U},
    "Atelectasis is likely.": {"Atelectasis": U},
    "Atelectasis or consolidation.": {"Atelectasis": U, "Consolidation": U},
    "Questionable nodule.": {"Nodule": U},
    "Rule out pneumothorax.": {"Pneumothorax": U},
    "Concern for pneumonia.": {"Pneumonia": U},
    "Possible effusion; the specialist's estimate is 34 %.": {"Effusion": U},
    "Atelectasis rather than pneumonia.": {"Atelectasis": P, "Pneumonia": A},
    "Effusion without pneumothorax.": {"Effusion": P, "Pneumothorax": A},
    "No effusion, but consolidation is seen.": {"Effusion": A, "Consolidation": P},
    "Cardiomegaly; no effusion.": {"Cardiomegaly": P, "Effusion": A},
    "Cardiomegaly is present, however there is no pneumothorax.": {"Cardiomegaly": P, "Pneumothorax": A},
    "No pneumothorax, and there is a pleural effusion.": {"Pneumothorax": A, "Effusion": P},
    "Possible pneumonia but no effusion.": {"Pneumonia": U, "Effusion": A},
    "Effusion is present and pneumothorax is not seen.": {"Effusion": P, "Pneumothorax": A},
    "The patient is seated.": {},
    "Hydropneumothorax.": {},
}


def gate(recalled: tuple[str, ...] = (), **held: Presence) -> Gate:
    positions = positions_of(opinion(label, presence) for label, presence in held.items())
    return Gate(positions, tuple(WORDS), frozenset(recalled))


def violations(text: str, recalled: tuple[str, ...] = (), **held: Presence) -> set[Violation]:
    return {breach.violation for breach in gate(recalled, **held).report(answered(text)).breaches}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_labeller_reads(sentence: str) -> None:
    read = {m.label: m.presence for m in mentions(sentence, LEXICON) if m.known}
    assert read == SENTENCES[sentence]


def test_precision_and_recall_of_the_labeller_on_its_sentences_are_complete() -> None:
    read = {(s, m.label, m.presence) for s in SENTENCES for m in mentions(s, LEXICON) if m.known}
    true = {(s, label, presence) for s, says in SENTENCES.items() for label, presence in says.items()}
    assert (len(read & true) / len(read), len(read & true) / len(true)) == (1.0, 1.0)


@pytest.mark.parametrize(
    "sentence",
    [
        "No effusion, cardiomegaly is present.",
        "No effusion and cardiomegaly.",
        "No effusion with atelectasis.",
        "Not without effusion.",
        "Effusion is not absent.",
        "No definite pneumothorax.",
        "Pneumothorax is unlikely.",
        "Possible effusion is not seen.",
        "No effusion is likely.",
    ],
)
def test_what_can_be_read_in_two_ways_is_marked_uncertain_to_the_reader(sentence: str) -> None:
    assert not all(mention.certain for mention in mentions(sentence, LEXICON))


def test_a_finding_outside_the_vocabulary_is_known_as_such() -> None:
    found = mentions("There is a rib fracture and a granuloma.", LEXICON)
    assert [(m.label, m.known) for m in found] == [("fracture", False), ("granuloma", False)]


def test_the_longer_name_wins() -> None:
    both = Lexicon([Term("Pneumonia", "pneumonia"), Term("Bacterial", "bacterial pneumonia")])
    assert [m.label for m in mentions("Bacterial pneumonia.", both)] == ["Bacterial"]


def test_headings_bullets_and_decimals_do_not_disturb_sentences() -> None:
    assert sentences("Findings: No mass.\n- Effusion of 3.4 cm.\n2. Edema!") == (
        "No mass.",
        "Effusion of 3.4 cm.",
        "Edema!",
    )


STANDING = {
    (P, "There is pleural effusion."): None,
    (P, "Possible pleural effusion."): Violation.UNDERSTATED,
    (P, "There is no pleural effusion."): Violation.DENIED,
    (U, "There is pleural effusion."): Violation.OVERSTATED,
    (U, "Possible pleural effusion."): None,
    (U, "There is no pleural effusion."): Violation.PLAYED_DOWN,
    (A, "There is pleural effusion."): Violation.INVENTED,
    (A, "Possible pleural effusion."): Violation.INVENTED,
    (A, "There is no pleural effusion."): None,
}


@pytest.mark.parametrize(("held", "sentence"), STANDING)
def test_a_sentence_stands_only_if_it_says_what_the_specialists_hold(held: Presence, sentence: str) -> None:
    expected = STANDING[held, sentence]
    assert violations(sentence, Effusion=held) == ({expected} if expected else set())


@pytest.mark.parametrize("probability", [0.0, 0.049, 0.05, 0.21])
def test_gate_and_wording_deny_a_finding_by_name_by_one_rule(probability: float) -> None:
    held = [replace(opinion("Effusion", A), probability=probability, absent_below=0.211)]
    positions = positions_of(held)
    judged = Gate(positions, tuple(WORDS), frozenset()).report(answered("There is no pleural effusion."))
    deniable = probability < DENIED_BELOW
    assert positions["Effusion"].presence is A
    assert {breach.violation for breach in judged.breaches} == (set() if deniable else {Violation.RULED_OUT})
    assert bool(judged.statements) == bool(finding_statements(positions)) == deniable


def test_what_one_specialist_holds_improbable_and_another_does_not_is_not_denied() -> None:
    held = [opinion("Mass", A), replace(opinion("Mass", A, "second"), probability=0.08)]
    judged = Gate(positions_of(held), tuple(WORDS), frozenset()).report(answered("There is no lung mass."))
    assert [breach.objection.reason for breach in judged.breaches] == [
        "rules out what the specialists hold absent but not improbable (Mass)"
    ]


def test_what_only_a_similar_case_shows_is_called_a_leak() -> None:
    assert violations("There is a lung mass.", recalled=("Mass",), Mass=A) == {Violation.LEAKED}
    assert violations("There is a lung mass.", recalled=("Mass",)) == {Violation.LEAKED}


def test_what_no_opinion_covers_may_be_neither_stated_nor_denied() -> None:
    assert violations("There is a lung mass.") == {Violation.UNSUPPORTED}
    assert violations("There is no lung mass.") == {Violation.UNSUPPORTED}


def test_a_present_finding_that_is_left_out_is_a_violation() -> None:
    assert violations("There is no pneumothorax.", Effusion=P, Pneumothorax=A) == {Violation.OMITTED}


def test_calling_the_chest_normal_denies_what_is_present() -> None:
    assert violations("Normal chest.", Effusion=P) == {Violation.SWEEPING, Violation.DENIED}
    assert violations("Normal chest.", Effusion=U) == {Violation.SWEEPING, Violation.PLAYED_DOWN}
    assert violations("The lungs are clear.", Effusion=A) == {Violation.SWEEPING}


def test_a_finding_that_no_specialist_judges_is_refused() -> None:
    assert violations("There is a rib fracture.") == {Violation.OUTSIDE}


@pytest.mark.parametrize(
    "sentence",
    [
        "There is a 3 cm pleural effusion.",
        "There is a left pleural effusion.",
        "There is a small pleural effusion.",
        "There is pleural effusion since 12.03.2024.",
        "The pleural effusion is unchanged.",
        "There is a new pleural effusion.",
        "Pleural effusion; drainage is recommended.",
        "The patient has pleural effusion.",
        "Dr. Smith saw pleural effusion.",
        "There is pleural effusion in both lungs.",
        "There is pleural effusion caused by trauma to the spleen.",
        "There is pleural effusion, see www.example.org.",
        "\u25c6 and pleural effusion are present.",
    ],
)
def test_no_detail_stands_that_no_source_gave(sentence: str) -> None:
    assert Violation.FORM in violations(sentence, Effusion=P)


def test_a_cut_an_empty_and_a_looping_answer_are_blocked() -> None:
    judge = gate(Effusion=P)
    good = "There is pleural effusion."
    assert not judge.report(answered(good)).blocked
    assert judge.report(answered(good, finished=False)).blocked
    assert judge.report(answered(" ")).blocked
    assert judge.report(answered(" ".join([good] * 3))).blocked


def test_repeated_runs_of_words_are_noticed() -> None:
    assert repeats("the lungs show a pattern of the lungs show a pattern of the lungs show a pattern of")
    assert not repeats("There is pleural effusion. There is no pneumothorax. Possible atelectasis.")


def test_every_plain_form_is_read_as_it_was_meant() -> None:
    """What the gate accepts as plain must mean to the labeller what the form means to a reader."""
    forms = {
        P: ("There is {0}.", "{0} is present.", "There is evidence of {0} and {1}.", "{0}, {1} and {2} are seen."),
        A: ("There is no {0}.", "No {0}, {1} or {2} is seen.", "{0} is not seen.", "No {0} and no {1}.", "{0} or {1} is absent."),
        U: ("Possible {0}.", "There is possible {0} or {1}.", "{0} is likely.", "{0} and {1} cannot be excluded."),
    }  # fmt: skip
    for presence, names in itertools.product(forms, itertools.combinations(WORDS.values(), 3)):
        for form in forms[presence]:
            sentence = form.format(*names)
            held = {label: presence for label, words in WORDS.items() if words in sentence}
            assert violations(sentence, (), **held) == set(), sentence


@pytest.mark.parametrize(
    ("text", "single", "named"),
    [
        ("Effusion", True, ("Effusion",)),
        ("'Effusion'.", True, ("Effusion",)),
        ("effusion, Mass", False, ("Effusion", "Mass")),
    ],
)
def test_an_answer_made_of_options_is_read(text: str, single: bool, named: tuple[str, ...]) -> None:
    assert chosen(text, tuple(WORDS), single=single) == named


@pytest.mark.parametrize(
    "text", ["", "Effusion Mass", "The diagnosis is Effusion", "Effusions", "Flu", "Effusion,", "Mass,Mass"]
)
def test_an_answer_outside_the_options_is_never_guessed(text: str) -> None:
    with pytest.raises(NotAnOptionError):
        chosen(text, tuple(WORDS), single=False)


def test_one_option_means_one() -> None:
    with pytest.raises(NotAnOptionError):
        chosen("Effusion,Mass", tuple(WORDS), single=True)


def test_specialists_that_contradict_each_other_make_a_finding_uncertain() -> None:
    position = positions_of([opinion("Mass", P, "a"), opinion("Mass", A, "b")])["Mass"]
    assert (position.presence, position.disputed) == (U, True)


def test_the_wording_follows_the_order_of_a_report_and_names_its_basis() -> None:
    held = {
        "Cardiomegaly": P,
        "Effusion": P,
        "Consolidation": P,
        "Pneumonia": U,
        "Pneumothorax": A,
        "Mass": A,
    }
    positions = positions_of(opinion(label, presence) for label, presence in held.items())
    assert [statement.text for statement in finding_statements(positions)] == [
        "Consolidation is present; the specialist's estimate is 80 %.",
        "Pleural effusion is present; the specialist's estimate is 80 %.",
        "Cardiomegaly is present; the specialist's estimate is 80 %.",
        "Possible pneumonia; the specialist's estimate is 30 %.",
        "No pneumothorax or lung mass identified.",
    ]
    assert finding_statements(positions)[0].basis == ("chest 0.80 (present from 0.50)",)
    assert [statement.text for statement in impression(positions)] == [
        "Consolidation, pleural effusion and cardiomegaly.",
        "Possible pneumonia.",
    ]


def test_nothing_found_is_not_called_normal() -> None:
    positions = positions_of(opinion(label, A) for label in WORDS)
    assert [s.text for s in impression(positions)] == [
        "None of the 8 assessed findings reaches its threshold."
    ]
    doubted = positions_of([opinion("Mass", A), opinion("No Finding", A)])
    assert "only 2 %" in impression(doubted)[0].text
    assert impression(positions_of([]))[0].text == "No finding was assessed."


def test_a_percentage_never_claims_certainty() -> None:
    assert [percent(p) for p in (0.0, 0.344, 1.0)] == ["below 1 %", "34 %", "above 99 %"]


# Label here -> label of the collection of reports.
IN_REPORTS = (
    "Effusion",
    "Cardiomegaly",
    "Pneumothorax",
    "Atelectasis",
    "Consolidation",
    "Pneumonia",
    "Nodule",
)


def test_the_labeller_agrees_with_the_indexed_findings_of_real_reports(shared_data: Path) -> None:
    """568 reports that no rule was made on; indexers labelled whole reports, doubtful findings now and then as well."""
    lines = (shared_data / "reports_openi" / "reports.jsonl").read_text(encoding="utf-8").splitlines()
    reports = [report for line in lines if (report := json.loads(line))["split"] == "test"]
    stated = indexed = right = found = 0
    for report in reports:
        text = f"{report['findings']}\n{report['impression']}"
        said = {(m.label, m.presence) for s in sentences(text) for m in mentions(s, LEXICON)}
        for label in IN_REPORTS:
            true = label in report["labels"]
            states = (label, P) in said
            stated, right = stated + states, right + (states and true)
            voiced = states or (label, U) in said
            indexed, found = indexed + true, found + (voiced and true)
    assert right / stated > 0.85
    assert found / indexed > 0.8
