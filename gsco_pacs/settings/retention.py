"""What the node deletes by itself, and when."""

from typing import Annotated

from pydantic import Field

from gsco_pacs.conditions import Settings

Days = Annotated[float, Field(gt=0)]


class Retention(Settings):
    """What may be deleted once nobody needs it here any more; without a figure nothing is, whatever the disk says."""

    images_days: Days | None = None
    """Received images are deleted so long after the last job of their study has settled, if none failed and every
    destination that is asked (`confirm`) keeps the reports; but not before `receiver.commitment_days` of a promise."""
    reports_days: Days | None = None
    """The bytes of a report are deleted so long after every destination that is asked has confirmed that it keeps it,
    and never if none is asked; the record stays."""
