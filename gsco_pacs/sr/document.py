"""A content tree becomes a whole DICOM file: flags, identity, evidence, equipment and predecessors (PS3.3 A.35, C.17)."""

import hashlib
from collections.abc import Iterable, Iterator
from io import BytesIO

from highdicom.sr import ContainerContentItem
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, EnhancedSRStorage, ExplicitVRLittleEndian
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from gsco_pacs.domain.errors import InvalidReportError
from gsco_pacs.domain.findings import Evidence, ObjectKind, Report
from gsco_pacs.domain.study import Instance
from gsco_pacs.sr import codes
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.identity import report_uids
from gsco_pacs.sr.material import Material
from gsco_pacs.sr.source import taken_over
from gsco_pacs.sr.wording import short

_SOP_CLASS = {ObjectKind.NARRATIVE: EnhancedSRStorage, ObjectKind.CODED: Comprehensive3DSRStorage}


def encode(kind: ObjectKind, content: ContainerContentItem, material: Material) -> Report:
    """The report of ``kind`` as a DICOM Part 10 file; the same arguments always give the same bytes."""
    return written(kind, _own(kind, content, material), material.headers[0])


def written(kind: ObjectKind, own: Dataset, header: Dataset) -> Report:
    """``own`` with patient, study and request of ``header`` as a file; InvalidReportError if it cannot be encoded."""
    document = taken_over(header, _texts(own))
    for element in own:
        document[element.tag] = element
    buffer = BytesIO()
    document.file_meta = _file_meta(document)
    try:
        dcmwrite(buffer, document, enforce_file_format=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidReportError(f"The {kind} object cannot be encoded: {type(error).__name__}.") from error
    data = buffer.getvalue()
    return Report(
        kind=kind,
        sop_class_uid=str(document.SOPClassUID),
        study_instance_uid=str(document.StudyInstanceUID),
        series_instance_uid=str(document.SeriesInstanceUID),
        sop_instance_uid=str(document.SOPInstanceUID),
        content=data,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _own(kind: ObjectKind, content: ContainerContentItem, material: Material) -> Dataset:
    """Everything that is not taken over from the image."""
    own = Dataset()
    _identify(own, kind, material)
    _flag(own, material)
    material.maker.sign(own, kind, material.consultation.specialists or material.models)
    _name_author(own)
    _refer(own, kind, material)
    own.update(content)
    return own


def _identify(own: Dataset, kind: ObjectKind, material: Material) -> None:
    own.SOPClassUID = _SOP_CLASS[kind]
    own.SeriesInstanceUID, own.SOPInstanceUID = report_uids(material.key, kind)
    own.Modality = "SR"
    own.InstanceNumber = 1
    own.CodingSchemeIdentificationSequence = list(_coding_schemes())


def _coding_schemes() -> Iterator[Dataset]:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = codes.LOCAL_SCHEME
    scheme.CodingSchemeName = "Headings of gsco_pacs drafts"
    yield scheme


def _flag(own: Dataset, material: Material) -> None:
    """COMPLETE says that nothing failed or was known to be missing, never that somebody looked at it: that is what UNVERIFIED is for."""
    incomplete = material.study.incomplete
    own.CompletionFlag = "PARTIAL" if material.failures or incomplete else "COMPLETE"
    own.CompletionFlagDescription = "AI draft, awaiting radiologist review"
    if incomplete:
        own.CompletionFlagDescription = short(f"AI draft; incomplete study: {incomplete}")
    if material.failures:
        own.CompletionFlagDescription = short(f"AI draft; failed: {material.failures[0].reason}")
    own.VerificationFlag = "UNVERIFIED"
    own.PreliminaryFlag = "PRELIMINARY"


def _name_author(own: Dataset) -> None:
    author = Dataset()
    author.ObserverType = "DEV"
    author.Manufacturer = own.Manufacturer
    author.ManufacturerModelName = own.ManufacturerModelName
    author.DeviceUID = own.DeviceUID
    author.StationName = own.StationName
    author.InstitutionName = None
    author.InstitutionCodeSequence = []
    own.AuthorObserverSequence = [author]


def _refer(own: Dataset, kind: ObjectKind, material: Material) -> None:
    """Evidence is every image that the node held and what was made of them.

    What an earlier study is compared by is other evidence. Predecessors are the drafts of the same kind that this one replaces.
    """
    study_uid = material.study.study_instance_uid
    held: tuple[Instance | Evidence, ...] = (*material.study.instances, *material.consultation.evidence)
    images = ((i.series_instance_uid, reference(i.sop_class_uid, i.sop_instance_uid)) for i in held)
    own.CurrentRequestedProcedureEvidenceSequence = [hierarchy(study_uid, images)]
    prior = material.draft.comparison
    if prior and prior.images:
        seen = [(i.series_instance_uid, reference(i.sop_class_uid, i.sop_instance_uid)) for i in prior.images]
        own.PertinentOtherEvidenceSequence = [hierarchy(prior.study_instance_uid, seen)]
    earlier = [
        (p.series_instance_uid, reference(p.sop_class_uid, p.sop_instance_uid))
        for p in material.predecessors
        if p.kind is kind
    ]
    for _, replaced in earlier:
        replaced.PurposeOfReferenceCodeSequence = [concept(codes.REPLACED_REPORT)]
    if earlier:
        own.PredecessorDocumentsSequence = [hierarchy(study_uid, earlier)]
    own.PerformedProcedureCodeSequence = []
    own.ReferencedPerformedProcedureStepSequence = []


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """An item that names one instance (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def hierarchy(study_instance_uid: str, references: Iterable[tuple[str, Dataset]]) -> Dataset:
    """The Hierarchical SOP Instance Reference Macro (PS3.3 C.17.2.1)."""
    by_series: dict[str, list[Dataset]] = {}
    for series_instance_uid, reference in references:
        by_series.setdefault(series_instance_uid, []).append(reference)
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = []
    for series_instance_uid, members in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_instance_uid
        series.ReferencedSOPSequence = members
        study.ReferencedSeriesSequence.append(series)
    return study


def _texts(own: Dataset) -> list[str]:
    return [str(element.value) for element in own.iterall() if element.VR in CUSTOMIZABLE_CHARSET_VR]


def _file_meta(document: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = document.SOPClassUID
    meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta
