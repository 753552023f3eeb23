"""What stands in a bundle: the `gsco` section of its metadata, and its paths. Needs no torch."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from gsco_pacs.domain.errors import BrokenBundleError

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
WEIGHTS = "models/model.safetensors"
PICKLED = "models/model.pt"
"""Weights as PyTorch writes them, read where there are no safetensors."""
FEATURES = "index/features.safetensors"
CASES = "index/cases.json"
TASK = "configs/task.yaml"
SUMS = "SHA256SUMS"
EVALUATION = "docs/evaluation.json"
CARD = "docs/README.md"
LICENCE = "LICENSE"
SAMPLES = "samples"
EXPECTED = "samples/expected.json"

Tones = Literal["shown", "equalised", "local"]
"""Grey values as they are shown; by their rank among the picture's; or by how they differ from their surroundings."""


class Section(BaseModel):
    """A frozen part of the metadata; a key that is not known is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SectionT = TypeVar("SectionT", bound=Section)


class CodeEntry(Section):
    """A coded concept (PS3.3 section 8.8): the meaning has at most 64 characters."""

    value: str = Field(min_length=1)
    scheme: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)


Terms = tuple[Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True)], ...]
"""Values of code strings, which DICOM has in upper case (PS3.5 section 6.2, CS)."""


class InputEntry(Section):
    """Which images the specialist may be asked about; an empty tuple puts no condition."""

    modalities: Terms = ()
    sop_classes: tuple[str, ...] = ()
    body_parts: Terms = ()
    views: Terms = ()
    min_rows: int = Field(default=1, ge=1)
    min_columns: int = Field(default=1, ge=1)
    max_images: int = Field(default=1, ge=1)


class ReadingEntry(Section):
    """Which of the images that fit are read (``ports.Reading``); ``max_images`` bounds `spread` and `key`."""

    images: Literal["spread", "all", "every", "key"] = "spread"
    every: int = Field(default=1, ge=1)
    frames: Literal["one", "all"] = "one"


class PoolingEntry(Section):
    """How looks at several images become one opinion (``ports.Pooling``)."""

    how: Literal["max", "mean", "top"] = "max"
    top: int = Field(default=3, ge=1)


class PrepareEntry(Section):
    """How a picture, 0..1, becomes the network's input: resized to size x size, then (x - mean) / std.

    Of an RGB picture each colour may have numbers of its own. ``scale: picture`` puts the picture's own mean and
    standard deviation, colour by colour, in the place of the fixed ones. ``tones`` may even out the grey values after the
    resizing, so that the window in which a picture was saved says less. ``transpose`` gives the network columns for rows,
    as MONAI's LoadImage does; None: not said, and rows stay rows.
    """

    size: int = Field(ge=32)
    mean: float | tuple[float, float, float] = 0.0
    std: Annotated[float, Field(gt=0)] | tuple[PositiveFloat, PositiveFloat, PositiveFloat] = 1.0
    fit: Literal["stretch", "pad"]
    scale: Literal["fixed", "picture"] = "fixed"
    tones: Tones = "shown"
    transpose: bool | None = None


class FindingEntry(Section):
    """One label of the data set and how a report says it."""

    label: str = Field(min_length=1)
    text: str = Field(min_length=1)
    code: CodeEntry
    site: CodeEntry | None = None
    severity: CodeEntry | None = None


class CalibrationEntry(Section):
    """Calibration and thresholds of one output of a network.

    p = sigmoid(slope * logit + intercept), monotone because slope > 0. ``balanced_at`` is the threshold with
    the best balanced accuracy on the validation split. The defaults leave the network's word as it is.
    """

    label: str = Field(min_length=1)
    slope: float = Field(default=1.0, gt=0)
    intercept: float = 0.0
    absent_below: float = Field(default=0.5, ge=0, le=1)
    present_from: float = Field(default=0.5, ge=0, le=1)
    balanced_at: float = Field(default=0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.absent_below > self.present_from:
            raise ValueError(f"{self.label}: absent_below is greater than present_from.")
        return self


class LabelEntry(CalibrationEntry, FindingEntry):
    """One output of the first network: what it means, its calibration and its thresholds."""


class MemberEntry(Section):
    """One more network of the same task: its files, its pictures and its own calibration, label by label."""

    version: str
    inference: str = Field(default=INFERENCE, pattern=r"^configs/\w[\w.-]*\.json$")
    weights: str = Field(pattern=r"^models/\w[\w.-]*$")
    prepare: PrepareEntry
    labels: tuple[CalibrationEntry, ...] = Field(min_length=1)


class SaliencyEntry(Section):
    """How the specialist shows where it looked."""

    maps: int = Field(default=3, ge=0, le=20)
    """Heat maps of a study at most, of the likeliest findings."""
    layer: str | None = None
    """The module whose output is explained; by default the last feature map before pooling."""


class GscoSection(Section):
    """The `gsco` section of metadata.json: what the node must know of a specialist."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    task: Literal["multi-label", "multi-class"]
    title: str
    region: str
    modality_phrase: str
    module: str = ""
    """Rows of a manifest with this module belong to the specialist."""
    input: InputEntry
    reading: ReadingEntry = ReadingEntry()
    pooling: PoolingEntry = PoolingEntry()
    prepare: PrepareEntry
    labels: tuple[LabelEntry, ...] = Field(min_length=1)
    normal_label: str | None = None
    outputs: tuple[NonNegativeInt, ...] | None = None
    """Which output of the network each label is, where it has others too; None: one output a label, in order."""
    patient_salt: str | None = None
    """Salt of the patients' hashes in the case index; None without an index."""
    saliency: SaliencyEntry = SaliencyEntry()
    familiar_from: float | None = Field(default=None, ge=-1, le=1)
    """Nearness of a picture to the case index below which it is unlike the reference images; None: nothing is."""
    members: tuple[MemberEntry, ...] = ()
    """Further networks of the same task, each with an opinion of its own; the case index is the first one's."""

    def member(self, number: int) -> "GscoSection":
        """The section as if the member with this number (1: the network of ``labels``) stood alone in the bundle."""
        if number == 1:
            return self.model_copy(update={"members": ()})
        own = self.members[number - 2]
        labels = (
            LabelEntry.model_validate(finding.model_dump() | calibration.model_dump())
            for finding, calibration in zip(self.labels, own.labels, strict=True)
        )
        alone = {"labels": tuple(labels), "prepare": own.prepare, "members": ()}
        return self.model_copy(update=alone | {"patient_salt": None, "familiar_from": None})

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [entry.label for entry in self.labels]
        if any([entry.label for entry in member.labels] != names for member in self.members):
            raise ValueError("a member's labels are not those of the bundle, in their order.")
        if self.outputs is not None and len(self.outputs) != len(names):
            raise ValueError("outputs must name one output for each label.")
        if len(set(names)) != len(names):
            raise ValueError("a label stands twice.")
        if self.normal_label is not None and self.normal_label not in names:
            raise ValueError(f"normal_label {self.normal_label!r} is not among the labels.")
        return self


