"""An evidence object becomes a whole DICOM file: its pixels are its own, all else is shared by every kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset

from gsco_pacs.domain.findings import Evidence, ModelIdentity, ObjectKind, Report
from gsco_pacs.domain.study import Study
from gsco_pacs.settings.processes import Equipment
from gsco_pacs.sr.document import written
from gsco_pacs.sr.equipment import Maker
from gsco_pacs.sr.identity import evidence_uids
from gsco_pacs.sr.source import KEPT, OPTIONAL, REQUIRED
from gsco_pacs.sr.validate import validate

_TAKEN_OVER = ("SpecificCharacterSet", "TimezoneOffsetFromUTC", *KEPT, *REQUIRED, *OPTIONAL)
"""What a library may have put in from a source image: the file's own way to take it over keeps the names' bytes."""

Made = tuple[Evidence, Report]
"""An evidence object and the reference to it that the consultation keeps."""


@dataclass(frozen=True)
class Origin:
    """What all evidence of one consultation shares; a forced run, another revision or another setting changes every UID."""

    study: Study
    equipment: Equipment
    node_version: str
    config_sha256: str
    run: int
    at: datetime
    """When the stage began, so that a retry of it makes the same bytes."""

    @property
    def key(self) -> tuple[object, ...]:
        """What the UIDs are made from, beside the specialist and the part."""
        inputs = sorted((i.sop_instance_uid, i.sha256) for i in self.study.instances)
        return (self.study.study_instance_uid, inputs, self.config_sha256, self.node_version, self.run)


@dataclass(frozen=True)
class Part:
    """What an evidence object shows: whose work, of which findings, from which images, at which place in its series."""

    specialist: ModelIdentity
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    number: int


def encode_evidence(
    kind: ObjectKind, pixels: Dataset, part: Part, origin: Origin, sources: Sequence[Dataset]
) -> Made:
    """The object as a validated file with the reference to it; the same arguments always give the same bytes.

    ``pixels`` holds what is particular to the kind (SOP Class UID, Modality, the pixels and what describes them), as
    made by hand or by highdicom; identity, dates, equipment, patient and study are put in here. ``sources`` are the
    headers of ``part.sources``.
    """
    own = Dataset()
    own.update(pixels)
    for keyword in _TAKEN_OVER:
        if keyword in own:
            delattr(own, keyword)
    place = (part.labels, part.sources, part.number)
    own.SeriesInstanceUID, own.SOPInstanceUID = evidence_uids(kind, origin.key, part.specialist, place)
    own.InstanceNumber = part.number
    maker = Maker(origin.equipment, origin.node_version, (part.specialist,), origin.at)
    maker.sign(own, kind, (part.specialist,))
    report = written(kind, own, sources[0])
    validate(report)
    reference = Evidence(
        kind, report.sop_class_uid, report.series_instance_uid, report.sop_instance_uid, part.number,
        part.specialist.name, part.labels, part.sources,
    )  # fmt: skip
    return reference, report
