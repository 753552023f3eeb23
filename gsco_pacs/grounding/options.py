"""Reads an answer that must consist of options: strictly, never by guessing."""

import re
from collections.abc import Sequence

from gsco_pacs.domain.errors import GscoError


class NotAnOptionError(GscoError):
    """The answer is not made of the options."""


def chosen(text: str, options: Sequence[str], *, single: bool) -> tuple[str, ...]:
    """The options that the answer names, separated by commas; quotes, case and a final full stop do not matter.

    NotAnOptionError if anything else stands in it, if an option stands twice, or if ``single`` and there are several.
    """
    known = {option.casefold(): option for option in options}
    parts = [part.strip().strip("'\"").strip() for part in re.sub(r"\.\s*$", "", text.strip()).split(",")]
    strange = [part for part in parts if part.casefold() not in known]
    if strange:
        raise NotAnOptionError("the answer is not made of the options")
    named = tuple(known[part.casefold()] for part in parts)
    if len(set(named)) != len(named):
        raise NotAnOptionError("the answer names an option twice")
    if single and len(named) != 1:
        raise NotAnOptionError("the answer names several options where one was asked for")
    return named
