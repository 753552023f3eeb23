"""A segmenter from a MONAI bundle: verified files, a reviewed network definition, weights without code."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gsco_pacs.adapters.bundle_files import VerifiedFiles
from gsco_pacs.adapters.bundle_format import INFERENCE, METADATA, WEIGHTS
from gsco_pacs.adapters.bundle_names import bundle_name
from gsco_pacs.adapters.bundles import code_of
from gsco_pacs.adapters.network_files import fill, network_of
from gsco_pacs.adapters.segmentation_format import SegmentationSection, SegmentEntry, read_segmentation
from gsco_pacs.adapters.volume_input import normalised, placement_of, segments_of
from gsco_pacs.domain.errors import BrokenBundleError, OutOfResourcesError, cause
from gsco_pacs.domain.findings import Finding, ModelIdentity, Segment
from gsco_pacs.ports import Volume, VolumeContract


class BundleSegmenter:
    """A ports.Segmenter made of one network."""

    def __init__(self, identity: ModelIdentity, section: SegmentationSection, network: nn.Module) -> None:
        self._identity, self._section, self._network = identity, section, network.eval()

    @property
    def identity(self) -> ModelIdentity:
        """Name, version, hash of the weights, and the hash of SHA256SUMS, which stands for the whole bundle."""
        return self._identity

    @property
    def section(self) -> SegmentationSection:
        """The checked `gsco` section of metadata.json."""
        return self._section

    @property
    def volume_contract(self) -> VolumeContract:
        """Which series it may be asked about: the largest field of view is what fits into the patch."""
        entry, prepare = self._section.input, self._section.prepare
        right, front, head = (side * prepare.spacing_mm for side in prepare.patch)
        return VolumeContract(
            entry.modalities, entry.sop_classes, entry.body_parts, entry.min_slices, entry.max_spacing_mm,
            entry.max_tilt_degrees, entry.min_extent_mm, (right, front, head),
        )  # fmt: skip

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What it outlines, in the order of the network's outputs after the background."""
        return tuple(_segment(entry) for entry in self._section.segments)

    @property
    def examines(self) -> str:
        """What it looks at in the words of a prompt."""
        return self._section.modality_phrase

    @torch.inference_mode()
    def segment(self, volume: Volume) -> NDArray[np.uint8]:
        """The number of the segment that each voxel belongs to, 0 for none; OutOfResourcesError if memory runs out."""
        prepare = self._section.prepare
        place = placement_of(volume, prepare)
        try:
            inputs = torch.from_numpy(place.placed(normalised(volume.voxels, prepare), order=1))
            logits = self._network(inputs[None, None])[0]
            logits[0] += self._section.background
            return segments_of(logits.softmax(dim=0).numpy(), place)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "allocate" not in str(error):
                raise  # torch has no class for a CPU's want
            raise OutOfResourcesError(f"{self._identity.name}: not enough memory for the network.") from error


def load_segmenter(path: Path) -> BundleSegmenter:
    """The segmenter in the directory ``path``; BrokenBundleError if a file is missing, changed or not usable."""
    files = VerifiedFiles(path)
    metadata, section = read_segmentation(files.read(METADATA))
    network = network_of(files.read(INFERENCE), INFERENCE)
    _fill(network, files.read(WEIGHTS), section)
    parameters = (f"bundle sha256 {files.digest}",)
    name, version = bundle_name(metadata, path), str(metadata.get("version", "unknown"))
    identity = ModelIdentity(name, version, files.sums[WEIGHTS], parameters)
    return BundleSegmenter(identity, section, network)


def _fill(network: nn.Module, content: bytes, section: SegmentationSection) -> None:
    """Load the weights and see once that a patch comes out as it must."""
    fill(network, content, WEIGHTS)
    try:
        with torch.inference_mode():
            shape = tuple(network.eval()(torch.zeros(1, 1, *section.prepare.patch)).shape)
    except (RuntimeError, ValueError) as error:
        raise BrokenBundleError(f"{INFERENCE}: the network cannot read a patch: {cause(error)}") from error
    if shape != (1, 1 + len(section.segments), *section.prepare.patch):
        raise BrokenBundleError(
            f"{INFERENCE}: the network must give the background and one channel a segment."
        )


def _segment(entry: SegmentEntry) -> Segment:
    site = code_of(entry.site) if entry.site else None
    return Segment(
        Finding(entry.label, entry.text, code_of(entry.code), site),
        code_of(entry.category),
        code_of(entry.site_modifier) if entry.site_modifier else None,
        entry.colour,
        entry.plausible_mm3,
    )
