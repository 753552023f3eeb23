"""Which images of a study a person has picked out: its Key Object Selection Documents (PS3.3 section A.35.4)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue

from gsco_pacs.sr.wording import DRAFT
from gsco_pacs.unreadable import UNREADABLE

SELECTION = "1.2.840.10008.5.1.4.1.1.88.59"
"""SOP Class UID of Key Object Selection Document Storage."""

PICKED = frozenset({"113000", "113013", "113002", "113020", "128195", "128203"})
"""Titles (DCM, CID 7010) under which the images matter to a reader: Of Interest, Best In Set, For Referring Provider,
For Report Attachment, For Diagnosis, For Tumor Board. Others list images for other ends, some because they are rejected."""


def key_images(paths: Iterable[Path]) -> Mapping[str, tuple[int, ...]]:
    """SOP Instance UID of each picked image -> the frames that are meant, () for the whole image.

    A document that cannot be read picks nothing, nor does a draft of a node of this kind: no person made it.
    """
    picked: dict[str, list[int]] = defaultdict(list)
    for path in paths:
        try:
            document = dcmread(path, stop_before_pixels=True)
            for reference in _references(document):
                picked[str(reference.ReferencedSOPInstanceUID)] += _frames(reference)
        except UNREADABLE:
            continue
    return {uid: tuple(sorted(set(frames))) for uid, frames in picked.items()}


def _references(document: Dataset) -> list[Dataset]:
    titles = {
        str(title.CodeValue)
        for title in document.ConceptNameCodeSequence
        if title.CodingSchemeDesignator == "DCM"
    }
    is_draft = str(document.get("SeriesDescription", "")).startswith(DRAFT)
    if document.SOPClassUID != SELECTION or is_draft or not titles & PICKED:
        return []
    items = [item for item in document.ContentSequence if item.ValueType == "IMAGE"]
    return [reference for item in items for reference in item.ReferencedSOPSequence]


def _frames(reference: Dataset) -> list[int]:
    frames = reference.get("ReferencedFrameNumber")
    if frames is None:
        return []
    return [int(frame) for frame in frames] if isinstance(frames, MultiValue | list) else [int(frames)]
