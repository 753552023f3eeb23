"""Runs cases through the specialists and the generalist; what is already in the run's folder is not done again."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.datasets.cases import EvaluationCase, Task
from gsco_pacs.domain.errors import BadObjectError, ConfigError
from gsco_pacs.domain.findings import Mode
from gsco_pacs.evaluation.asking import PUBLISHED, Inquiry, asked, inquiry
from gsco_pacs.evaluation.consulting import (
    consulted,
    findings_of,
    hashes,
    heard,
    latest,
    shuffled_place,
    unread,
    varied,
)
from gsco_pacs.evaluation.records import (
    AnswerRecord,
    CaseRecord,
    ConsultationRecord,
    RunFolder,
    Variant,
    recorded,
)
from gsco_pacs.evaluation.spreading import spread
from gsco_pacs.ports import Generalist, Specialist


@dataclass(frozen=True, eq=False)
class Chosen:
    """The cases of one data set and split, with the specialists that are asked about them."""

    split: str
    cases: tuple[EvaluationCase, ...]
    open_specialists: Callable[[], tuple[Specialist, ...]]


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run does."""

    chosen: tuple[Chosen, ...]
    variants: tuple[Variant, ...]
    open_generalist: Callable[[], Generalist]
    per_task: int = 0
    """How many cases of each data set are put to the generalist; 0 = all. The specialists see all of them."""
    jobs: int = 1


def run(plan: Plan, folder: RunFolder, progress: Told) -> None:
    """Consult the specialists on every case, then ask the generalist about each in every variant."""
    records = _record(plan, folder)
    for chosen in plan.chosen:
        _consult(chosen, plan, folder, progress)
    _ask(plan, records, folder, progress)


def _record(plan: Plan, folder: RunFolder) -> dict[str, CaseRecord]:
    known = {record.id: record for record in folder.cases}
    for chosen in plan.chosen:
        for case in chosen.cases:
            record = recorded(case, chosen.split)
            if known.get(record.id) != record:
                folder.cases.add(record)
                known[record.id] = record
    return known


@dataclass(frozen=True, eq=False)
class _Consultant:
    """Opens the specialists where they are needed."""

    open_specialists: Callable[[], tuple[Specialist, ...]]

    def __call__(self) -> Callable[[tuple[str, EvaluationCase]], ConsultationRecord]:
        specialists = self.open_specialists()
        return lambda piece: consulted(piece[1], piece[0], specialists)


@dataclass(frozen=True, eq=False)
class _Asker:
    """Opens the generalist where it is needed."""

    open_generalist: Callable[[], Generalist]

    def __call__(self) -> Callable[[Inquiry], AnswerRecord | ConsultationRecord]:
        generalist = self.open_generalist()

        def ask(piece: Inquiry) -> AnswerRecord | ConsultationRecord:
            try:
                return asked(generalist, piece)
            except BadObjectError as error:  # the images could be read when the specialists were consulted
                return unread(piece.record.id, error)

        return ask


def _consult(chosen: Chosen, plan: Plan, folder: RunFolder, progress: Told) -> None:
    current = hashes(chosen.open_specialists())
    known = latest(folder)
    done = {id_ for id_, record in known.items() if record.bundles == current and not record.failure}
    work = [(recorded(case, chosen.split).id, case) for case in chosen.cases]
    missing = [(id_, case) for id_, case in work if id_ not in done]
    jobs = plan.jobs if len(missing) > 2 * plan.jobs else 1
    found = spread(_Consultant(chosen.open_specialists), missing, jobs) if missing else ()
    for n, record in enumerate(found, start=1):
        progress(n, len(missing), _kept(record, known, folder))


def _ask(plan: Plan, records: dict[str, CaseRecord], folder: RunFolder, progress: Told) -> None:
    answered = {(a.case, a.variant): (a.prompt_sha256, a.consultation_sha256) for a in folder.answers}
    missing = [
        one
        for one in _inquiries(plan, records, folder)
        if answered.get((one.record.id, one.variant)) != (one.prompt_sha256, one.consultation_sha256)
    ]
    known = latest(folder)
    found = spread(_Asker(plan.open_generalist), missing, plan.jobs) if missing else ()
    for n, record in enumerate(found, start=1):
        progress(n, len(missing), _kept(record, known, folder))


def _kept(
    record: AnswerRecord | ConsultationRecord, known: dict[str, ConsultationRecord], folder: RunFolder
) -> str:
    """What is worth telling of ``record``, which is in the folder from now on; a failure that is known stands there."""
    if isinstance(record, AnswerRecord):
        folder.answers.add(record)
        return ""
    if known.get(record.case) != record:
        folder.consultations.add(record)
        known[record.case] = record
    return f"{record.case} could not be read: {record.failure}" if record.failure else ""


def _inquiries(plan: Plan, records: dict[str, CaseRecord], folder: RunFolder) -> Iterator[Inquiry]:
    consultations = {case: record.consultation for case, record in heard(folder).items()}
    for chosen in plan.chosen:
        named = [(recorded(case, chosen.split).id, case) for case in chosen.cases]
        own = [(records[id_], case) for id_, case in named if id_ in consultations]
        everyone = [record for record, _ in own]
        for record, case in _sample(own, plan.per_task):
            for variant in _variants(plan.variants, record.task):
                told = varied(record, variant, consultations, everyone)
                yield inquiry(record, case, variant, findings_of(record, told), told)


def _variants(variants: Sequence[Variant], task: Task) -> Sequence[Variant]:
    """What is put to the generalist; reports are worded without it, too.

    Reports and questions have one prompt of ours, and the published one where the generalist is alone.
    """
    asked = [v for v in variants if v.mode is not Mode.SPECIALISTS or task is Task.REPORT]
    if task is Task.DIAGNOSIS:
        return asked
    kept = [v.template if v.mode is Mode.GENERALIST and v.template == PUBLISHED else "" for v in asked]
    return list(dict.fromkeys(replace(v, template=name) for v, name in zip(asked, kept, strict=True)))


def _sample(
    cases: Sequence[tuple[CaseRecord, EvaluationCase]], number: int
) -> Sequence[tuple[CaseRecord, EvaluationCase]]:
    """Always the same ``number`` of them, drawn by chance; all if it is 0."""
    if not number:
        return cases
    return sorted(cases, key=lambda pair: shuffled_place(pair[0], "sample"))[:number]


def must_be_the_same(folder: RunFolder, name: str, sha256: str) -> bool:
    """Whether the run already knows its generalist; ConfigError if another one answered in it."""
    before = list(folder.generalists)
    if before and (before[0].name, before[0].sha256) != (name, sha256):
        raise ConfigError(f"{folder.path}: {before[0].name} answered in this run; give another folder.")
    return bool(before)
