"""The content items that both documents share: every item named, every container SEPARATE."""

from collections.abc import Iterable

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    LanguageOfContentItemAndDescendants,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import Dataset

from gsco_pacs.domain.findings import Code
from gsco_pacs.sr import codes
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.material import Material
from gsco_pacs.sr.wording import plain

CONTAINS = RelationshipTypeValues.CONTAINS


def container(name: Code, items: Iterable[ContentItem], template: str | None = None) -> ContainerContentItem:
    """A CONTAINER that stands under another one."""
    item = ContainerContentItem(
        concept(name), is_content_continuous=False, template_id=template, relationship_type=CONTAINS
    )
    item.ContentSequence = ContentSequence(list(items))
    return item


def root(title: Code, template: str, items: Iterable[ContentItem]) -> ContainerContentItem:
    """The CONTAINER that is the document, with the template that it follows."""
    item = ContainerContentItem(concept(title), is_content_continuous=False, template_id=template)
    item.ContentSequence = ContentSequence(list(items))
    return item


def text(name: Code, value: str) -> TextContentItem:
    """A TEXT under a container; InvalidReportError if ``value`` holds nothing to read."""
    return TextContentItem(concept(name), plain(value), relationship_type=CONTAINS)


def code(name: Code, value: Code) -> CodeContentItem:
    """A CODE under a container."""
    return CodeContentItem(concept(name), concept(value), relationship_type=CONTAINS)


def observed(material: Material) -> Iterable[ContentItem]:
    """Language (TID 1204) and the node as device observer (TID 1002, 1004)."""
    equipment = material.equipment
    observer = DeviceObserverIdentifyingAttributes(
        uid=material.maker.uid,
        name=plain(equipment.station_name),
        manufacturer_name=plain(equipment.manufacturer),
        model_name=plain(equipment.model_name),
        serial_number=plain(equipment.serial_number),
    )
    yield from LanguageOfContentItemAndDescendants(concept(codes.LANGUAGE))
    yield from ObserverContext(concept(codes.DEVICE), observer)


def context(material: Material) -> Iterable[ContentItem]:
    """What stands before the sections of a report: language, observer and the procedure reported (TID 1001)."""
    yield from observed(material)
    yield CodeContentItem(
        concept(codes.PROCEDURE_REPORTED),
        concept(_procedure(material.headers[0])),
        relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
    )


def _procedure(header: Dataset) -> Code:
    """The study's own procedure code if it is complete and in plain letters, else "Imaging procedure"."""
    for item in header.get("ProcedureCodeSequence") or []:
        parts = [str(item.get(k) or "") for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]
        if all(part and part.isascii() and part.isprintable() for part in parts):
            return Code(*parts)
    return codes.IMAGING_PROCEDURE
