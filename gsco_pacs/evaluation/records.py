"""What a run keeps: its cases, what the specialists said about each, and every answer, one JSON line each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from gsco_pacs.datasets.cases import EvaluationCase, Task
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.domain.findings import Consultation, Mode

Record = TypeVar("Record")


@dataclass(frozen=True)
class Variant:
    """How a case is put to the generalist."""

    mode: Mode
    template: str = ""
    similar: int = 10
    """How many similar cases are recalled."""
    members: int = 0
    """How many of the specialists' members are asked; 0 = all."""
    corrupted: int = 0
    """Per cent of the cases whose opinions are exchanged for those on a case with another truth."""
    labels_only: bool = False
    """Whether each member's probabilities are replaced by certainty in its own diagnosis."""

    @property
    def name(self) -> str:
        """Such as "moed+rad, gsco, 3 similar cases"."""
        parts = [str(self.mode), self.template]
        parts += [f"{self.similar} similar cases"] if self.similar != 10 else []
        parts += [f"{self.members} members"] if self.members else []
        parts += [f"{self.corrupted} % corrupted"] if self.corrupted else []
        parts += ["labels only"] if self.labels_only else []
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class CaseRecord:
    """A case without its images."""

    id: str
    """Unique in the run: data set, split and key."""
    dataset: str
    split: str
    group: str
    task: Task
    single: bool
    options: tuple[str, ...] = ()
    truth: tuple[str, ...] = ()
    normal: str = ""
    question: str = ""
    answer: str = ""
    also_right: tuple[str, ...] = ()
    closed: bool = False
    reference: str = ""


@dataclass(frozen=True)
class ConsultationRecord:
    """What the specialists said about a case; it holds as long as the bundles have the same hashes."""

    case: str
    bundles: tuple[str, ...]
    consultation: Consultation
    seconds: float
    failure: str = ""
    """Why the images could not be read, so that nobody was asked; "" if they could."""


@dataclass(frozen=True)
class AnswerRecord:
    """What the generalist said, what was read in it, and what it cost; retries are counted in."""

    case: str
    variant: Variant
    prompt_sha256: str
    text: str
    labels: tuple[str, ...]
    failure: str
    """Why the answer counts as wrong whatever the truth is; "" if it could be read."""
    calls: int
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    consultation_sha256: str = ""
    """Of the consultation that a report was drafted from; "" where the prompt is all that counts."""


@dataclass(frozen=True)
class Generalist:
    """Which generalist answered in a run."""

    name: str
    version: str
    sha256: str
    parameters: int = 0
    """Number of weights; 0 if it is not known."""


class Lines(Generic[Record]):
    """A file of records that only grows; what a killed process left of a last line is cut off."""

    def __init__(self, path: Path, kind: type[Record]) -> None:
        self._path = path
        self._adapter: TypeAdapter[Record] = TypeAdapter(kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend(path)

    def __iter__(self) -> Iterator[Record]:
        """Every record, in the order in which they were added; ConfigError if the file is of another kind."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield self._adapter.validate_json(line)
                except ValidationError as error:
                    raise ConfigError(f"{self._path}: line {number} is not such a record.") from error

    def add(self, record: Record) -> None:
        """Append ``record``; it is in the file when this returns."""
        with self._path.open("ab") as lines:
            lines.write(self._adapter.dump_json(record) + b"\n")


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cases = Lines(path / "cases.jsonl", CaseRecord)
        self.consultations = Lines(path / "consultations.jsonl", ConsultationRecord)
        self.answers = Lines(path / "answers.jsonl", AnswerRecord)
        self.generalists = Lines(path / "generalist.jsonl", Generalist)


def recorded(case: EvaluationCase, split: str) -> CaseRecord:
    """``case`` as a record."""
    return CaseRecord(
        id=f"{case.dataset}|{split}|{case.key}",
        dataset=case.dataset,
        split=split,
        group=case.group,
        task=case.task,
        single=case.single,
        options=case.options,
        truth=case.truth,
        normal=case.normal,
        question=case.question,
        answer=case.answer,
        also_right=case.also_right,
        closed=case.closed,
        reference=case.reference,
    )


def _mend(path: Path) -> None:
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("rb+") as file:
            file.truncate(whole)


def as_json(value: Any) -> Any:
    """``value`` with three decimals, and None where a figure is not defined (JSON has no NaN)."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
