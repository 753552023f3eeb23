"""Opinions, similar cases and generalists with a script, for tests of briefing, gate and drafting."""

from collections.abc import Iterable, Mapping, Sequence

from gsco_pacs.domain.findings import (
    Answer,
    Briefing,
    Code,
    Consultation,
    Finding,
    ModelIdentity,
    Opinion,
    Presence,
    SimilarCase,
)
from gsco_pacs.ports import Picture

WORDS = {
    "Effusion": "pleural effusion",
    "Pneumothorax": "pneumothorax",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Pneumonia": "pneumonia",
    "Atelectasis": "atelectasis",
    "Mass": "lung mass",
    "Nodule": "lung nodule",
}
PROBABILITY = {Presence.PRESENT: 0.8, Presence.UNCERTAIN: 0.3, Presence.ABSENT: 0.02}
NO_FINDING = "No Finding"


def finding(label: str) -> Finding:
    return Finding(
        label, WORDS.get(label, "no abnormality"), Code("1", "99TEST", label), normal=label == NO_FINDING
    )


FINDINGS = tuple(finding(label) for label in (*WORDS, NO_FINDING))


def opinion(label: str, presence: Presence, specialist: str = "chest") -> Opinion:
    return Opinion(specialist, finding(label), PROBABILITY[presence], 0.1, 0.5, "1.2.3")


def consultation(
    held: Mapping[str, Presence], recalled: Iterable[Sequence[str]] = (), others: Iterable[Opinion] = ()
) -> Consultation:
    """What a specialist called "chest" holds, the labels of each similar case, and opinions of other specialists."""
    cases = tuple(
        SimilarCase("chest", f"case-{rank}", tuple(labels), 0.9 - rank / 100, "1.2.3")
        for rank, labels in enumerate(recalled)
    )
    opinions = (*(opinion(label, presence) for label, presence in held.items()), *others)
    return Consultation((), ("1.2.3",), opinions, cases, (), region="chest X-ray")


def answered(text: str, *, finished: bool = True) -> Answer:
    return Answer(text, ScriptedGeneralist.identity, image_seen=True, finished=finished)


class ScriptedGeneralist:
    """Says its lines one after the other, the last one again and again, and keeps the prompts that it was given."""

    identity = ModelIdentity("scripted", "1", "0" * 64)

    def __init__(self, *lines: str | Answer) -> None:
        self.lines = [line if isinstance(line, Answer) else answered(line) for line in lines]
        self.prompts: list[str] = []

    def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
        self.prompts.append(briefing.prompt)
        return self.lines[min(len(self.prompts), len(self.lines)) - 1]
