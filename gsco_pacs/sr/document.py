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
from gsco_pacs.domain.findings import ModelIdentity, Report, ReportKind
from gsco_pacs.sr import codes
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.identity import device_uid, report_uids
from gsco_pacs.sr.material import Material
from gsco_pacs.sr.source import taken_over
from gsco_pacs.sr.wording import BANNER, plain, short

SERIES_NUMBER = {ReportKind.NARRATIVE: 9001, ReportKind.CODED: 9002}
"""High and the same in every study, so that hanging protocols can find or hide them."""
_SOP_CLASS = {ReportKind.NARRATIVE: EnhancedSRStorage, ReportKind.CODED: Comprehensive3DSRStorage}


def encode(kind: ReportKind, content: ContainerContentItem, material: Material) -> Report:
    """The report of ``kind`` as a DICOM Part 10 file; the same arguments always give the same bytes."""
    own = _own(kind, content, material)
    document = taken_over(material.headers[0], _texts(own))
    for element in own:
        document[element.tag] = element
    buffer = BytesIO()
    document.file_meta = _file_meta(document)
    try:
        dcmwrite(buffer, document, enforce_file_format=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidReportError(f"The {kind} report cannot be encoded: {type(error).__name__}.") from error
    data = buffer.getvalue()
    return Report(
        kind=kind,
        sop_class_uid=str(document.SOPClassUID),
        study_instance_uid=material.study.study_instance_uid,
        series_instance_uid=str(document.SeriesInstanceUID),
        sop_instance_uid=str(document.SOPInstanceUID),
        content=data,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _own(kind: ReportKind, content: ContainerContentItem, material: Material) -> Dataset:
    """Everything that is not taken over from the image."""
    own = Dataset()
    _identify(own, kind, material)
    _flag(own, material)
    _describe_equipment(own, material)
    _refer(own, kind, material)
    own.update(content)
    return own


def _identify(own: Dataset, kind: ReportKind, material: Material) -> None:
    own.SOPClassUID = _SOP_CLASS[kind]
    own.SeriesInstanceUID, own.SOPInstanceUID = report_uids(material.key, kind)
    own.Modality = "SR"
    own.SeriesNumber = SERIES_NUMBER[kind]
    own.SeriesDescription = _series_description(material)
    own.InstanceNumber = 1
    for moment in ("InstanceCreation", "Content", "Series"):
        setattr(own, f"{moment}Date", material.at.strftime("%Y%m%d"))
        setattr(own, f"{moment}Time", material.at.strftime("%H%M%S"))
    own.CodingSchemeIdentificationSequence = list(_coding_schemes())


def _series_description(material: Material) -> str:
    names = (
        f"{model.name} {model.version}" for model in material.consultation.specialists or material.models
    )
    return short(f"AI DRAFT - NOT FOR DIAGNOSIS - {', '.join(names)}")


def _coding_schemes() -> Iterator[Dataset]:
    scheme = Dataset()
    scheme.CodingSchemeDesignator = codes.LOCAL_SCHEME
    scheme.CodingSchemeName = "Headings of gsco_pacs drafts"
    yield scheme


def _flag(own: Dataset, material: Material) -> None:
    """COMPLETE says that nothing failed, never that somebody looked at it: that is what UNVERIFIED is for."""
    own.CompletionFlag = "PARTIAL" if material.failures else "COMPLETE"
    own.CompletionFlagDescription = "AI draft, awaiting radiologist review"
    if material.failures:
        own.CompletionFlagDescription = short(f"AI draft; failed: {material.failures[0].reason}")
    own.VerificationFlag = "UNVERIFIED"
    own.PreliminaryFlag = "PRELIMINARY"


def _describe_equipment(own: Dataset, material: Material) -> None:
    _name_device(
        own, material.equipment.model_name, material.provenance.node_version, material.station_uid, material
    )
    own.DeviceSerialNumber = short(material.equipment.serial_number)
    own.StationName = short(material.equipment.station_name, 16)
    own.ContributingEquipmentSequence = [_contribution(model, material) for model in material.models]
    author = Dataset()
    author.ObserverType = "DEV"
    author.Manufacturer = own.Manufacturer
    author.ManufacturerModelName = own.ManufacturerModelName
    author.DeviceUID = own.DeviceUID
    author.StationName = own.StationName
    author.InstitutionName = None
    author.InstitutionCodeSequence = []
    own.AuthorObserverSequence = [author]


def _name_device(item: Dataset, name: str, version: str, uid: str, material: Material) -> None:
    item.Manufacturer = short(material.equipment.manufacturer)
    item.ManufacturerModelName = short(name)
    item.SoftwareVersions = short(version)
    item.DeviceUID = uid


def _contribution(model: ModelIdentity, material: Material) -> Dataset:
    """One algorithm as Contributing Equipment (IHE AIR; PS3.3 C.12.1)."""
    item = Dataset()
    _name_device(item, model.name, model.version, device_uid(model), material)
    item.PurposeOfReferenceCodeSequence = [concept(codes.PROCESSING_EQUIPMENT)]
    item.ContributionDateTime = material.at.strftime("%Y%m%d%H%M%S%z")
    described = (BANNER, f"model_sha256={model.sha256 or 'unknown'}", *model.parameters)
    item.ContributionDescription = plain("; ".join(described))[:1024]
    return item


def _refer(own: Dataset, kind: ReportKind, material: Material) -> None:
    """Evidence is every image that the node held; predecessors are the drafts of the same kind that this one replaces."""
    study_uid = material.study.study_instance_uid
    images = (
        (i.series_instance_uid, _reference(i.sop_class_uid, i.sop_instance_uid))
        for i in material.study.instances
    )
    own.CurrentRequestedProcedureEvidenceSequence = [_hierarchy(study_uid, images)]
    earlier = [
        (p.series_instance_uid, _reference(p.sop_class_uid, p.sop_instance_uid))
        for p in material.predecessors
        if p.kind is kind
    ]
    for _, reference in earlier:
        reference.PurposeOfReferenceCodeSequence = [concept(codes.REPLACED_REPORT)]
    if earlier:
        own.PredecessorDocumentsSequence = [_hierarchy(study_uid, earlier)]
    own.PerformedProcedureCodeSequence = []
    own.ReferencedPerformedProcedureStepSequence = []


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _hierarchy(study_instance_uid: str, references: Iterable[tuple[str, Dataset]]) -> Dataset:
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
