"""Under which names a bundle's networks speak: in opinions, in reports, in the record. Needs no torch."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gsco_pacs.adapters.bundle_format import metadata_of
from gsco_pacs.domain.errors import ConfigError


def bundle_name(metadata: dict[str, Any], bundle: Path) -> str:
    """The bundle's name if it can stand in a list of opinions; MONAI's own bundles have a title there, or nothing."""
    given = str(metadata.get("name", ""))
    return given if re.fullmatch(r"[\w.-]+", given) else bundle.resolve().name


def member_names(name: str, count: int) -> tuple[str, ...]:
    """The names of the ``count`` networks of the bundle ``name``."""
    return (name,) if count == 1 else tuple(f"{name}.{number}" for number in range(1, count + 1))


def check_names(bundles: Sequence[Path], route: str) -> None:
    """ConfigError with the directories if two of the ``bundles`` of a ``route`` would speak under one name."""
    spoken: dict[str, Path] = {}
    for bundle in bundles:
        metadata = metadata_of(bundle)
        further = metadata.get("gsco", {}).get("members") or ()
        for name in member_names(bundle_name(metadata, bundle), 1 + len(further)):
            other = spoken.setdefault(name, bundle)
            if other is not bundle:
                raise ConfigError(
                    f"routes.{route}.specialists: {other} and {bundle} both speak as {name!r}, the name in their "
                    "metadata.json: give one of them another and seal it."
                )
