"""What a received object is to its study."""

from enum import StrEnum


class Registration(StrEnum):
    """What a received object turned out to be."""

    KEPT = "kept"
    """An image of the study, or the first object of it."""
    EQUAL = "equal"
    """The same bytes again: counted, otherwise ignored."""
    VARIANT = "variant"
    """A known SOP Instance UID with other bytes: kept aside and shown, never part of the study."""
    CORRECTED = "corrected"
    """A variant that turned out to be the same image with another header: it takes the former one's place."""
    ATTACHED = "attached"
    """No image (a report, a presentation state …) of a study that has a job: kept and shown, never read, wakes nobody."""
    OWN = "own"
    """One of the node's own results came back: counted, never read."""


PART_OF_STUDY = (Registration.KEPT, Registration.CORRECTED)
"""What the workers read, if nothing newer took its place."""
