"""A specialist from a MONAI bundle: verified files, a reviewed network definition, weights without code."""

import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn

from gsco_pacs.adapters.bundle_format import (
    CASES,
    FEATURES,
    INFERENCE,
    METADATA,
    WEIGHTS,
    CodeEntry,
    GscoSection,
    LabelEntry,
    MemberEntry,
    Section,
    VerifiedFiles,
    read_metadata,
)
from gsco_pacs.adapters.case_index import CaseIndex, cases_from_json
from gsco_pacs.adapters.network_input import batch, squared, unsquared
from gsco_pacs.adapters.networks import in_channels_last, last_linear
from gsco_pacs.adapters.saliency import activation_map
from gsco_pacs.adapters.scores import probabilities_of
from gsco_pacs.domain.errors import BrokenBundleError, OutOfResourcesError
from gsco_pacs.domain.findings import Code, Finding, ModelIdentity, SimilarCase
from gsco_pacs.ports import InputContract, Look, Picture, Pooling, Reading, Thresholds

HOMES = ("monai.networks.nets", "gsco_pacs.adapters.networks")
"""Modules that a network's class may come from: a bundle brings numbers, never code."""


class BundleSpecialist:
    """A ports.Specialist made of a network, its calibration and, if there is one, its case index."""

    def __init__(
        self, identity: ModelIdentity, section: GscoSection, network: nn.Module, index: CaseIndex | None
    ) -> None:
        self._identity, self._section, self._index = identity, section, index
        self._network = in_channels_last(network.eval())
        self._last = last_linear(network)
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
    def examines(self) -> str:
        """What it looks at in the words of a prompt."""
        return self._section.modality_phrase

    def look(self, pictures: Sequence[Picture]) -> tuple[Look, ...]:
        """Calibrated probabilities and features of each picture; OutOfResourcesError if memory runs out."""
        if not pictures:
            return ()
        prepare = self._section.prepare
        with self._enough_memory():
            squares = [squared(picture.pixels, prepare.size, prepare.fit) for picture in pictures]
            seen = [self._forward(batch([square], prepare.mean, prepare.std)) for square in squares]
        logits = np.concatenate([pair[0] for pair in seen])
        probabilities = probabilities_of(logits, self._section.task, self._slopes, self._intercepts)
        return tuple(
            Look(tuple(map(float, row)), features)
            for row, (_, features) in zip(probabilities, seen, strict=True)
        )

    def similar(self, look: Look, k: int, patient_id: str) -> tuple[SimilarCase, ...]:
        """The k nearest reference cases, nearest first, none of the same patient; () without a case index."""
        return self._index.nearest(look.features, k, patient_id) if self._index else ()

    @property
    def most_maps(self) -> int:
        """How many heat maps it draws of a study at most."""
        return self._section.saliency.maps

    def explain(self, picture: Picture, label: str) -> NDArray[np.float32]:
        """Where in the picture its network was moved towards ``label``, by Grad-CAM; NotApplicableError if it cannot say."""
        prepare, labels = self._section.prepare, [entry.label for entry in self._section.labels]
        with self._enough_memory():
            square = squared(picture.pixels, prepare.size, prepare.fit)
            inputs = batch([square], prepare.mean, prepare.std)
            coarse = activation_map(self._network, inputs, labels.index(label), self._section.saliency.layer)
        return unsquared(coarse, picture.pixels.shape[:2], prepare.fit)

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            # torch has no class for a CPU's want
            if isinstance(error, RuntimeError) and "allocate" not in str(error):
                raise
            raise OutOfResourcesError(f"{self._identity.name}: not enough memory for the network.") from error

    @torch.inference_mode()
    def _forward(self, inputs: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits [1, labels] of one picture, and what enters the last layer, L2-normalised, [d].

        One at a time, so that a picture's result does not depend on its neighbours' number (last-bit differences).
        """
        entered: list[Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
        try:
            logits = self._network(inputs)
        finally:
            hook.remove()
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
    name, several = str(metadata["name"]), bool(section.members)
    first = _specialist(files, f"{name}.1" if several else name, str(metadata["version"]), section.member(1))
    further = (
        _specialist(files, f"{name}.{number}", entry.version, section.member(number), entry)
        for number, entry in enumerate(section.members, start=2)
    )
    return (first, *further)


def _specialist(
    files: VerifiedFiles, name: str, version: str, section: GscoSection, entry: MemberEntry | None = None
) -> BundleSpecialist:
    inference, weights = (entry.inference, entry.weights) if entry else (INFERENCE, WEIGHTS)
    network = network_of(files.read(inference), inference)
    _fill(network, files.read(weights), weights, len(section.labels))
    policy = (
        f"reading={_flat(section.reading)} max_images={section.input.max_images}",
        f"pooling={_flat(section.pooling)}",
    )
    identity = ModelIdentity(name, version, files.sums[weights], (f"bundle sha256 {files.digest}", *policy))
    return BundleSpecialist(identity, section, network, _index(files, name, section))


def network_of(inference: bytes, file: str) -> nn.Module:
    """The untrained network that `network_def` describes: a class of HOMES and plain arguments.

    MONAI's ConfigParser would import what a `$import` string names even with MONAI_EVAL_EXPR=0; here a string is a string.
    """
    try:
        arguments = dict(json.loads(inference)["network_def"])
        home, _, name = arguments.pop("_target_").rpartition(".")
        if home not in HOMES:
            raise BrokenBundleError(
                f"{file}: the network's class must come from {' or '.join(HOMES)}, not {home!r}."
            )
        made = getattr(importlib.import_module(home), name)(**arguments)
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise BrokenBundleError(f"{file}: no network can be made of it: {error}") from error
    if not isinstance(made, nn.Module):
        raise BrokenBundleError(f"{file}: network_def is not a network.")
    return made


def _fill(network: nn.Module, content: bytes, file: str, labels: int) -> None:
    try:
        weights = safetensors.torch.load(content)
        network.load_state_dict(weights)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise BrokenBundleError(f"{file} does not fit the network that is described for it.") from error
    if last_linear(network).out_features != labels:
        raise BrokenBundleError(f"{file}: the network must end in a linear layer with {labels} outputs.")


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
