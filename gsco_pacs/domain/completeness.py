"""What is known about how complete a study is: what came, what a route expects, what the modality and the archive say."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Grounds(StrEnum):
    """Which evidence closed a study."""

    QUIET = "quiet time"
    EXPECTED = "expected images"
    ANNOUNCED = "announced images"
    COUNTED = "archive's count"
    DEADLINE = "deadline"


class Step(StrEnum):
    """Performed Procedure Step Status (0040,0252); what a notification of availability names is completed."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


@dataclass(frozen=True)
class Expected:
    """Something that a route expects of its studies, and how much of it is here."""

    what: str
    """Such as "images with ViewPosition is LL"."""
    wanted: int
    here: int


@dataclass(frozen=True)
class Announcement:
    """What one SOP Instance announces of one or more studies; each image is a SOP Instance UID."""

    kind: str
    """MPPS or Availability notification."""
    sop_instance_uid: str
    study_instance_uids: tuple[str, ...]
    step: Step
    images: tuple[str, ...]


@dataclass(frozen=True)
class Heard:
    """When an announcement of a study was heard last, and whether any of them speaks of a finished acquisition."""

    at: datetime
    finished: bool


@dataclass(frozen=True)
class Announced:
    """Images that a modality (MPPS) or an archive (Instance Availability Notification) has announced."""

    by: str
    """Such as "MPPS of CT1"."""
    step: Step
    images: int
    missing: int
    """How many of them are not here."""


@dataclass(frozen=True)
class Counted:
    """How many instances an archive said it holds of the study, its copies of the node's own results left out."""

    archive: str
    instances: int
    times: int
    """Answered so in a row since the newest image came."""


@dataclass(frozen=True)
class Corrected:
    """How far the last correction of patient or study has come."""

    keywords: tuple[str, ...]
    images: int
    left: int
    """Images that still have the former attributes."""


@dataclass(frozen=True)
class Standing:
    """All evidence on one revision of a study at one moment."""

    first_received_at: datetime
    last_received_at: datetime
    revision: int = 1
    instances: int = 0
    """SOP Instances of the study that are here, without the node's own."""
    expected: tuple[Expected, ...] = ()
    announced: tuple[Announced, ...] = ()
    unannounced: int = 0
    """Images of this revision that no announcement names."""
    counted: Counted | None = None
    unanswered: str = ""
    """Why the archive did not answer the last question."""
    corrected: Corrected | None = None


@dataclass(frozen=True)
class Patience:
    """How long the node waits, in seconds."""

    quiet_seconds: float
    """Without a new image until a study counts as complete, if nothing speaks against it."""
    settle_seconds: float
    """Without a new image after everything that the route expects has come."""
    deadline_seconds: float
    """From the first image until the study is closed whatever is missing."""


@dataclass(frozen=True)
class Decision:
    """Whether a study is closed, why, by which evidence, and what then spoke against it being complete."""

    closed: bool
    reason: str
    decided_at: datetime
    grounds: Grounds | None = None
    evidence: tuple[str, ...] = ()
    """Everything that was known, a sentence each."""
    incomplete: str = ""
    """What is missing or in doubt, for the draft; empty if nothing is."""
