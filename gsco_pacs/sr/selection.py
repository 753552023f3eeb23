"""The node's own Key Object Selection Document: the images in which findings stand (PS3.3 A.35.4, PS3.16 TID 2010)."""

from collections.abc import Iterator

from highdicom.sr import ContainerContentItem, ContentItem, ImageContentItem
from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from gsco_pacs.domain.findings import ObjectKind, Opinion, Presence, Report, percent
from gsco_pacs.sr import codes
from gsco_pacs.sr.codes import concept
from gsco_pacs.sr.document import hierarchy, reference, written
from gsco_pacs.sr.frames import named_frames
from gsco_pacs.sr.identity import report_uids
from gsco_pacs.sr.material import Material
from gsco_pacs.sr.tree import CONTAINS, observed, root, text
from gsco_pacs.sr.wording import DRAFT

_KIND = ObjectKind.KEY_OBJECTS


def selection(material: Material) -> Report | None:
    """The selection as a DICOM Part 10 file, the likeliest finding's image first; None if no finding is even possible.

    The same material always gives the same bytes. BadObjectError if an opinion is about an image of another study.
    """
    positive = _positive(material)
    if not positive:
        return None
    held = [material.image(uid)[0] for uid in dict.fromkeys(o.sop_instance_uid for o in positive)]
    own = Dataset()
    own.SOPClassUID = KeyObjectSelectionDocumentStorage
    own.SeriesInstanceUID, own.SOPInstanceUID = report_uids(material.key, _KIND)
    own.Modality = "KO"
    own.InstanceNumber = 1
    own.ReferencedPerformedProcedureStepSequence = []
    material.maker.sign(own, _KIND, material.consultation.specialists)
    images = ((i.series_instance_uid, reference(i.sop_class_uid, i.sop_instance_uid)) for i in held)
    own.CurrentRequestedProcedureEvidenceSequence = [hierarchy(material.study.study_instance_uid, images)]
    own.update(_content(material, positive))
    return written(_KIND, own, material.headers[0])


def _positive(material: Material) -> list[Opinion]:
    """The findings that are present or possible, likeliest first; a normal label is none."""
    found = (
        opinion
        for opinion in material.consultation.opinions
        if opinion.presence is not Presence.ABSENT and not opinion.finding.normal
    )
    return sorted(found, key=lambda opinion: -opinion.probability)


def _content(material: Material, positive: list[Opinion]) -> ContainerContentItem:
    """The content tree: observer, description, images; TID 2010 has no place for the procedure reported."""
    return root(codes.OF_INTEREST, "2010", (*observed(material), *_selected(material, positive)))


def _selected(material: Material, positive: list[Opinion]) -> Iterator[ContentItem]:
    named = "; ".join(_named(material, opinion) for opinion in positive)
    yield text(codes.KEY_OBJECT_DESCRIPTION, f"{DRAFT}. Images picked by software for: {named}.")
    for uid, frames in _frames(material, positive).items():
        image, _ = material.image(uid)
        yield ImageContentItem(
            concept(codes.SOURCE),
            image.sop_class_uid,
            image.sop_instance_uid,
            referenced_frame_numbers=frames or None,
            relationship_type=CONTAINS,
        )


def _frames(material: Material, positive: list[Opinion]) -> dict[str, list[int]]:
    """SOP Instance UID -> the frames that count where the image has several; the likeliest finding's image first."""
    found: dict[str, list[int]] = {}
    for opinion in positive:
        frames = found.setdefault(opinion.sop_instance_uid, [])
        _, header = material.image(opinion.sop_instance_uid)
        frames += [frame for frame in named_frames(header, opinion.frame) if frame not in frames]
    return found


def _named(material: Material, opinion: Opinion) -> str:
    held = "possible" if opinion.presence is Presence.UNCERTAIN else "present"
    where = material.image_name(opinion.sop_instance_uid, opinion.frame)
    return f"{opinion.finding.text} {held} ({opinion.specialist} {percent(opinion.probability)}, {where})"
