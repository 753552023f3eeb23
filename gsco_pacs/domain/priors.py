"""Earlier studies of the same patient: what was said of them then, and what a draft says of the change."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gsco_pacs.domain.findings import Consultation


@dataclass(frozen=True)
class ImageReference:
    """One image of an earlier study."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Prior:
    """An earlier study of the same patient and modality, with what its specialists said then."""

    study_instance_uid: str
    study_date: str
    """Such as "2026-03-01"."""
    consultation: "Consultation"
    images: tuple[ImageReference, ...]
    """Those that were read."""


@dataclass(frozen=True)
class Comparison:
    """What a draft says of the change since an earlier study."""

    study_instance_uid: str
    study_date: str
    sentences: tuple[str, ...]
    images: tuple[ImageReference, ...]
