"""What a data set is and what it gives: cases with images, a task and the truth."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol

from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.ports import Picture

Split = Literal["train", "val", "test"]
Standing = Literal["ID", "OOD", "–"]
Assumption = Literal["release", "task", "options", "split", "prompt"]
Tested = Literal["real data", "real content put into this layout", "its own lists, no images", "layout only"]


class Task(StrEnum):
    """What is asked about a case."""

    DIAGNOSIS = "diagnosis"
    REPORT = "report"
    QUESTION = "question"


class Images(Protocol):
    """Images that are read when they are looked at. Implemented by datasets.images."""

    def pictures(self) -> tuple[Picture, ...]:
        """The pictures in the data set's order; `sop_instance_uid` is the image's name in the data set."""


@dataclass(frozen=True)
class EvaluationCase:
    """One thing to ask with its truth; holds no pixels."""

    key: str
    """Unique in the data set and split."""
    dataset: str
    group: str
    """The patient, or the nearest thing to it that the data set tells."""
    images: Images
    task: Task
    examines: str
    """What the images are in the words of a prompt, such as "chest X-ray"."""
    single: bool = True
    """Diagnosis: exactly one option is true. False: any number of them."""
    options: tuple[str, ...] = ()
    """Diagnosis: the closed list. Question: the choices, () if the answer is free."""
    truth: tuple[str, ...] = ()
    """Diagnosis: those of ``options`` that are true."""
    normal: str = ""
    """Diagnosis: the option that says that nothing was found and excludes all others; "" if there is none."""
    question: str = ""
    """Question: as it is asked, with its choices if there are any."""
    answer: str = ""
    """Question: the right answer (one of ``options``, if there are any)."""
    also_right: tuple[str, ...] = ()
    """Question: other answers that the data set takes for right."""
    called_closed: bool | None = None
    """Question: whether the data set itself calls it closed; None if it does not say."""
    reference: str = ""
    """Report: what the radiologist wrote."""
    prompt: str = ""
    """The paper's prompt to the generalist alone, word for word; "" where none is published."""

    @property
    def closed(self) -> bool:
        """Whether the data set calls a question closed; where it does not say, whether it is answered by yes, no or a choice."""
        if self.called_closed is not None:
            return self.called_closed
        return bool(self.options) or self.answer.casefold() in ("yes", "no")


@dataclass(frozen=True)
class DataSet:
    """A data set: how it is read, and what a reader of its figures must know."""

    name: str
    title: str
    task: Task
    modality: str
    examines: str
    """What its images are in the words of a prompt."""
    standing: Standing
    """ID if MedDr was trained on its training split, OOD if not (the paper's words), – if the paper hasn't got it."""
    layout: str
    """The files that are expected below the given path."""
    split: str
    """Whose split it is."""
    source: str
    """Where the layout is described."""
    reader: Callable[["DataSet", Path, Split], Iterator[EvaluationCase]]
    options: tuple[str, ...] = ()
    single: bool = True
    normal: str = ""
    """Multi-label: the option that is true where no other one is."""
    prompt: str = ""
    """The paper's prompt to the generalist alone, where one is published; `$question` stands for the question."""
    tested_on: Tested = "layout only"
    assumed: tuple[Assumption, ...] = ()
    """What is asked here as nothing that the paper published says; () of a set that it hasn't got."""

    def read(self, path: Path, split: Split) -> Iterator[EvaluationCase]:
        """The cases of a split as a stream, always in the same order; ConfigError says which file was expected where."""
        cases = self.reader(self, path, split)
        first = next(cases, None)
        if first is None:
            raise ConfigError(f"{path}: {self.name} has no case in split {split!r}.")
        return chain((first,), cases)

    def diagnosis(self, key: str, group: str, images: Images, truth: Iterable[str]) -> EvaluationCase:
        """A case of a closed list; ConfigError if ``truth`` isn't in it, or isn't one option where it must be."""
        found = set(truth) or ({self.normal} if self.normal else set())
        if unknown := found - set(self.options):
            raise ConfigError(f"{self.name}: {key} has a label that is not expected: {sorted(unknown)}.")
        if self.single and len(found) != 1:
            raise ConfigError(f"{self.name}: {key} has {len(found)} labels; exactly one is expected.")
        true = tuple(option for option in self.options if option in found)
        return EvaluationCase(
            key, self.name, group, images, self.task, self.examines,
            self.single, self.options, true, self.normal, prompt=self.prompt,
        )  # fmt: skip

    def asked(
        self,
        key: str,
        group: str,
        images: Images,
        question: str,
        answer: str,
        *also_right: str,
        closed: bool | None = None,
    ) -> EvaluationCase:
        """A question with a free answer."""
        prompt = self.prompt.replace("$question", question.strip())
        return EvaluationCase(
            key, self.name, group, images, self.task, self.examines,
            question=question.strip(), answer=answer.strip(), also_right=also_right, called_closed=closed,
            prompt=prompt,
        )  # fmt: skip

    def reported(self, key: str, group: str, images: Images, reference: str) -> EvaluationCase:
        """A report to write."""
        return EvaluationCase(
            key, self.name, group, images, self.task, self.examines,
            reference=reference.strip(), prompt=self.prompt,
        )  # fmt: skip
