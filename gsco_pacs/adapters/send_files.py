"""Sends DICOM files as they are, like a modality does; for ``gsco-pacs send`` and the demo."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pynetdicom import build_context
from pynetdicom.association import Association

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.domain.errors import BadObjectError
from gsco_pacs.unreadable import UNREADABLE

_CONTEXTS_AN_ASSOCIATION = 128


@dataclass(frozen=True)
class Sent:
    """One file and the status that it was answered with (None: the context was refused or the peer hung up)."""

    path: Path
    study_instance_uid: str
    status: int | None


@dataclass(frozen=True)
class _File:
    path: Path
    study_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str


def find_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Every file in ``paths``, folders searched through, in the order of their names."""
    for path in paths:
        yield from sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]


def send_files(paths: Sequence[Path], scp: CalledPeer, progress: Callable[[Sent], None]) -> list[Sent]:
    """Send every DICOM file in ``paths``; files that are not DICOM are refused by name before anything is sent.

    Errors of CalledPeer.association.
    """
    files = [_described(path) for path in find_files(paths)]
    if not files:
        raise BadObjectError("There is no file to send.")
    kinds = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in files})
    sent: list[Sent] = []
    for start in range(0, len(kinds), _CONTEXTS_AN_ASSOCIATION):
        some = kinds[start : start + _CONTEXTS_AN_ASSOCIATION]
        batch = [file for file in files if (file.sop_class_uid, file.transfer_syntax_uid) in some]
        for one in _send(batch, some, scp):
            progress(one)
            sent.append(one)
    return sent


def _described(path: Path) -> _File:
    try:
        ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "StudyInstanceUID"])
        return _File(path, str(ds.StudyInstanceUID), str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID))
    except UNREADABLE as error:
        raise BadObjectError(f"{path} is not a DICOM file that can be sent: {error}") from error


def _send(files: Sequence[_File], kinds: Sequence[tuple[str, str]], scp: CalledPeer) -> Iterator[Sent]:
    contexts = [build_context(sop_class_uid, syntax) for sop_class_uid, syntax in kinds]
    nothing_taken = "takes none of the files' SOP classes in their transfer syntaxes."
    with scp.association(contexts, nothing_taken) as association:
        for file in files:
            yield Sent(file.path, file.study_instance_uid, _store(association, file.path))


def _store(association: Association, path: Path) -> int | None:
    try:
        answer = association.send_c_store(path)
    except (ValueError, RuntimeError):
        return None
    return int(answer.Status) if "Status" in answer else None
