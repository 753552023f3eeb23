"""Whether the bytes of a received object are still here."""

from enum import StrEnum


class Holding(StrEnum):
    """Where the bytes of an object stand between reception and the end of their retention."""

    HERE = "here"
    """In the store."""
    GOING = "going"
    """Given up, and perhaps still in the store."""
    GONE = "gone"
    """Deleted; the row stays."""
