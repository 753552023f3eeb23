"""The reference cases of a specialist and the search for those most like an image (GSCo's RAD)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gsco_pacs.domain.errors import BrokenBundleError
from gsco_pacs.domain.findings import SimilarCase


@dataclass(frozen=True)
class ReferenceCase:
    """One reference image: an opaque key, its true labels, and a hash of its patient."""

    key: str
    labels: tuple[str, ...]
    patient: str


@lru_cache(maxsize=16)  # one study asks several times for one patient
def patient_hash(patient_id: str, salt: str) -> str:
    """Return a slow, salted hash (scrypt, RFC 7914) by which the same patient is recognised and nobody is named.

    Blanks around the ID mean nothing (PS3.5 section 6.2, LO). The issuer is left out: one case too few recalled, where two
    hospitals use one ID, does no harm; a patient's own case recalled would.
    """
    return hashlib.scrypt(
        patient_id.strip().encode(), salt=bytes.fromhex(salt), n=2**12, r=8, p=1, dklen=16
    ).hex()


class CaseIndex:
    """Exact cosine search over L2-normalised features, [n, d]."""

    def __init__(
        self, specialist: str, features: NDArray[np.floating], cases: Sequence[ReferenceCase], salt: str
    ) -> None:
        if len(features) != len(cases):
            raise BrokenBundleError(
                f"{specialist}: {len(features)} features for {len(cases)} reference cases."
            )
        self._specialist, self._cases, self._salt = specialist, tuple(cases), salt
        self._features = features.astype(np.float32)
        self._patients = np.array([case.patient for case in cases])

    def nearest(self, features: NDArray[np.float32], k: int, patient_id: str) -> tuple[SimilarCase, ...]:
        """Return the ``k`` nearest cases of other patients than ``patient_id``, nearest first; fewer if there are fewer.

        ``features`` is [d], L2-normalised. Which image of the study was asked about is the caller's to fill in.
        """
        similarities = np.clip(self._features @ features.astype(np.float32), -1, 1)
        others = np.flatnonzero(self._patients != patient_hash(patient_id, self._salt))
        order = others[np.argsort(-similarities[others], kind="stable")][:k]
        return tuple(
            SimilarCase(
                specialist=self._specialist,
                key=self._cases[row].key,
                labels=self._cases[row].labels,
                similarity=float(similarities[row]),
                sop_instance_uid="",
            )
            for row in order
        )


def cases_as_json(cases: Sequence[ReferenceCase]) -> bytes:
    """Return the content of index/cases.json, one case a line."""
    rows = [json.dumps({"key": case.key, "labels": case.labels, "patient": case.patient}) for case in cases]
    return ("[\n" + ",\n".join(rows) + "\n]\n").encode()


def cases_from_json(content: bytes) -> tuple[ReferenceCase, ...]:
    """Return the cases in index/cases.json; BrokenBundleError if it is not made like that."""
    try:
        return tuple(
            ReferenceCase(row["key"], tuple(row["labels"]), row["patient"]) for row in json.loads(content)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenBundleError(f"index/cases.json: {error!r}.") from error
