"""A destination that speaks DICOMweb: reports go there by STOW-RS (PS3.18 section 10.5)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

from pydicom import Dataset
from pydicom.uid import UID

from gsco_pacs.adapters.http_peer import HttpPeer, chunks
from gsco_pacs.adapters.store_scu import failure
from gsco_pacs.domain.errors import GscoError, PeerBusyError, RejectedByPeerError, TransientError
from gsco_pacs.domain.findings import ObjectKind, Receipt, Report

_JSON = "application/dicom+json"
_STORED, _STORED_IN_PART, _CONFLICT = 200, 202, 409
_BYTES_A_REPORT = 16384
"""More than an answer needs to say about one object."""


@dataclass(frozen=True)
class StowRs:
    """Sends reports in one request per call, as the bytes that were stored; implements ports.Destination.

    The failure reasons of PS3.18 table 10.5.3-1 and PS3.3 C.14 are those of C-STORE, and are read like them.
    """

    name: str
    """The name in config.yaml."""
    peer: HttpPeer
    objects: frozenset[ObjectKind]
    """The kinds of objects that are sent there."""

    def send(self, reports: Sequence[Report]) -> tuple[Receipt, ...]:
        """Send all; a receipt's status is "HTTP 200", with the warning if there was one. Errors as in ports.Destination."""
        boundary = uuid4().hex
        with self.peer.answer(
            "/studies",
            method="POST",
            accept=_JSON,
            content_type=f'multipart/related; type="application/dicom"; boundary={boundary}',
            content=_parts(reports, boundary),
            understood=(_STORED, _STORED_IN_PART, _CONFLICT),
        ) as response:
            status = response.status_code
            most = len(reports) * _BYTES_A_REPORT + _BYTES_A_REPORT
            body = b"".join(chunks(response, most_bytes=most, seconds=self.peer.seconds))
        told = [self._told(report, status, _result(body)) for report in reports]
        errors = [one for one in told if isinstance(one, GscoError)]
        if errors:
            raise min(errors, key=lambda error: not isinstance(error, TransientError))
        return tuple(one for one in told if isinstance(one, Receipt))

    def _told(self, report: Report, status: int, result: Dataset) -> Receipt | GscoError:
        """What the answer says about one report."""
        name = UID(report.sop_class_uid).name
        failed = _item(result, "FailedSOPSequence", report)
        if failed is not None:
            error = failure(int(failed.get("FailureReason") or 0x0110), name)
            if error is not None:
                return error
        taken = _item(result, "ReferencedSOPSequence", report)
        if taken is not None or failed is not None or status == _STORED:
            warning = int(taken.get("WarningReason") or 0) if taken is not None else 0
            said = f"HTTP {status}" + (f", warning 0x{warning:04X}" if warning else "")
            return Receipt(self.name, report.sop_instance_uid, said)
        if status == _CONFLICT:
            return RejectedByPeerError(f"The PACS refused {name} and does not say why: look into its log.")
        return PeerBusyError(f"The PACS does not say what became of {name}.")


def _parts(reports: Sequence[Report], boundary: str) -> Iterator[bytes]:
    """The multipart/related payload (PS3.18 section 8.6.1.2)."""
    for report in reports:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        yield report.content
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _result(body: bytes) -> Dataset:
    """The Store Instances Response Module; empty if the PACS did not send one, which some do not."""
    try:
        content = json.loads(body)
        return Dataset.from_json(content[0] if isinstance(content, list) else content)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return Dataset()


def _item(result: Dataset, sequence: str, report: Report) -> Dataset | None:
    items: list[Dataset] = result.get(sequence) or []
    return next((i for i in items if i.get("ReferencedSOPInstanceUID") == report.sop_instance_uid), None)
