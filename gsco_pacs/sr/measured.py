"""Measured volumes in the coded report: TID 1411, each with the segment that it was counted in."""

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    ReferencedSegment,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from highdicom.sr import (
    Measurement as MeasurementItem,
)

from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.domain.findings import Evidence, Measurement
from gsco_pacs.sr import codes
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.identity import tracking_uid
from gsco_pacs.sr.material import Material
from gsco_pacs.sr.segmentation import tracked
from gsco_pacs.sr.wording import plain


def measured_group(
    material: Material, measurement: Measurement, algorithm: AlgorithmIdentification
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """TID 1411: what was measured, where, the segment, the volume in mm³ and the algorithm."""
    evidence = _evidence(material, measurement)
    finding = measurement.segment.finding
    label = tracked(finding.label, evidence.number)
    source, _ = material.image(evidence.sources[0])
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=tracking_uid(material.study.study_instance_uid, measurement.specialist, label),
            identifier=plain(f"{measurement.specialist} {label}"),
        ),
        referenced_segment=ReferencedSegment(
            evidence.sop_class_uid,
            evidence.sop_instance_uid,
            measurement.number,
            source_series=SourceSeriesForSegmentation(source.series_instance_uid),
        ),
        finding_type=concept(finding.code),
        finding_category=concept(measurement.segment.category),
        finding_sites=_sites(measurement),
        algorithm_id=algorithm,
        measurements=[
            MeasurementItem(
                concept(codes.VOLUME), round(measurement.volume_mm3, 3), concept(codes.CUBIC_MILLIMETRE)
            )
        ],
    )
    group[0].ContinuityOfContent = "SEPARATE"
    return group


def _sites(measurement: Measurement) -> list[FindingSite] | None:
    site, modifier = measurement.segment.finding.site, measurement.segment.site_modifier
    if site is None:
        return None
    return [FindingSite(concept(site), topographical_modifier=concept(modifier) if modifier else None)]


def _evidence(material: Material, measurement: Measurement) -> Evidence:
    for evidence in material.consultation.evidence:
        if evidence.sop_instance_uid == measurement.segmentation:
            return evidence
    raise BadObjectError("A measurement names a segmentation that was not made.")
