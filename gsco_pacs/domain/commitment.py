"""Storage commitment (PS3.4 annex J): what a transaction may come to, and the words for its failure reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class CommitmentState(StrEnum):
    """Where the question stands whether a destination keeps an object."""

    OWED = "owed"
    """To be asked."""
    ASKED = "asked"
    """Asked; the answer is still to come."""
    COMMITTED = "committed"
    """The destination keeps it."""
    FAILED = "failed"
    """The destination does not have it."""
    OVERDUE = "overdue"
    """No answer by the deadline."""


PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
CLASS_CONFLICT = 0x0119
DUPLICATE_TRANSACTION = 0x0131

_REASONS = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such object instance",
    CLASS_CONFLICT: "class and instance conflict",
    0x0122: "SOP class not supported",
    DUPLICATE_TRANSACTION: "duplicate transaction UID",
    0x0213: "resource limitation",
}


def reason_words(reason: int) -> str:
    """A Failure Reason (0008,1197) for a person, such as "no such object instance (0x0112)"; PS3.3 section C.14."""
    return f"{_REASONS.get(reason, 'reason unknown to us')} (0x{reason:04X})"


@dataclass(frozen=True)
class Named:
    """An object as a transaction names it."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Outcome:
    """What became of the objects of a transaction."""

    transaction_uid: str
    committed: tuple[Named, ...]
    failed: Mapping[Named, int]
    """Object -> Failure Reason (0008,1197)."""
    by: str = "commitment"
    """How it is known: "commitment", or a "query" that looked for the objects."""
