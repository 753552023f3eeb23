"""The draft that a person reads: TID 2000 in an Enhanced SR, findings and impression first, then what they rest on."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from highdicom.sr import ContainerContentItem, ContentItem

from gsco_pacs.domain.findings import (
    Code,
    Mode,
    ModelIdentity,
    ObjectKind,
    Opinion,
    Presence,
    Statement,
    percent,
)
from gsco_pacs.sr import codes
from gsco_pacs.sr.equipment import SERIES_NUMBER
from gsco_pacs.sr.material import Material
from gsco_pacs.sr.tree import container, context, root, text
from gsco_pacs.sr.wording import NO_PROOF, WARNING, counted, plain

_NAMED = 5
"""So many images are named one by one; more are counted."""
_TOLD = {
    Mode.SPECIALISTS: "nothing, since it is not asked",
    Mode.GENERALIST: "nothing of the specialists",
    Mode.MOED: "the specialists' opinions",
    Mode.RAD: "the similar cases",
    Mode.MOED_RAD: "the specialists' opinions and the similar cases",
}


def narrative(material: Material) -> ContainerContentItem:
    """The content tree of the narrative report (PS3.16 TID 2000; no NUM, no IMAGE, which its text views cannot show)."""
    draft = material.draft
    compared = [text(codes.PREVIOUS_FINDING, line) for line in material.compared]
    sections = (
        container(codes.PROCEDURE_DESCRIPTIONS, _descriptions(material)),
        container(codes.FINDINGS, _statements(material, codes.FINDING, draft.findings)),
        *([container(codes.PREVIOUS_FINDINGS, compared)] if compared else ()),
        container(codes.IMPRESSIONS, _statements(material, codes.IMPRESSION, draft.impression)),
        container(codes.BASIS, basis(material)),
    )
    return root(codes.REPORT_TITLE, "2000", (*context(material), *sections))


def _descriptions(material: Material) -> Iterator[ContentItem]:
    yield text(codes.PROCEDURE_DESCRIPTION, WARNING)
    if material.failures:
        reasons = "; ".join(f"{material.subject(e)}: {e.reason}" for e in material.failures)
        yield text(
            codes.PROCEDURE_DESCRIPTION, f"PARTIAL: something that belongs to this draft failed. {reasons}"
        )
    if material.study.incomplete:
        yield text(codes.PROCEDURE_DESCRIPTION, f"INCOMPLETE STUDY: {material.study.incomplete}")
    read, held = len(material.consultation.read), len(material.study.instances)
    examined = material.consultation.region or "Study"
    yield text(codes.PROCEDURE_DESCRIPTION, f"{examined}: {read} of {counted(held, 'image')} read.")
    for line in material.consultation.reading:
        yield text(codes.PROCEDURE_DESCRIPTION, line)
    if material.predecessors:
        yield text(codes.PROCEDURE_DESCRIPTION, "This draft replaces an earlier one of the same study.")


def _statements(material: Material, name: Code, statements: Sequence[Statement]) -> Iterator[ContentItem]:
    """One TEXT for each statement, with what it rests on beside the opinions: those stand in the last section."""
    specialists = tuple(f"{model.name} " for model in material.consultation.specialists)
    if not statements:
        yield text(name, "None stated.")
    for statement in statements:
        others = [line for line in statement.basis if not line.startswith(specialists)]
        yield text(name, plain(statement.text) + (f" [{', '.join(others)}]" if others else ""))


def basis(material: Material) -> Iterator[ContentItem]:
    """What a document rests on: opinions, disagreements, similar cases, images, models."""
    draft = material.draft
    for line in _opinions(material.consultation.opinions):
        yield text(codes.OPINION, line)
    for line in _shown(material):
        yield text(codes.VISUAL_EXPLANATION, line)
    for line in _outlined(material):
        yield text(codes.SEGMENTATION, line)
    for line in draft.disagreements:
        yield text(codes.DISAGREEMENT, line)
    for objection in draft.objections:
        yield text(codes.OBJECTION, f'"{objection.sentence}" - {objection.reason}')
    for line in _cases(material):
        yield text(codes.SIMILAR_CASES, line)
    read = [material.image_name(uid) for uid in dict.fromkeys(material.consultation.read)]
    yield text(codes.IMAGES_READ, _listed(read) or "none")
    for line in _not_read(material):
        yield text(codes.NOT_READ, line)
    for line in _provenance(material):
        yield text(codes.PROVENANCE, line)


def _opinions(opinions: Iterable[Opinion]) -> Iterator[str]:
    """One line for each finding that is present or uncertain, one for all that a specialist holds absent."""
    by_specialist: dict[str, list[Opinion]] = defaultdict(list)
    for opinion in opinions:
        by_specialist[opinion.specialist].append(opinion)
    for specialist, own in by_specialist.items():
        ranked = sorted(own, key=lambda opinion: -opinion.probability)
        for opinion in (o for o in ranked if o.presence is not Presence.ABSENT):
            yield f"{specialist}: {opinion.finding.text} {percent(opinion.probability)} ({_threshold(opinion)})"
        absent = [
            f"{o.finding.text} {percent(o.probability)}" for o in ranked if o.presence is Presence.ABSENT
        ]
        if absent:
            yield f"{specialist}, below the threshold: {', '.join(absent)}"


def _shown(material: Material) -> Iterator[str]:
    """Where to find what shows where a specialist looked."""
    consultation = material.consultation
    for opinion in consultation.opinions:
        places = [
            f"{shown.kind.words}, series {SERIES_NUMBER[shown.kind]} image {shown.number}"
            for shown in consultation.shown(opinion.specialist, opinion.finding.label)
        ]
        if places:
            where = " and ".join(places)
            yield f"Where {opinion.specialist} looked for {opinion.finding.text}: {where}. {NO_PROOF}"


def _threshold(opinion: Opinion) -> str:
    bounds = f"present from {100 * opinion.present_from:.3g} %"
    return bounds if opinion.presence is Presence.PRESENT else f"uncertain, {bounds}"


def _outlined(material: Material) -> Iterator[str]:
    for made in material.consultation.evidence:
        if made.kind is ObjectKind.SEGMENTATION:
            of = material.image(made.sources[0])[1].get("SeriesNumber")
            yield (
                f"{made.specialist}: series {SERIES_NUMBER[made.kind]} image {made.number}, outlined in "
                f"{counted(len(made.sources), 'image')} of series {'?' if of is None else of}"
            )


def _cases(material: Material) -> Iterator[str]:
    cases = sorted(
        material.consultation.cases, key=lambda case: (case.specialist, -case.similarity, case.key)
    )
    for specialist in dict.fromkeys(case.specialist for case in cases):
        lines = (
            f"{case.key} ({', '.join(case.labels) or 'no label'}; similarity {case.similarity:.2f})"
            for case in cases
            if case.specialist == specialist
        )
        yield f"{specialist}: {'; '.join(lines)}"


def _not_read(material: Material) -> Iterator[str]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for exclusion in material.consultation.exclusions:
        by_reason[exclusion.reason].append(material.subject(exclusion))
    for reason, names in by_reason.items():
        yield f"{_listed(names)}: {reason}"


def _provenance(material: Material) -> Iterator[str]:
    draft, provenance = material.draft, material.provenance
    for specialist in material.consultation.specialists:
        yield f"Specialist {_model(specialist)}"
    seen = "" if draft.answer is None else ", image seen" if draft.answer.image_seen else ", image not seen"
    words = "its own sentences" if draft.wording == "generalist" else "made from the opinions"
    yield f"Draft model {_model(draft.generalist)}; wording: {words}{seen}"
    if draft.referral:
        asked = "The" if draft.referral.made else "No"
        yield f"{asked} draft model was asked: {'; '.join(draft.referral.reasons)}"
    yield (
        f"Route {provenance.route}; a draft model is told {_TOLD[provenance.mode]}; prompt template "
        f"{provenance.template or 'none'} {provenance.template_sha256[:12]}".rstrip()
    )
    yield (
        f"{material.equipment.model_name} {provenance.node_version}, configuration {provenance.config_sha256[:12]},"
        f" revision {material.study.revision}, run {provenance.run}"
    )


def _model(model: ModelIdentity) -> str:
    build = f"sha256 {model.sha256[:12]}" if model.sha256 else "weights unknown to the node"
    return f"{model.name} {model.version} ({build})"


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
