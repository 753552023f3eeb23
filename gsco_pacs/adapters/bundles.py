"""A specialist from a MONAI bundle: verified files, a reviewed network definition, weights without code."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from gsco_pacs.adapters.bundle_files import VerifiedFiles
from gsco_pacs.adapters.bundle_format import (
    CASES,
    FEATURES,
    INFERENCE,
    METADATA,
    CodeEntry,
    GscoSection,
    LabelEntry,
    MemberEntry,
    Section,
    read_metadata,
)
from gsco_pacs.adapters.bundle_names import bundle_name, member_names
from gsco_pacs.adapters.case_index import CaseIndex, cases_from_json
from gsco_pacs.adapters.network_files import colours_of, fill, loads_columns_first, network_of
from gsco_pacs.adapters.network_input import batch, squared, toned, unsquared
from gsco_pacs.adapters.networks import in_channels_last, last_linear
from gsco_pacs.adapters.saliency import activation_map
from gsco_pacs.adapters.scores import probabilities_of
from gsco_pacs.domain.errors import BrokenBundleError, OutOfResourcesError, cause
from gsco_pacs.domain.findings import Code, Finding, ModelIdentity, SimilarCase
from gsco_pacs.ports import InputContract, Look, Picture, Pooling, Reading, Thresholds


class BundleSpecialist:
    """A ports.Specialist made of a network, its calibration and, if there is one, its case index."""

    def __init__(
        self,
        identity: ModelIdentity,
        section: GscoSection,
        network: nn.Module,
        index: CaseIndex | None,
        bundle: str = "",
    ) -> None:
        self._bundle = bundle or identity.name
        self._identity, self._section, self._index = identity, section, index
        self._network = in_channels_last(network.eval())
        self._last = last_linear(network)
        self._colours = colours_of(network)
        self._slopes = np.array([entry.slope for entry in section.labels])
        self._intercepts = np.array([entry.intercept for entry in section.labels])

    @property
    def identity(self) -> ModelIdentity:
        """Name, version, hash of the weights, and the hash of SHA256SUMS, which stands for the whole bundle."""
        return self._identity

    @property
    def section(self) -> GscoSection:
        """The checked `gsco` section of metadata.json."""
        return self._section

    @property
    def bundle(self) -> str:
        """The bundle's name, the same for all its members."""
        return self._bundle

    @property
    def contract(self) -> InputContract:
        """Which images it may be asked about."""
        reading = Reading(**self._section.reading.model_dump())
        return InputContract(**self._section.input.model_dump(), reading=reading)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What it can find, in the order of the network's outputs."""
        return tuple(self._finding(entry) for entry in self._section.labels)

    @property
    def thresholds(self) -> tuple[Thresholds, ...]:
        """One pair for each finding."""
        return tuple(Thresholds(entry.absent_below, entry.present_from) for entry in self._section.labels)

    @property
    def pooling(self) -> Pooling:
        """How its looks at the images of a study become its opinions."""
        return Pooling(**self._section.pooling.model_dump())

    @property
    def familiar_from(self) -> float | None:
        """Nearness to the case index below which a picture is unlike the reference images; None if not known."""
        return self._section.familiar_from

    @property
    def colours(self) -> int:
        """How many channels its pictures have: 3 for RGB, 1 for grey."""
        return self._colours

    @property
    def examines(self) -> str:
        """What it looks at in the words of a prompt."""
        return self._section.modality_phrase

    def look(self, pictures: Sequence[Picture]) -> tuple[Look, ...]:
        """Calibrated probabilities and features of each picture; OutOfResourcesError if memory runs out."""
        if not pictures:
            return ()
        seen = [self.judge(picture) for picture in pictures]
        logits = np.stack([own for own, _ in seen])
        probabilities = probabilities_of(logits, self._section.task, self._slopes, self._intercepts)
        return tuple(
            Look(tuple(map(float, row)), features)
            for row, (_, features) in zip(probabilities, seen, strict=True)
        )

    def judge(self, picture: Picture) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The logit of each label before calibration, and the features; OutOfResourcesError if memory runs out."""
        with self._enough_memory():
            logits, features = self._forward(self._input(picture))
        return logits[0, list(self._section.outputs)] if self._section.outputs else logits[0], features

    def similar(self, look: Look, k: int, patient_id: str) -> tuple[SimilarCase, ...]:
        """The k nearest reference cases, nearest first, none of the same patient; () without a case index."""
        return self._index.nearest(look.features, k, patient_id) if self._index else ()

    @property
    def most_maps(self) -> int:
        """How many heat maps it draws of a study at most."""
        return self._section.saliency.maps

    def explain(self, picture: Picture, label: str) -> NDArray[np.float32]:
        """Where in the picture its network was moved towards ``label``, by Grad-CAM; NotApplicableError if it cannot say."""
        place = [entry.label for entry in self._section.labels].index(label)
        output = self._section.outputs[place] if self._section.outputs else place
        with self._enough_memory():
            layer = self._section.saliency.layer
            coarse = activation_map(self._network, self._input(picture), output, layer)
        upright = coarse.T if self._section.prepare.transpose else coarse
        return unsquared(upright, picture.pixels.shape[:2], self._section.prepare.fit)

    def _input(self, picture: Picture) -> Tensor:
        prepare = self._section.prepare
        square = toned(squared(picture.pixels, prepare.size, prepare.fit, self._colours), prepare.tones)
        seen = square.transpose(-2, -1) if prepare.transpose else square
        return batch([seen], prepare.mean, prepare.std, prepare.scale)

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError, ValueError, TypeError) as error:
            name = self._identity.name
            # torch has no class for a CPU's want
            if isinstance(error, MemoryError) or "allocate" in str(error):
                raise OutOfResourcesError(f"{name}: not enough memory for the network.") from error
            raise BrokenBundleError(f"{name}: its network cannot read a picture: {cause(error)}") from error

    @torch.inference_mode()
    def _forward(self, inputs: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits [1, outputs] of one picture, and what enters the last layer, L2-normalised, [d].

        One at a time, so that a picture's result does not depend on its neighbours' number (last-bit differences).
        """
        entered: list[Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
        try:
            logits = self._network(inputs)
        finally:
            hook.remove()
        if (
            getattr(logits, "shape", ()) != (1, self._last.out_features)
            or not entered
            or entered[0].ndim != 2
        ):
            raise BrokenBundleError(
                f"{self._identity.name}: its network must end in its last fully connected layer, with one row of numbers."
            )
        return logits.numpy(), nn.functional.normalize(entered[0], dim=1)[0].numpy()

    def _finding(self, entry: LabelEntry) -> Finding:
        return Finding(
            entry.label,
            entry.text,
            code_of(entry.code),
            code_of(entry.site) if entry.site else None,
            normal=entry.label == self._section.normal_label,
            exclusive=self._section.task == "multi-class",
            severity=code_of(entry.severity) if entry.severity else None,
        )


def load_bundle(path: Path) -> tuple[BundleSpecialist, ...]:
    """The specialists in the directory ``path``, one for each member, of whom the first has the case index.

    BrokenBundleError if a file is missing, changed or not usable.
    """
    files = VerifiedFiles(path)
    metadata, section = read_metadata(files.read(METADATA))
    name, version = bundle_name(metadata, path), str(metadata.get("version", "unknown"))
    alone, *others = member_names(name, 1 + len(section.members))
    first = _specialist(files, name, alone, version, section.member(1))
    further = (
        _specialist(files, name, own, entry.version, section.member(number), entry)
        for number, (own, entry) in enumerate(zip(others, section.members, strict=True), start=2)
    )
    return (first, *further)


def _specialist(
    files: VerifiedFiles,
    bundle: str,
    name: str,
    version: str,
    section: GscoSection,
    entry: MemberEntry | None = None,
) -> BundleSpecialist:
    inference, weights = (entry.inference, entry.weights) if entry else (INFERENCE, files.weights)
    definition = files.read(inference)
    network = network_of(definition, inference)
    fill(network, files.read(weights), weights)
    _must_fit(network, section, inference)
    _must_say_how_pictures_lie(section, definition, inference)
    policy = (
        f"reading={_flat(section.reading)} max_images={section.input.max_images}",
        f"pooling={_flat(section.pooling)}",
    )
    identity = ModelIdentity(name, version, files.sums[weights], (f"bundle sha256 {files.digest}", *policy))
    return BundleSpecialist(identity, section, network, _index(files, name, section), bundle)


def _must_fit(network: nn.Module, section: GscoSection, file: str) -> None:
    try:
        outputs = last_linear(network).out_features
    except ValueError as error:
        raise BrokenBundleError(f"{file}: {error}") from error
    if any(isinstance(module, nn.Conv3d) for module in network.modules()):
        raise BrokenBundleError(
            f"{file}: the network reads volumes: a specialist reads pictures, of two dimensions."
        )
    if colours_of(network) not in (1, 3):
        raise BrokenBundleError(f"{file}: the network must read grey or RGB pictures.")
    if section.outputs is None and outputs != len(section.labels):
        raise BrokenBundleError(
            f"{file}: the network must end in a linear layer with {len(section.labels)} outputs; it has {outputs}: "
            f"gsco.outputs can say which output each label is."
        )
    if section.outputs and max(section.outputs) >= outputs:
        raise BrokenBundleError(f"{file}: gsco.outputs names an output that the network does not have.")


def _must_say_how_pictures_lie(section: GscoSection, definition: bytes, file: str) -> None:
    if section.prepare.transpose is None and loads_columns_first(definition):
        raise BrokenBundleError(
            f"{file} loads pictures with MONAI's LoadImage, which gives columns before rows: write `transpose: true` into "
            f"gsco.prepare, or `false` if the network saw them upright."
        )


def _index(files: VerifiedFiles, name: str, section: GscoSection) -> CaseIndex | None:
    """The case index; None if the bundle has none."""
    if section.patient_salt is None:
        return None
    try:
        features = safetensors.numpy.load(files.read(FEATURES))["features"]
    except (SafetensorError, KeyError) as error:
        raise BrokenBundleError(f"{FEATURES}: {error}") from error
    return CaseIndex(name, features, cases_from_json(files.read(CASES)), section.patient_salt)


def code_of(entry: CodeEntry) -> Code:
    """The coded concept of a bundle as the domain holds it."""
    return Code(entry.value, entry.scheme, entry.meaning)


def _flat(entry: Section) -> str:
    """Such as "images=every every=3 frames=one"."""
    return " ".join(f"{key}={value}" for key, value in entry.model_dump().items())
