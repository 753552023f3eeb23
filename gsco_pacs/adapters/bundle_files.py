"""A bundle's files: listed with their checksums when it is sealed, compared with them when they are read. Needs no torch."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gsco_pacs.adapters.bundle_format import (
    CASES,
    FEATURES,
    INFERENCE,
    METADATA,
    PICKLED,
    SAMPLES,
    SUMS,
    WEIGHTS,
    metadata_of,
)
from gsco_pacs.domain.errors import BrokenBundleError

_SUM_LINE = re.compile(r"(?P<sum>[0-9a-f]{64}) [ *](?P<name>[^/\\].*)")


class VerifiedFiles:
    """The files of a bundle, each compared with SHA256SUMS in the moment it is read."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        content = _sums_of(bundle)
        self.digest = hashlib.sha256(content).hexdigest()
        """Stands for all listed files at once."""
        self.sums = _parsed_sums(bundle, content.decode(errors="replace"))

    @property
    def weights(self) -> str:
        """The file of the first member's weights."""
        return WEIGHTS if WEIGHTS in self.sums or PICKLED not in self.sums else PICKLED

    def read(self, name: str) -> bytes:
        """Bytes of the file ``name``; BrokenBundleError if it is missing, not listed or not what was listed."""
        if name not in self.sums:
            raise BrokenBundleError(f"{self.bundle.name}: {_unlisted(self.bundle / name, name)}")
        try:
            content = (self.bundle / name).read_bytes()
        except OSError as error:
            raise BrokenBundleError(f"{self.bundle.name}: {name}: {error.strerror}.") from error
        if hashlib.sha256(content).hexdigest() != self.sums[name]:
            raise BrokenBundleError(f"{self.bundle.name}: {name} does not match its checksum in {SUMS}.")
        return content


def _unlisted(path: Path, name: str) -> str:
    if path.is_file():
        return f"{name} is not listed in {SUMS}: look at it, then write that with `gsco-pacs models seal`."
    others = ", ".join(sorted(other.name for other in path.parent.glob(f"{path.stem}.*")))
    instead = f", and {others} is not read in its place" if others else ""
    return f"{name} is missing{instead}: docs/own_specialist.md says which files are needed."


def _sums_of(bundle: Path) -> bytes:
    try:
        return (bundle / SUMS).read_bytes()
    except OSError as error:
        raise BrokenBundleError(
            f"{bundle.name}: {SUMS}: {error.strerror}: `gsco-pacs models seal` writes it."
        ) from error


def _parsed_sums(bundle: Path, content: str) -> dict[str, str]:
    matches = [_SUM_LINE.fullmatch(line) for line in content.splitlines()]
    if not all(matches):
        raise BrokenBundleError(f"{bundle.name}: {SUMS} is not in the format of sha256sum.")
    return {match["name"]: match["sum"] for match in matches if match}


def write_sums(bundle: Path) -> None:
    """Write SHA256SUMS over every file the loader opens and the samples, in the format of `sha256sum -c`."""
    further = _member_files(metadata_of(bundle).get("gsco", {}).get("members"))
    samples = (path.relative_to(bundle).as_posix() for path in sorted((bundle / SAMPLES).glob("*")))
    named = dict.fromkeys((METADATA, INFERENCE, WEIGHTS, PICKLED, *further, FEATURES, CASES, *samples))
    present = [name for name in named if (bundle / name).is_file()]
    lines = [f"{hashlib.sha256((bundle / name).read_bytes()).hexdigest()}  {name}\n" for name in present]
    (bundle / SUMS).write_text("".join(lines), encoding="utf-8")


def _member_files(members: Any) -> Iterator[str]:
    """The files that ``members``, not yet checked, name."""
    for member in members if isinstance(members, list) else ():
        named = (member.get("inference"), member.get("weights")) if isinstance(member, dict) else ()
        yield from (name for name in named if isinstance(name, str))
