"""What a data set is and what it gives: cases with images, a task and the truth."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from gsco_pacs.ports import Picture

Split = Literal["train", "val", "test"]


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
    """Diagnosis: those of ``options`` that are true; () of a multi-label set without a word for normal."""
    question: str = ""
    answer: str = ""
    """Question: the right answer (one of ``options``, if there are any)."""
    reference: str = ""
    """Report: what the radiologist wrote."""

    @property
    def closed(self) -> bool:
        """Whether a question is answered by yes, no or a choice."""
        return bool(self.options) or self.answer.casefold() in ("yes", "no")


class Reader(Protocol):
    """Reads a data set's split from its folder (or file) as a stream; ConfigError says which file was expected where."""

    def __call__(self, path: Path, split: Split) -> Iterator[EvaluationCase]:
        """The cases, always in the same order."""


@dataclass(frozen=True)
class DataSet:
    """A data set's entry in the registry: how it is read, and what a reader of its figures must know."""

    name: str
    title: str
    task: Task
    modality: str
    seen_by_meddr: bool | None
    """Whether MedDr was trained on its training split (ID in the paper, else OOD); None if the paper hasn't got it."""
    layout: str
    """The files that are expected below the given path."""
    split: str
    """Whose split it is."""
    source: str
    """Where the layout is described."""
    read: Reader | Callable[[Path, Split], Iterator[EvaluationCase]]
    options: tuple[str, ...] = ()
    single: bool = True
    prompt: str = ""
    """The paper's prompt for the generalist alone, where one is published; `$question` stands for the question."""
    tested_on: Literal["real data", "layout only"] = "layout only"