def read_metadata(content: bytes) -> tuple[dict[str, Any], GscoSection]:
    """All of metadata.json of a bundle that classifies, and its checked `gsco` section, as ``read_section``."""
    return read_section(content, GscoSection)


def read_section(content: bytes, kind: type[SectionT]) -> tuple[dict[str, Any], SectionT]:
    """All of metadata.json and its `gsco` section as ``kind``; BrokenBundleError says what is wrong in it."""
    metadata = _keys_and_values(content, METADATA)
    if "gsco" not in metadata:
        raise BrokenBundleError(
            f"{METADATA} has no section `gsco`: docs/own_specialist.md says what it holds."
        )
    try:
        return metadata, kind.model_validate(metadata["gsco"])
    except ValidationError as error:
        raise BrokenBundleError(f"{METADATA}: {'; '.join(map(_mistake, error.errors()))}") from error


def _mistake(found: ErrorDetails) -> str:
    return f"{'.'.join(map(str, ('gsco', *found['loc'])))}: {found['msg'].removeprefix('Value error, ')}"


def metadata_of(bundle: Path) -> dict[str, Any]:
    """All of metadata.json as it stands there, with no file verified; BrokenBundleError if it cannot be read."""
    try:
        return _keys_and_values((bundle / METADATA).read_bytes(), f"{bundle}: {METADATA}")
    except OSError as error:
        raise BrokenBundleError(f"{bundle}: {METADATA}: {error.strerror}.") from error


def _keys_and_values(content: bytes, file: str) -> dict[str, Any]:
    try:
        metadata = json.loads(content)
    except ValueError as error:
        raise BrokenBundleError(f"{file} is not JSON: {error}.") from error
    if isinstance(metadata, dict) and isinstance(metadata.get("gsco", {}), dict):
        return metadata
    raise BrokenBundleError(f"{file} is not made of keys and values.")


def segments(bundle: Path) -> bool:
    """Whether the bundle says that it segments; its files are verified by whoever then loads it."""
    return bool(metadata_of(bundle).get("gsco", {}).get("task") == "segmentation")
