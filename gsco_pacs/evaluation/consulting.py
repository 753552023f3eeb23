"""Asks the specialists about a case of a data set, and what becomes of their opinions in a variant of the briefing."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from gsco_pacs.datasets.cases import EvaluationCase, Task
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.findings import Code, Consultation, Finding, Opinion
from gsco_pacs.evaluation.records import CaseRecord, ConsultationRecord, RunFolder, Variant
from gsco_pacs.evaluation.vocabulary import in_words_of
from gsco_pacs.grounding.positions import diagnoses
from gsco_pacs.ports import Specialist
from gsco_pacs.steps.consult import consult
from gsco_pacs.steps.recall import recall

MOST_SIMILAR = 20
"""So many similar cases are kept of each specialist; a variant shows the nearest of them."""


def consulted(case: EvaluationCase, id_: str, specialists: Sequence[Specialist]) -> ConsultationRecord:
    """Every opinion and the similar cases of other patients; no opinion at all without specialists.

    A diagnosis is measured on strange images as well. A question's image may show anything: there what is strange to
    one member no later member of its bundle assesses, as in the node. Images that cannot be read are recorded as that.
    """
    strangers = case.task is not Task.QUESTION
    begun = time.perf_counter()
    try:
        pictures = case.images.pictures()
    except BadObjectError as error:
        return unread(id_, error, hashes(specialists))
    sessions = []
    known = {specialist.bundle: tuple(pictures) for specialist in specialists}
    for specialist in specialists:
        if not known[specialist.bundle]:
            continue
        said = consult(specialist, known[specialist.bundle], case.group, strangers=strangers)
        known[specialist.bundle] = tuple(picture for picture, _ in said.looks)
        recalled = recall(specialist, said.looks, k=MOST_SIMILAR, patient_id=case.group)
        sessions.append((said, recalled))
    consultation = Consultation(
        specialists=tuple(specialist.identity for specialist in specialists),
        read=tuple(picture.sop_instance_uid for picture in pictures),
        opinions=tuple(opinion for said, _ in sessions for opinion in said.opinions),
        cases=tuple(similar for _, cases in sessions for similar in cases),
        exclusions=(),
        region=specialists[0].examines if specialists else case.examines,
        familiarity=tuple(said.familiarity for said, _ in sessions if said.familiarity),
    )
    return ConsultationRecord(id_, hashes(specialists), consultation, time.perf_counter() - begun)


def unread(id_: str, error: BadObjectError, bundles: tuple[str, ...] = ()) -> ConsultationRecord:
    """The record of a case whose images cannot be read."""
    return ConsultationRecord(id_, bundles, Consultation((), (), (), (), ()), 0, str(error))


def latest(folder: RunFolder) -> dict[str, ConsultationRecord]:
    """Case -> the last consultation on it, which alone counts."""
    return {record.case: record for record in folder.consultations}


def heard(folder: RunFolder) -> dict[str, ConsultationRecord]:
    """Case -> what counts of it in the words of its options, of all cases whose images could be read."""
    cases = {record.id: record for record in folder.cases}
    return {
        id_: replace(said, consultation=in_words_of(cases[id_], said.consultation))
        for id_, said in latest(folder).items()
        if not said.failure and id_ in cases
    }


def hashes(specialists: Sequence[Specialist]) -> tuple[str, ...]:
    """What tells one set of specialists from another."""
    return tuple(f"{one.identity.name} {one.identity.sha256}" for one in specialists)


def findings_of(case: CaseRecord, consultation: Consultation) -> tuple[Finding, ...]:
    """The findings that an answer may name, in the order of the options; in words of the bundle where it has them."""
    known = {opinion.finding.label: opinion.finding for opinion in consultation.opinions}
    if not case.options:
        return tuple(known.values())
    return tuple(known.get(option) or _unknown(option, case.normal) for option in case.options)


def varied(
    case: CaseRecord,
    variant: Variant,
    consultations: Mapping[str, Consultation],
    others: Sequence[CaseRecord],
) -> Consultation:
    """The consultation on ``case`` as ``variant`` has it; ``others`` are all cases of its data set and split."""
    own = consultations[case.id]
    donor = _donor(case, others) if _is_corrupted(case, variant.corrupted) else None
    opinions = (consultations[donor.id] if donor else own).opinions
    if variant.labels_only:
        opinions = tuple(_certain(opinions))
    names = tuple(dict.fromkeys(opinion.specialist for opinion in opinions))
    asked = names[: variant.members or None]
    ranks: dict[str, int] = {}
    cases = []
    for similar in own.cases:
        ranks[similar.specialist] = ranks.get(similar.specialist, 0) + 1
        if ranks[similar.specialist] <= variant.similar:
            cases.append(similar)
    return replace(own, opinions=tuple(o for o in opinions if o.specialist in asked), cases=tuple(cases))


def shuffled_place(case: CaseRecord, purpose: str) -> str:
    """Orders cases by chance, always in the same way: for samples and exchanges."""
    return hashlib.sha256(f"{purpose}|{case.id}".encode()).hexdigest()


def _certain(opinions: Sequence[Opinion]) -> Iterator[Opinion]:
    """The opinions with nothing left of the probabilities but each member's own diagnosis."""
    held = diagnoses(opinions)
    for opinion in opinions:
        yield replace(opinion, probability=float(opinion in held[opinion.specialist]))


def _is_corrupted(case: CaseRecord, percent: int) -> bool:
    return int(shuffled_place(case, "corrupted")[:8], 16) < percent / 100 * 16**8


def _donor(case: CaseRecord, others: Sequence[CaseRecord]) -> CaseRecord | None:
    """A case with another truth: the next one in an order by chance, so that no case lends its opinions to all."""
    different = [other for other in others if set(other.truth) != set(case.truth)]
    if not different:
        return None
    here = shuffled_place(case, "exchanged")
    return min(different, key=lambda other: ((place := shuffled_place(other, "exchanged")) < here, place))


def _unknown(option: str, normal: str) -> Finding:
    """A finding that no bundle describes: its label is its words."""
    return Finding(option, option, Code(option[:16], "99LOCAL", option[:64]), normal=option == normal)
