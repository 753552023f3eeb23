"""Questions over HTTP, asked page by page until the answer is whole (QIDO-RS: PS3.18 sections 8.3.4.4 and 10.6)."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from gsco_pacs.adapters.http_peer import HttpPeer, chunks
from gsco_pacs.domain.errors import BadObjectError, RejectedByPeerError
from gsco_pacs.settings.archives import DicomwebArchive
from gsco_pacs.unreadable import UNREADABLE

_JSON = "application/dicom+json"
_BYTES_A_MATCH = 4096
"""More than any answer to our queries needs; the JSON model is verbose."""
_MORE = "additional results"
"""In the warning 299 of a server that has more than it gives; the code alone may mean other things."""


@dataclass(frozen=True)
class Question:
    """What is asked, and how it is known that all answers are there."""

    path: str
    uid: str
    """Keyword of the UID by which answers differ."""
    matching: Mapping[str, str]
    """Keyword -> what it must match; an empty one is only wanted back."""
    wanted: Sequence[str]
    counted: int | None = None
    """So many there are, as the archive said before; None or 0 if it did not say."""

    def is_answered_by(self, uids: Collection[str]) -> bool:
        """Whether no further answer is to be expected beside these."""
        one = self.matching.get(self.uid)
        return one in uids if one else bool(self.counted) and len(uids) >= (self.counted or 0)


def find(peer: HttpPeer, settings: DicomwebArchive, question: Question) -> list[Dataset]:
    """All answers, however few the archive gives at a time.

    RejectedByPeerError if there are more than ``settings.maximum_matches``, if they take longer than
    ``settings.query_seconds``, or if the archive keeps back some: by its own count, or by its own words (warning 299).
    Other errors as in ports.Archive.
    """
    found: list[Dataset] = []
    uids: set[str] = set()
    has_more = is_full = False
    deadline = time.monotonic() + settings.query_seconds
    # A count may be older than the list: a page that is full has another after it, whatever was counted.
    while has_more or (is_full and question.counted) or not question.is_answered_by(uids):
        page, more = _page(peer, settings, question, len(found), deadline)
        new = {str(answer.get(question.uid)) for answer in page} - uids
        if not new:  # it was the end; or the archive knows no pages, and gave the same again
            break
        found += page
        uids |= new
        has_more, is_full = more, len(page) >= settings.answers_per_request
        if len(found) > settings.maximum_matches:
            raise RejectedByPeerError(f"{peer} has too many answers: ask for less.")
    if has_more or len(uids) < (question.counted or 0):
        raise RejectedByPeerError(
            f"{peer} gave {len(uids)} answers where it has more: raise its own limit of answers."
        )
    return found


def _page(
    peer: HttpPeer, settings: DicomwebArchive, question: Question, offset: int, deadline: float
) -> tuple[list[Dataset], bool]:
    """The answers from ``offset`` on, and whether the archive says that there are more."""
    most = settings.maximum_matches + 1
    keys = [(keyword, value) for keyword, value in question.matching.items() if value]
    keys += [("includefield", keyword) for keyword in (*question.matching, *question.wanted)]
    keys.append(("limit", str(min(settings.answers_per_request, most - offset))))
    keys += [("offset", str(offset))] if offset else []
    with peer.answer(question.path, accept=_JSON, query=keys, understood=(200, 204, 404)) as response:
        if response.status_code != 200:
            return [], False
        left = max(0.0, deadline - time.monotonic())
        body = b"".join(chunks(response, most_bytes=most * _BYTES_A_MATCH, seconds=left))
        return _data_sets(body), _MORE in response.headers.get("Warning", "").lower()


def _data_sets(body: bytes) -> list[Dataset]:
    """The array of PS3.18 section F.2; BadObjectError if it is none."""
    try:
        return [Dataset.from_json(item) for item in json.loads(body or b"[]")]
    except UNREADABLE as error:
        raise BadObjectError(
            f"The archive's answer is not in the DICOM JSON model: {type(error).__name__}."
        ) from error
