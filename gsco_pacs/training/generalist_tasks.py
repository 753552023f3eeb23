"""What the small generalist learns from: diagnosed images, what specialists say of others like them, and questions."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from gsco_pacs.adapters.bundles import BundleSpecialist, load_bundle
from gsco_pacs.adapters.labelled_images import LabelledImage, read_images, read_pixels
from gsco_pacs.adapters.progress_bar import Told
from gsco_pacs.domain.findings import Consultation, Finding, Opinion, SimilarCase
from gsco_pacs.ports import Picture
from gsco_pacs.steps.consult import consult
from gsco_pacs.steps.recall import recall

RECALLED = 20
_THIRDS = 3


@dataclass(frozen=True)
class Heard:
    """What all members of a bundle say of one image, and the cases that they recall."""

    opinions: tuple[Opinion, ...]
    cases: tuple[SimilarCase, ...]

    def by(self, members: Sequence[str], k: int) -> "Heard":
        """The same of ``members`` alone, with the ``k`` nearest cases."""
        kept = tuple(opinion for opinion in self.opinions if opinion.specialist in members)
        return replace(self, opinions=kept, cases=self.cases[:k])

    @property
    def members(self) -> tuple[str, ...]:
        """Who spoke."""
        return tuple(dict.fromkeys(opinion.specialist for opinion in self.opinions))


@dataclass(frozen=True)
class Known:
    """An image of the validation split, which no specialist has learnt from, and what is said of it."""

    image: LabelledImage
    heard: Heard


@dataclass(frozen=True)
class DiagnosisTask:
    """One bundle's task: images of the split train, and those of val in two parts that share no patient."""

    module: str
    examines: str
    findings: tuple[Finding, ...]
    single: bool
    train: tuple[LabelledImage, ...]
    donors: tuple[Known, ...]
    """Two thirds of val: their opinions and cases are lent to training images of the same labels."""
    held_aside: tuple[Known, ...]
    """One third of val, for choosing: never lent."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The options."""
        return tuple(finding.label for finding in self.findings)

    @property
    def normal(self) -> str:
        """The option that says that nothing was found; empty if there is none."""
        return next((finding.label for finding in self.findings if finding.normal), "")

    def consultation(self, heard: Heard) -> Consultation:
        """``heard`` in the form that the node briefs a generalist from."""
        return Consultation((), (), heard.opinions, heard.cases, (), region=self.examines)


@dataclass(frozen=True)
class Question:
    """One question about an image, and the answer."""

    image: Path
    question: str
    answer: str


def read_diagnosis_task(bundle: Path, manifest: Path, cache: Path, progress: Told) -> DiagnosisTask:
    """The task of ``bundle``; what its members say of val is worked out once and kept in ``cache``."""
    members = load_bundle(bundle)
    section = members[0].section
    labels = [entry.label for entry in section.labels]
    val = read_images(manifest, section.module, "val", labels)
    digest = hashlib.sha256("".join(member.identity.sha256 for member in members).encode()).hexdigest()
    kept = cache / f"heard-{section.module}-{digest[:12]}.json"
    adapter = TypeAdapter(tuple[Heard, ...])
    if not kept.is_file():
        heard = []
        for number, image in enumerate(val, start=1):
            heard.append(_heard(members, image))
            progress(number, len(val), "")
        cache.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(adapter.dump_json(tuple(heard)))
    said = adapter.validate_json(kept.read_bytes())
    known = [Known(image, heard) for image, heard in zip(val, said, strict=True)]
    return DiagnosisTask(
        module=section.module,
        examines=section.modality_phrase,
        findings=members[0].findings,
        single=section.task == "multi-class",
        train=read_images(manifest, section.module, "train", labels),
        donors=tuple(one for one in known if not is_held_aside(one.image.group)),
        held_aside=tuple(one for one in known if is_held_aside(one.image.group)),
    )


def is_held_aside(group: str) -> bool:
    """Whether a patient of val belongs to the third that is only for choosing."""
    return hashlib.sha256(group.encode()).digest()[0] % _THIRDS == 0


def read_questions(answers: Path, images: Mapping[str, Path]) -> Iterator[Question]:
    """The questions in ``answers`` (JSON: file name -> list of q and a) about ``images`` (file name -> path)."""
    for name, asked in json.loads(answers.read_text(encoding="utf-8")).items():
        if name in images:
            yield from (Question(images[name], one["q"], str(one["a"])) for one in asked)


def _heard(members: Sequence[BundleSpecialist], image: LabelledImage) -> Heard:
    consulted = [
        consult(member, [Picture("", read_pixels(image.path, member.colours))], image.group, strangers=True)
        for member in members
    ]
    cases = [
        case
        for member, one in zip(members, consulted, strict=True)
        for case in recall(member, one.looks, k=RECALLED, patient_id=image.group)
    ]
    return Heard(tuple(opinion for one in consulted for opinion in one.opinions), tuple(cases))
