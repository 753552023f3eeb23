"""What the audit trail tells of studies: that they come and go, and who has them opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gsco_pacs.domain.study import Peer


class Action(StrEnum):
    """What a transfer meant to whoever reports it; the values are EventActionCodes (PS3.15 section A.5.3.7)."""

    CREATE = "C"
    """It did not hold these instances."""
    READ = "R"
    """It holds them already, or it is the sender and does not know."""
    UPDATE = "U"
    """It holds others under their SOP Instance UIDs, and reconciles the two."""


@dataclass(frozen=True)
class Transfer:
    """Instances of one study that came from one peer, or that one destination took."""

    study_instance_uid: str
    patient_id: str
    sop_classes: Mapping[str, int]
    """SOP Class UID -> number of instances."""
    action: Action
    at: datetime
    """When the last of them was transferred."""
    source: Peer | None = None
    """Who sent them here; None if they went away."""
    destination: str = ""
    """Its name in config.yaml, if they went away."""
    fetched_by: Mapping[str, str] = field(default_factory=dict)
    """Archive that the study was being fetched from meanwhile -> who wanted it: a person, or the job that it is a prior of."""


@dataclass(frozen=True)
class Access:
    """A study was opened, its images and what was found in them, for a person's question."""

    study_instance_uid: str
    patient_id: str
    sop_classes: Mapping[str, int]
    """SOP Class UID -> number of instances."""
    asked_by: str
    succeeded: bool
    """Whether the question was answered."""
    at: datetime
