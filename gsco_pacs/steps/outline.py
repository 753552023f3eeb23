"""outline: a segmenter outlines structures in a volume, their volumes are measured, and both are kept as evidence."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.domain.errors import PermanentError
from gsco_pacs.domain.findings import Exclusion, Measurement
from gsco_pacs.domain.study import StoredFile
from gsco_pacs.pixels.placing import voxel_volume
from gsco_pacs.ports import Segmenter, Volume
from gsco_pacs.sr.evidence import Made, Origin, Part
from gsco_pacs.sr.segmentation import segmentation
from gsco_pacs.sr.source import read_header


class Outlined(NamedTuple):
    """What one segmenter found in the volumes of a study."""

    read: tuple[str, ...] = ()
    """SOP Instance UIDs of the images in whose volumes something was outlined and measured."""
    measurements: tuple[Measurement, ...] = ()
    made: tuple[Made, ...] = ()
    """One Segmentation for each volume."""
    exclusions: tuple[Exclusion, ...] = ()


def outline(
    segmenter: Segmenter, volumes: Sequence[Volume], files: Sequence[StoredFile], origin: Origin
) -> Outlined:
    """Outline and measure in each of ``volumes``, which were made of ``files``.

    A volume in which a segment is not plausibly large is left out as a whole: something else was in the picture.
    Raises what ``segmenter.segment`` raises, but a permanent error, which becomes an exclusion.
    """
    read: list[str] = []
    measurements: list[Measurement] = []
    made: list[Made] = []
    exclusions: list[Exclusion] = []
    for number, volume in enumerate(volumes, start=1):
        sources = tuple(dict.fromkeys(uid for uid, _ in volume.slices))
        try:
            found = segmenter.segment(volume)
            counted = _counted(found, volume, len(segmenter.segments))
            reason = _implausible(segmenter, counted)
            if reason:
                exclusions += [Exclusion(uid, reason) for uid in sources]
                continue
            headers = {
                file.instance.sop_instance_uid: read_header(file.path)
                for file in files
                if file.instance.sop_instance_uid in sources
            }
            labels = tuple(segment.finding.label for segment in segmenter.segments)
            part = Part(segmenter.identity, labels, sources, number)
            made.append(segmentation(found, segmenter.segments, volume, part, origin, headers))
        except PermanentError as error:
            exclusions.append(Exclusion(segmenter.identity.name, str(error), failed=True))
            continue
        read += sources
        measurements += [
            Measurement(segmenter.identity.name, segment, size, made[-1][0].sop_instance_uid, place)
            for place, (segment, size) in enumerate(zip(segmenter.segments, counted, strict=True), start=1)
        ]
    return Outlined(tuple(read), tuple(measurements), tuple(made), tuple(exclusions))


def _counted(found: NDArray[np.uint8], volume: Volume, segments: int) -> list[float]:
    """Cubic millimetres of each segment."""
    size = voxel_volume(volume.affine)
    return [float((found == number).sum() * size) for number in range(1, segments + 1)]


def _implausible(segmenter: Segmenter, counted: Sequence[float]) -> str:
    for segment, size in zip(segmenter.segments, counted, strict=True):
        low, high = segment.plausible_mm3
        if not low <= size <= high:
            return (
                f"Not assessed: the {segment.finding.text} would measure {size:.0f} mm3, which is not plausible "
                f"({low:.0f} to {high:.0f} mm3)."
            )
    return ""
