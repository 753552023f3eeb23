"""The findings that a machine reads: TID 1500 in a Comprehensive 3D SR, one measurement group for each opinion (IHE AIR)."""

from collections.abc import Iterator

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    FindingSite,
    ImageContentItem,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes as dictionary

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.findings import Code, ModelIdentity, Opinion, Presence
from gsco_pacs.sr import codes
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.frames import named_frames
from gsco_pacs.sr.identity import tracking_uid
from gsco_pacs.sr.material import Material
from gsco_pacs.sr.measured import measured_group
from gsco_pacs.sr.tree import CONTAINS, code, container, context, root, text
from gsco_pacs.sr.wording import WARNING, plain

_ACQUISITION = RelationshipTypeValues.HAS_ACQ_CONTEXT


def coded(material: Material) -> ContainerContentItem:
    """The content tree of the coded report (PS3.16 TID 1500 with TID 1600, 1501, 4019)."""
    consultation = material.consultation
    sections: list[ContentItem] = []
    if consultation.read:
        sections.append(_image_library(material))
    groups = [item for opinion in consultation.opinions for item in _group(material, opinion)]
    groups += [
        item
        for one in consultation.measurements
        for item in measured_group(material, one, _algorithm(material, one.specialist))
    ]
    if groups:
        sections.append(container(codes.IMAGING_MEASUREMENTS, groups))
    sections.append(container(codes.QUALITATIVE_EVALUATIONS, _summary(material)))
    return root(codes.MEASUREMENT_REPORT_TITLE, "1500", (*context(material), *sections))


def outcome(material: Material) -> Code | None:
    """Which algorithms worked and whether they found something (CID 6047); None if none was asked.

    An algorithm that must not assess an image, because it is unlike its reference images, has not succeeded.
    """
    opinions = material.consultation.opinions
    failed = bool(material.failures or material.consultation.unassessed)
    if not opinions and not material.consultation.measurements:
        return codes.NONE_SUCCEEDED if failed else None
    found = any(o.presence is Presence.PRESENT and not o.finding.normal for o in opinions)
    if failed:
        return codes.SOME_WITH_FINDINGS if found else codes.SOME_WITHOUT_FINDINGS
    return codes.ALL_WITH_FINDINGS if found else codes.ALL_WITHOUT_FINDINGS


def _summary(material: Material) -> Iterator[ContentItem]:
    summed_up = outcome(material)
    if summed_up:
        yield code(codes.OUTCOME, summed_up)
    yield text(codes.NARRATIVE_SUMMARY, WARNING)
    if material.study.incomplete:
        yield text(codes.NOT_READ, f"INCOMPLETE STUDY: {material.study.incomplete}")
    for line in material.compared:
        yield text(codes.PREVIOUS_FINDING, line)
    for line in material.consultation.reading:
        yield text(codes.IMAGES_READ, line)
    for failure in (*material.failures, *material.consultation.unassessed):
        yield text(codes.NOT_READ, f"{material.subject(failure)}: {failure.reason}")


def _group(material: Material, opinion: Opinion) -> MeasurementsAndQualitativeEvaluations:
    """TID 1501: the finding, its site, its probability in percent, its presence, its grade, its image and its algorithm."""
    finding = opinion.finding
    instance, header = material.image(opinion.sop_instance_uid)
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=tracking_uid(material.study.study_instance_uid, opinion.specialist, finding.label),
            identifier=plain(f"{opinion.specialist} {finding.label}"),
        ),
        finding_type=concept(finding.code),
        finding_sites=[FindingSite(concept(finding.site))] if finding.site else None,
        algorithm_id=_algorithm(material, opinion.specialist, *_thresholds(opinion)),
        measurements=[
            Measurement(
                concept(codes.CERTAINTY_OF_FINDING),
                round(100 * opinion.probability, 2),
                concept(codes.PERCENT),
            )
        ],
        qualitative_evaluations=list(_evaluations(opinion)),
        source_images=[
            SourceImageForMeasurementGroup(
                instance.sop_class_uid,
                instance.sop_instance_uid,
                referenced_frame_numbers=named_frames(header, opinion.frame) or None,
            )
        ],
    )
    group[0].ContinuityOfContent = "SEPARATE"
    group[0].ContentSequence.extend(_explanations(material, opinion))
    return group


def _evaluations(opinion: Opinion) -> Iterator[QualitativeEvaluation]:
    finding = opinion.finding
    yield QualitativeEvaluation(concept(finding.code), concept(codes.PRESENCE[opinion.presence]))
    if finding.severity:
        yield QualitativeEvaluation(concept(codes.SEVERITY), concept(finding.severity))


def _explanations(material: Material, opinion: Opinion) -> Iterator[ImageContentItem]:
    """Where the specialist looked for this finding: TID 1501 may be extended."""
    for shown in material.consultation.shown(opinion.specialist, opinion.finding.label):
        yield ImageContentItem(
            concept(codes.VISUAL_EXPLANATION),
            shown.sop_class_uid,
            shown.sop_instance_uid,
            relationship_type=CONTAINS,
        )


def _thresholds(opinion: Opinion) -> tuple[str, str]:
    return f"present_from={opinion.present_from:g}", f"absent_below={opinion.absent_below:g}"


def _algorithm(material: Material, specialist: str, *bounds: str) -> AlgorithmIdentification:
    """TID 4019 with what the number depends on: weights, thresholds, settings."""
    model = _specialist(material, specialist)
    parameters = (
        f"model_sha256={model.sha256}",
        *bounds,
        f"config_sha256={material.provenance.config_sha256}",
        *model.parameters,
    )
    return AlgorithmIdentification(
        name=plain(model.name),
        version=plain(model.version),
        parameters=[plain(parameter) for parameter in parameters],
        family=concept(codes.ARTIFICIAL_INTELLIGENCE),
    )


def _specialist(material: Material, name: str) -> ModelIdentity:
    for model in material.consultation.specialists:
        if model.name == name:
            return model
    raise BadObjectError(f"An opinion names the specialist {name!r}, who was not consulted.")


def _image_library(material: Material) -> ContainerContentItem:
    """TID 1600 with the images that were read."""
    entries = [_library_entry(material, uid) for uid in material.consultation.read]
    return container(codes.IMAGE_LIBRARY, [container(codes.IMAGE_LIBRARY_GROUP, entries)])


def _library_entry(material: Material, sop_instance_uid: str) -> ImageContentItem:
    """TID 1602: modality, rows and columns as far as the header has them."""
    instance, header = material.image(sop_instance_uid)
    entry = ImageContentItem(
        concept(codes.SOURCE), instance.sop_class_uid, instance.sop_instance_uid, relationship_type=CONTAINS
    )
    descriptors = ContentSequence()
    modality = _modality(str(header.get("Modality") or "OT"))
    descriptors.append(
        CodeContentItem(concept(codes.MODALITY), concept(modality), relationship_type=_ACQUISITION)
    )
    for name, keyword in ((codes.ROWS, "Rows"), (codes.COLUMNS, "Columns")):
        if header.get(keyword):
            pixels = int(header[keyword].value)
            descriptors.append(
                NumContentItem(concept(name), pixels, concept(codes.PIXELS), relationship_type=_ACQUISITION)
            )
    entry.ContentSequence = descriptors
    return entry


def _modality(value: str) -> Code:
    """The defined term of Modality (0008,0060) as a code: CID 29 uses the same values."""
    for keyword in dictionary.cid29.dir():
        known = getattr(dictionary.cid29, keyword)
        if known.value == value:
            return Code(known.value, known.scheme_designator, known.meaning)
    return Code("OT", "DCM", "Other Modality")
