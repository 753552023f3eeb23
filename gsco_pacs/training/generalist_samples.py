"""Draws what the small generalist is taught with: prompts as the node writes them, and the right answers.

The specialists have learnt from the training images, so what they say of those is better than what they will say of
a patient. A training image is therefore told what they say of a validation image with the same labels.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path

from gsco_pacs.adapters.labelled_images import LabelledImage
from gsco_pacs.domain.findings import Briefing, Consultation, Finding, Mode, Opinion, Presence
from gsco_pacs.grounding.positions import assessed, positions_of
from gsco_pacs.steps.brief import brief
from gsco_pacs.training.generalist_tasks import DiagnosisTask, Heard, Known, Question

MODES = {Mode.MOED_RAD: 0.45, Mode.MOED: 0.2, Mode.RAD: 0.15, Mode.GENERALIST: 0.2}
CORRUPTED, FEWER, BLIND, SHUFFLED = 0.1, 0.3, 0.05, 0.4
"""Shares of samples with foreign opinions or cases, with fewer members or cases, without a picture, with options in
any order."""
SEVERAL = 0.5
"""How often a task with several labels is drawn, beside one with one label: its prompts teach all labels at once."""
NEGATIVES = 2
_JITTER = 0.3


@dataclass(frozen=True)
class Sample:
    """A prompt and what should be answered; ``options`` empty: ``answer`` is a text, else the labels that apply."""

    image: Path | None
    prompt: str
    answer: tuple[str, ...]
    options: tuple[str, ...] = ()
    single: bool = True


@dataclass(frozen=True)
class Mixture:
    """How often each kind of prompt is drawn."""

    options: float = 0.6
    published: float = 0.24
    """There the language model decides alone; in ``options`` the arbiter makes up for what it has not learnt."""
    report: float = 0.08
    question: float = 0.08


class Sampler:
    """An endless row of samples that follows from the seed alone."""

    def __init__(
        self, tasks: Sequence[DiagnosisTask], questions: Sequence[Question], mixture: Mixture, seed: int
    ) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._tasks, self._questions, self._mixture = tuple(tasks), tuple(questions), mixture
        self._classes = {task.module: _by_class(task) for task in tasks}

    def __iter__(self) -> Iterator[Sample]:
        kinds = {
            "options": self._mixture.options,
            "gsco": self._mixture.published,
            "briefed": self._mixture.report,
        }
        if self._questions:
            kinds["question"] = self._mixture.question
        while True:
            kind = self._drawn(kinds)
            yield self._asked() if kind == "question" else self._diagnosis(kind)

    def _drawn(self, weights: Mapping[str, float]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]

    def _asked(self) -> Sample:
        question = self._random.choice(self._questions)
        return Sample(question.image, asked(question.question), (question.answer,))

    def _diagnosis(self, kind: str) -> Sample:
        task = self._random.choices(self._tasks, [1.0 if task.single else SEVERAL for task in self._tasks])[0]
        image = self._image(task)
        heard = self._told(task, image)
        mode = self._random.choices(list(MODES), list(MODES.values()))[0]
        template = kind if kind == "briefed" or not task.single else f"{kind}-single"
        briefing = brief(task.consultation(heard), self._ordered(task), mode, template)
        shown = None if self._random.random() < BLIND and mode is not Mode.GENERALIST else image.path
        if kind == "briefed":
            text = report(task, image, heard, mode)
            # Where all is below its threshold and nothing deniable there is nothing to write: another one is drawn.
            return Sample(shown, briefing.prompt, (text,)) if text else self._diagnosis(kind)
        if kind == "options":
            return Sample(shown, briefing.prompt, image.labels, briefing.options, task.single)
        return Sample(shown, briefing.prompt, (",".join(_in_order(briefing, image)),))

    def _ordered(self, task: DiagnosisTask) -> tuple[Finding, ...]:
        """The options by name, as evaluations list them, or now and then in any order: their places must not matter."""
        findings = sorted(task.findings, key=lambda finding: finding.label)
        if self._random.random() < SHUFFLED:
            self._random.shuffle(findings)
        return tuple(findings)

    def _image(self, task: DiagnosisTask) -> LabelledImage:
        """A training image; a class with four times the images is drawn twice as often."""
        classes = self._classes[task.module]
        found = self._random.choices(list(classes), [len(images) ** 0.5 for images in classes.values()])[0]
        return self._random.choice(classes[found])

    def _told(self, task: DiagnosisTask, image: LabelledImage) -> Heard:
        """What the specialists say of a donor with the image's labels, now and then of another, shaken a little."""
        donor = self._random.choice(alike(task.donors, image.labels))
        heard = donor.heard
        if self._random.random() < CORRUPTED:
            foreign = self._random.choice(task.donors).heard
            heard = replace(heard, opinions=foreign.opinions) if self._random.random() < 0.5 else replace(
                heard, cases=foreign.cases)  # fmt: skip
        members, k = heard.members, 10
        if self._random.random() < FEWER:
            members = tuple(self._random.sample(members, self._random.randint(1, len(members))))
            k = self._random.choice((1, 3, 5, 20))
        heard = heard.by(members, k)
        return replace(heard, opinions=tuple(self._shaken(opinion) for opinion in heard.opinions))

    def _shaken(self, opinion: Opinion) -> Opinion:
        p = min(max(opinion.probability, 1e-4), 1 - 1e-4)
        odds = log(p / (1 - p)) + self._random.gauss(0, _JITTER)
        return replace(opinion, probability=1 / (1 + exp(-odds)))


def alike(donors: Sequence[Known], labels: Sequence[str]) -> list[Known]:
    """The donors whose labels are most like ``labels`` (Jaccard): where one label applies, those of the same class."""
    wanted = set(labels)
    likeness = [len(wanted & set(one.image.labels)) / len(wanted | set(one.image.labels)) for one in donors]
    best = max(likeness)
    return [one for one, like in zip(donors, likeness, strict=True) if like == best]


def asked(question: str) -> str:
    """The prompt for ``question`` where nothing is known of the image, as the node writes it."""
    nothing = Consultation((), (), (), (), ())
    return brief(nothing, (), Mode.GENERALIST, "question-briefed", question=question).prompt


def report(task: DiagnosisTask, image: LabelledImage, heard: Heard, mode: Mode) -> str:
    """The sentences that the gate lets stand: what the opinions hold if they are shown, else what is true.

    Like any report it denies only what is deniable: a finding below its threshold may go unsaid.
    """
    if mode.opinions_shown:
        positions = positions_of(heard.opinions)
        held = {presence: [p.finding.text for p in assessed(positions, presence)] for presence in Presence}
        held[Presence.ABSENT] = [p.finding.text for p in assessed(positions) if p.deniable]
    else:
        named = [f for f in task.findings if not f.normal]
        held = {Presence.PRESENT: [f.text for f in named if f.label in image.labels], Presence.UNCERTAIN: []}
        held[Presence.ABSENT] = [f.text for f in named if f.label not in image.labels]
    return " ".join(
        [f"There is {words}." for words in held[Presence.PRESENT]]
        + [f"Possible {words}." for words in held[Presence.UNCERTAIN]]
        + [f"There is no {words}." for words in held[Presence.ABSENT][:NEGATIVES]]
    )


def _by_class(task: DiagnosisTask) -> dict[str, list[LabelledImage]]:
    """Label -> the training images with it."""
    found = {label: [image for image in task.train if label in image.labels] for label in task.labels}
    return {label: images for label, images in found.items() if images}


def _in_order(briefing: Briefing, image: LabelledImage) -> list[str]:
    return [option for option in briefing.options if option in image.labels]
