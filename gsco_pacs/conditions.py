"""The conditions of a route, and the frozen settings that all of config.yaml is made of."""

import difflib
import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydicom.datadict import tag_for_keyword


class Settings(BaseModel):
    """A frozen group of settings that names the nearest right key when it meets a wrong one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, data: Any) -> Any:
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in data if isinstance(data, dict) else ():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}."
                raise ValueError(f"unknown key {key!r}: {hint}")
        return data


class Match(Settings):
    """One attribute of an image; every test that is given must hold for one of its values."""

    tag: str
    """DICOM keyword, such as `Modality`."""
    equals: str | None = None
    """The value is this text."""
    one_of: tuple[str, ...] | None = None
    """The value is one of these."""
    matches: str | None = None
    """A regular expression that the whole value matches (Python syntax, upper and lower case differ)."""
    range: tuple[float, float] | None = None
    """The value is a number from the first to the second, both included."""
    present: bool | None = None
    """The attribute has a value (true), or has none (false)."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if tag_for_keyword(self.tag) is None:
            raise ValueError(
                f"{self.tag!r} is not a DICOM keyword (PS3.6); write it as in 'BodyPartExamined'."
            )
        if all(test is None for test in (self.equals, self.one_of, self.matches, self.range, self.present)):
            raise ValueError("give one of equals, one_of, matches, range, present.")
        try:
            re.compile(self.matches or "")
        except re.error as error:
            raise ValueError(f"{self.matches!r} is not a regular expression: {error}.") from None
        return self


class All(Settings):
    """Every condition in the list holds."""

    all: tuple["Condition", ...] = Field(min_length=1)


class AnyOf(Settings):
    """At least one condition in the list holds."""

    any: tuple["Condition", ...] = Field(min_length=1)


class Not(Settings):
    """The condition does not hold."""

    not_: "Condition" = Field(alias="not")


class OneImage(Settings):
    """One and the same image of the study meets the condition."""

    one_image: "Condition"


def _kind_of_condition(value: Any) -> str:
    keys = value if isinstance(value, dict) else vars(value)
    return next((kind for kind in ("all", "any", "not", "not_", "one_image") if kind in keys), "tag").rstrip(
        "_"
    )


Condition = Annotated[
    Annotated[All, Tag("all")]
    | Annotated[AnyOf, Tag("any")]
    | Annotated[Not, Tag("not")]
    | Annotated[OneImage, Tag("one_image")]
    | Annotated[Match, Tag("tag")],
    Discriminator(_kind_of_condition),
]
"""A condition on a study: a `tag` test holds if any image meets it; all, any, not and one_image combine."""
