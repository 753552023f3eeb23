"""What the walks expect of the outside: a Protocol only where the tree holds two implementations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from gsco_pacs.domain.archive import (
    ArchivedInstance,
    ArchivedSeries,
    ArchivedStudy,
    Criteria,
    Suboperations,
    Wanted,
)
from gsco_pacs.domain.commitment import Outcome
from gsco_pacs.domain.findings import (
    Answer,
    Briefing,
    Finding,
    ModelIdentity,
    ObjectKind,
    Receipt,
    Report,
    Segment,
    SimilarCase,
)
from gsco_pacs.domain.incoming import Incoming

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Picture:
    """One image (or one frame) as a person would see it on a calibrated screen."""

    sop_instance_uid: str
    pixels: "NDArray[np.float32]"
    """(rows, columns) grey or (rows, columns, 3) RGB, 0..1, 1 = white, upright as stored."""
    frame: int = 1


@dataclass(frozen=True)
class Reading:
    """Which of the images that fit are read."""

    images: Literal["spread", "all", "every", "key"] = "spread"
    """At most ``max_images``, evenly spread; all; every ``every``-th of each series; those that a Key Object Selection
    names (at most ``max_images``; without one, the middle ones)."""
    every: int = 1
    frames: Literal["one", "all"] = "one"
    """Of a multi-frame image one frame is read, or each frame counts as an image."""


@dataclass(frozen=True)
class Pooling:
    """How what a specialist sees in several images becomes one opinion of the study."""

    how: Literal["max", "mean", "top"] = "max"
    """The most telling image counts, the mean of all, or the mean of the ``top`` most telling ones."""
    top: int = 3


@dataclass(frozen=True)
class InputContract:
    """Which images a specialist may be asked about; an empty tuple puts no condition."""

    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]
    body_parts: tuple[str, ...]
    views: tuple[str, ...]
    min_rows: int
    min_columns: int
    max_images: int
    reading: Reading = Reading()


@dataclass(frozen=True, eq=False)
class Look:
    """What a specialist saw in one picture."""

    probabilities: tuple[float, ...]
    """Calibrated, in the order of ``Specialist.findings``."""
    features: "NDArray[np.float32]"
    """(d,), pooled and L2-normalised."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A series whose slices lie in one frame of reference, parallel and equally spaced."""

    voxels: "NDArray[np.float32]"
    """(slices, rows, columns), real values as the modality means them."""
    affine: "NDArray[np.float64]"
    """(4, 4): index (slice, row, column, 1) of a voxel -> place of its centre in mm, LPS (PS3.3 C.7.6.2.1.1)."""
    slices: tuple[tuple[str, int], ...]
    """SOP Instance UID and frame (1 = first) of each slice."""


@dataclass(frozen=True)
class VolumeContract:
    """Which series a segmenter may be asked about; lengths in mm along right-left, back-front and feet-head."""

    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]
    body_parts: tuple[str, ...]
    min_slices: int
    max_spacing: float
    max_tilt: float
    """Degrees."""
    min_extent: tuple[float, float, float]
    max_extent: tuple[float, float, float]


@dataclass(frozen=True)
class Thresholds:
    """Below the first a finding is absent, from the second on it is present, between them uncertain."""

    absent_below: float
    present_from: float


class Specialist(Protocol):
    """A model that is good at one thing. Implemented by adapters.bundles, and by whatever a test looks through."""

    @property
    def identity(self) -> ModelIdentity:
        """Name, version and hash for the record."""

    @property
    def bundle(self) -> str:
        """The bundle that it stands in, alone or with others who read the same images."""

    @property
    def contract(self) -> InputContract:
        """Which images it may be asked about."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What it can find, in the order of its outputs."""

    @property
    def thresholds(self) -> tuple[Thresholds, ...]:
        """One pair for each finding."""

    @property
    def pooling(self) -> Pooling:
        """How its looks at the images of a study become its opinions."""

    @property
    def familiar_from(self) -> float | None:
        """Nearness (domain.findings) below which a picture is unlike anything it learnt from; None if not known."""

    @property
    def examines(self) -> str:
        """What it looks at in the words of a prompt, such as "chest X-ray"."""

    def look(self, pictures: Sequence[Picture]) -> tuple[Look, ...]:
        """One Look for each picture; called once a study, in a worker, TransientError if memory runs out."""

    def similar(self, look: Look, k: int, patient_id: str) -> tuple[SimilarCase, ...]:
        """The k nearest reference cases, nearest first, none of the same patient; () without a case index."""


