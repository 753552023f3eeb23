"""The `gsco` section of a bundle that segments: which series, how a volume is prepared, and what its segments mean."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gsco_pacs.adapters.bundle_format import CodeEntry, FindingEntry, Section, Terms, read_section

Millimetres = tuple[float, float, float]
"""Along right-left, back-front and feet-head."""


class VolumeInputEntry(Section):
    """Which series the network may be asked about; an empty tuple puts no condition."""

    modalities: Terms = ()
    sop_classes: tuple[str, ...] = ()
    body_parts: Terms = ()
    min_slices: int = Field(default=8, ge=3)
    max_spacing_mm: float = Field(gt=0)
    """The coarsest sampling along any axis."""
    max_tilt_degrees: float = Field(ge=0, lt=45)
    """How far the volume's axes may be turned from the body's."""
    min_extent_mm: Millimetres
    """The smallest field of view; the largest is what fits into the patch."""


class VolumePrepareEntry(Section):
    """How a volume becomes the network's input.

    Its axes are brought into the order right, front, head; it is resampled to ``spacing_mm`` and lies in the middle of
    ``patch`` voxels, the margin repeating its edge. Values are clipped to the percentiles ``clip``, then (x - mean) / sd.
    """

    spacing_mm: float = Field(gt=0)
    patch: tuple[int, int, int]
    clip: tuple[float, float] = (0.5, 99.5)


class SegmentEntry(FindingEntry):
    """One output channel after the background: the property type is ``code``."""

    category: CodeEntry
    """Segmented Property Category (PS3.16 CID 7150)."""
    site_modifier: CodeEntry | None = None
    """Which part of ``site`` (CID 2)."""
    colour: tuple[int, int, int]
    """Recommended display, RGB, 0 to 255."""
    plausible_mm3: tuple[float, float]
    """A volume outside means that something else was in the picture: it is not reported."""


class SegmentationSection(Section):
    """What the node must know of a bundle whose task is segmentation."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    task: Literal["segmentation"]
    title: str
    region: str
    modality_phrase: str
    module: str
    input: VolumeInputEntry
    prepare: VolumePrepareEntry
    background: float = 0.0
    """Added to the background's logit: chosen on the validation split so that the volumes are right on average."""
    segments: tuple[SegmentEntry, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({entry.label for entry in self.segments}) != len(self.segments):
            raise ValueError("a label stands twice.")
        return self


def read_segmentation(content: bytes) -> tuple[dict[str, Any], SegmentationSection]:
    """All of metadata.json of a bundle that segments, and its checked `gsco` section, as ``read_section``."""
    return read_section(content, SegmentationSection)
