"""What the node holds of a study: identifiers, files and the headers that routing reads."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gsco_pacs.domain.errors import BadUidError

_UID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")

Header = Mapping[str, str | list[str]]
"""DICOM keyword -> value as text (a list where the attribute has several values); empty values are left out."""


def valid_uid(uid: str) -> str:
    """``uid`` itself if it is made as PS3.5 section 9.1 demands (digits, no leading zeros, at most 64); else BadUidError."""
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise BadUidError(f"{uid[:64]!r} is not a valid UID (PS3.5 section 9.1).")
    return uid


@dataclass(frozen=True)
class Peer:
    """Who sent an object: the AE titles of the association and the network address."""

    calling_ae: str
    called_ae: str
    address: str


@dataclass(frozen=True)
class Instance:
    """One stored SOP Instance: durable bytes and the header that routing reads."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    size: int
    path: str
    """Relative to the store, made from the content's hash and never from what a peer sent."""
    header: Header = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """One revision of a study: every image instance that the node holds of it, in the order of arrival."""

    study_instance_uid: str
    revision: int
    instances: tuple[Instance, ...]
    incomplete: str = ""
    """What was missing or in doubt when it was closed; the draft says so."""

    @property
    def patient_id(self) -> str:
        """Patient ID of the first instance that has one; empty if none has."""
        return next((str(i.header["PatientID"]) for i in self.instances if "PatientID" in i.header), "")


@dataclass(frozen=True)
class StoredFile:
    """An instance and the absolute path of its bytes (a DICOM Part 10 file)."""

    instance: Instance
    path: Path


@dataclass(frozen=True)
class Trial:
    """One route that was tried on a study, and which condition failed ("" if it matched)."""

    route: str
    matched: bool
    reason: str


@dataclass(frozen=True)
class Routing:
    """The route that a study takes (None: no route matched) and every trial on the way."""

    route: str | None
    trials: tuple[Trial, ...]
