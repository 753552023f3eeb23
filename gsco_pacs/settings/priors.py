"""Which earlier studies of the patient a route wants to compare with, and how long it waits for them."""

from typing import Annotated

from pydantic import Field

from gsco_pacs.conditions import Settings
from gsco_pacs.settings.values import Name, Seconds


class PriorRule(Settings):
    """Earlier studies of the same patient are fetched, consulted on, and compared with; no report is drafted on them."""

    from_: Name = Field(alias="from")
    """One of `archives`."""
    modalities: tuple[str, ...] = ()
    """Only series of these; empty: of the modalities that the study has itself."""
    body_parts: tuple[str, ...] = ()
    """Only studies with a series of one of these (Body Part Examined); empty: any."""
    within_days: Annotated[int, Field(ge=1)] = 1095
    """Only studies of so many days before."""
    most: Annotated[int, Field(ge=1, le=10)] = 1
    """So many at most, the newest."""
    deadline_seconds: Seconds = 120
    """The draft does not wait longer for them, from the closing of the study on."""