@runtime_checkable
class Segmenter(Protocol):
    """A model that outlines structures in a volume. Implemented by adapters.segmentation_bundles and by tests."""

    @property
    def identity(self) -> ModelIdentity:
        """Name, version and hash for the record."""

    @property
    def volume_contract(self) -> VolumeContract:
        """Which series it may be asked about."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What it outlines; the first is segment 1."""

    @property
    def examines(self) -> str:
        """What it looks at in the words of a prompt."""

    def segment(self, volume: Volume) -> "NDArray[np.uint8]":
        """The number of the segment that each voxel belongs to, 0 for none; TransientError if memory runs out."""


Asked = Specialist | Segmenter
"""Whoever a route may name as a specialist."""


@runtime_checkable
class Explaining(Protocol):
    """A specialist that can also show where it looked; one that cannot has no such methods."""

    @property
    def most_maps(self) -> int:
        """How many heat maps it draws of a study at most."""

    def explain(self, picture: Picture, label: str) -> "NDArray[np.float32]":
        """(rows, columns) in 0..1 over the whole picture, in its shape but of any size: 1 where it was moved most towards ``label``.

        Called in a worker, after ``look``. NotApplicableError with the reason if it has nothing to show.
        """


class Generalist(Protocol):
    """A vision-language model, or what stands in for it. Implemented by three adapters."""

    @property
    def identity(self) -> ModelIdentity:
        """Name, version and hash for the record."""

    def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
        """One greedy answer; called once a study (twice when the gate objects), in a worker, TransientError if it may pass."""


class Destination(Protocol):
    """Where reports go. Implemented by adapters.store_scu, adapters.stow and adapters.folder."""

    @property
    def name(self) -> str:
        """The name in config.yaml."""

    @property
    def objects(self) -> frozenset[ObjectKind]:
        """The kinds of objects that are sent there."""

    def send(self, reports: Sequence[Report]) -> tuple[Receipt, ...]:
        """Send all; a second call with the same reports must be harmless. TransientError or RejectedByPeerError."""


class Archive(Protocol):
    """A PACS that can be asked and fetched from. Implemented by adapters.query_scu and adapters.dicomweb.

    Every method raises PeerUnavailableError or PeerBusyError for what may pass, RejectedByPeerError if the archive
    refuses for good or its answers go beyond the configured bounds, and BadObjectError if they cannot be understood.
    """

    @property
    def name(self) -> str:
        """The name in config.yaml."""

    def find_studies(self, criteria: Criteria) -> tuple[ArchivedStudy, ...]:
        """The studies that meet ``criteria``, newest first."""

    def list_series(self, study_instance_uid: str) -> tuple[ArchivedSeries, ...]:
        """The series of a study; none if the archive does not know it."""

    def list_instances(
        self, study_instance_uid: str, series: Sequence[ArchivedSeries]
    ) -> tuple[ArchivedInstance, ...]:
        """Every object of these series."""

    def retrieve(
        self,
        wanted: Wanted,
        take: Callable[[Incoming], None],
        progress: Callable[[Suboperations], None],
    ) -> Suboperations:
        """Fetch the objects; one that fails stops no other.

        ``take`` is handed what comes on the way it was asked for; by C-MOVE everything comes to the receiver.
        """


class Confirming(Protocol):
    """Whoever knows whether a destination keeps what it took. Implemented by adapters.commitment_scu and adapters.archive_query."""

    def confirm(self, transaction_uid: str, reports: Sequence[Report]) -> Outcome | None:
        """Ask; None if the answer comes later by itself. TransientError or RejectedByPeerError if it cannot be asked."""
