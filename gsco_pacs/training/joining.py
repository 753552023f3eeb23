"""Makes one bundle of several that were trained for the same task: each becomes a member with an opinion of its own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gsco_pacs.adapters.bundle_files import VerifiedFiles
from gsco_pacs.adapters.bundle_format import (
    CARD,
    CASES,
    FEATURES,
    INFERENCE,
    LICENCE,
    METADATA,
    TASK,
    CalibrationEntry,
    GscoSection,
    LabelEntry,
    MemberEntry,
    PrepareEntry,
    read_metadata,
)
from gsco_pacs.adapters.bundle_samples import seal
from gsco_pacs.adapters.bundles import load_bundle
from gsco_pacs.adapters.durable_file import write_durably
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.training.bundle_writer import as_json, calibrations_of, renamed
from gsco_pacs.training.task import Task, read_task

_CARRIED = (LICENCE, TASK, CARD)
"""Files of the first bundle that the node does not read but a person does."""

_REPLACED = ("models/model*", "configs/inference*", FEATURES, CASES, *_CARRIED)
"""What an earlier bundle in the same directory may have left, which must not be taken for the new one's."""

_OF_A_TASK = ("title", "region", "modality_phrase", "module", "input", "reading", "pooling")
"""What stands in a task file under the same name as in the `gsco` section."""


@dataclass(frozen=True, eq=False)
class _Member:
    """One network that is taken over."""

    version: str
    section: GscoSection
    inference: bytes
    weights: bytes
    suffix: str
    """Of the weights' file: safetensors, or pt."""

    @property
    def prepare(self) -> PrepareEntry:
        return self.section.prepare

    @property
    def calibrations(self) -> tuple[CalibrationEntry, ...]:
        return calibrations_of(self.section.labels)


def join_bundles(out: Path, bundles: Sequence[Path], task: Path | None = None) -> Path:
    """Write one bundle of all members of ``bundles`` into ``out``; the case index and the model card are the first's.

    With ``task`` (a task file) names, words, codes and the choice of images are its; with one bundle that renames it
    without a new training. Authors, copyright and licence stay the first bundle's. ConfigError if the bundles are not of one task, BrokenBundleError if one cannot be used.
    """
    for bundle in bundles:
        load_bundle(bundle)
    found = [member for bundle in bundles for member in _members(bundle)]
    metadata, first = read_metadata(VerifiedFiles(bundles[0]).read(METADATA))
    wanted = read_task(task) if task else None
    _must_agree(found, wanted)
    section = first.model_copy(update={"members": tuple(_entries(found))})
    if wanted:
        metadata, section = renamed(metadata, wanted), _retitled(section, wanted)
    metadata["gsco"] = section.model_dump(mode="json", by_alias=True)
    contents = dict(_contents(found)) | dict(_kept(bundles[0], section)) | {METADATA: as_json(metadata)}
    if task:
        contents[TASK] = task.read_bytes()
    _replace(out, contents)  # everything has been read: ``out`` may be one of ``bundles``
    return seal(out)


def _replace(out: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_durably(out / name, content)
    before = {path for pattern in _REPLACED for path in out.glob(pattern) if path.is_file()}
    for stale in before - {out / name for name in contents}:
        stale.unlink()


def _members(bundle: Path) -> Iterator[_Member]:
    files = VerifiedFiles(bundle)
    metadata, section = read_metadata(files.read(METADATA))
    yield _Member(
        str(metadata.get("version", "unknown")),
        section.member(1),
        files.read(INFERENCE),
        files.read(files.weights),
        _suffix(files.weights),
    )
    for number, entry in enumerate(section.members, start=2):
        yield _Member(
            entry.version,
            section.member(number),
            files.read(entry.inference),
            files.read(entry.weights),
            _suffix(entry.weights),
        )


def _must_agree(found: Sequence[_Member], wanted: Task | None) -> None:
    if len({member.weights for member in found}) != len(found):
        raise ConfigError(
            "Two of the bundles hold the same weights: a second opinion must be another network's."
        )
    first = found[0].section
    measures = [_measure(member.section, with_words=wanted is None) for member in found]
    if wanted:
        measures.append(
            {"task": wanted.kind, "labels": [entry.label for entry in wanted.labels]}
            | {"normal_label": wanted.normal_label, "outputs": first.outputs}
        )
    differing = [key for key in measures[0] if any(measure[key] != measures[0][key] for measure in measures)]
    if differing:
        raise ConfigError(f"Not one task: {first.title!r} and the others differ in {', '.join(differing)}.")


def _measure(section: GscoSection, *, with_words: bool) -> dict[str, Any]:
    """What members must have in common."""
    bare: dict[str, Any] = {"task": section.task, "labels": [entry.label for entry in section.labels]}
    bare |= {"normal_label": section.normal_label, "outputs": section.outputs}
    if not with_words:
        return bare
    own = set(LabelEntry.model_fields) - set(CalibrationEntry.model_fields)
    words = [entry.model_dump(include=own) for entry in section.labels]
    policy = {"input": section.input, "reading": section.reading, "pooling": section.pooling}
    return bare | policy | {"words and codes": words}


def _entries(found: Sequence[_Member]) -> Iterator[MemberEntry]:
    for number, member in enumerate(found[1:], start=2):
        yield MemberEntry(
            version=member.version,
            inference=_numbered(INFERENCE, number),
            weights=_numbered(f"models/model.{member.suffix}", number),
            prepare=member.prepare,
            labels=member.calibrations,
        )


def _suffix(name: str) -> str:
    return name.rpartition(".")[2]


def _numbered(name: str, number: int) -> str:
    """Such as "models/model.2.safetensors"."""
    stem, _, suffix = name.rpartition(".")
    return name if number == 1 else f"{stem}.{number}.{suffix}"


def _contents(found: Sequence[_Member]) -> Iterator[tuple[str, bytes]]:
    for number, member in enumerate(found, start=1):
        yield _numbered(INFERENCE, number), member.inference
        yield _numbered(f"models/model.{member.suffix}", number), member.weights


def _kept(bundle: Path, section: GscoSection) -> Iterator[tuple[str, bytes]]:
    names = _CARRIED if section.patient_salt is None else (*_CARRIED, FEATURES, CASES)
    for name in names:
        if (bundle / name).is_file():
            yield name, (bundle / name).read_bytes()


def _retitled(section: GscoSection, task: Task) -> GscoSection:
    """``section`` with everything that a task file says; the networks' own numbers stay."""
    labels = (
        LabelEntry.model_validate(entry.model_dump() | words.model_dump())
        for entry, words in zip(section.labels, task.labels, strict=True)
    )
    words = {key: getattr(task, key) for key in _OF_A_TASK}
    return section.model_copy(update={**words, "labels": tuple(labels), "normal_label": task.normal_label})
