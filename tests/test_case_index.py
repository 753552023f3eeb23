"""The case index finds the nearest reference cases and never the query's own patient."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gsco_pacs.adapters.case_index import (
    CaseIndex,
    ReferenceCase,
    cases_as_json,
    cases_from_json,
    patient_hash,
)
from gsco_pacs.domain.errors import BrokenBundleError

SALT = "00112233445566778899aabbccddeeff"
PATIENTS = ("anna", "berta", "clara", "dora")
HASHES = {patient: patient_hash(patient, SALT) for patient in PATIENTS}


def index_of(
    owners: list[str], seed: int
) -> tuple[CaseIndex, np.ndarray[tuple[int, int], np.dtype[np.float16]]]:
    features = np.random.default_rng(seed).normal(size=(len(owners), 16))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    halves = features.astype(np.float16)
    cases = [ReferenceCase(f"case-{n}", (owner,), HASHES[owner]) for n, owner in enumerate(owners)]
    return CaseIndex("eye", halves, cases, SALT), halves


@given(
    owners=st.lists(st.sampled_from(PATIENTS), min_size=1, max_size=30),
    asked=st.integers(0, 29),
    k=st.integers(0, 12),
    seed=st.integers(0, 1000),
)
def test_the_nearest_cases_come_first_and_the_own_patient_never(
    owners: list[str], asked: int, k: int, seed: int
) -> None:
    index, features = index_of(owners, seed)
    asked %= len(owners)
    query = features[asked].astype(np.float32)
    found = index.nearest(query, k, owners[asked])
    others = [n for n, owner in enumerate(owners) if owner != owners[asked]]
    assert all(case.labels != (owners[asked],) for case in found)
    assert len(found) == min(k, len(others))
    similarities = [case.similarity for case in found]
    assert similarities == sorted(similarities, reverse=True)
    best = sorted((float(features[n].astype(np.float32) @ query) for n in others), reverse=True)[:k]
    assert similarities == pytest.approx(best, abs=1e-6)


def test_a_stranger_may_be_shown_every_case() -> None:
    index, features = index_of(["anna", "berta", "anna"], 1)
    found = index.nearest(features[0].astype(np.float32), 10, "somebody")
    assert found[0].key == "case-0"
    assert found[0].similarity == pytest.approx(1, abs=1e-3)
    assert len(found) == 3


def test_the_hash_of_a_patient_depends_on_the_salt_and_shows_nothing_of_the_patient() -> None:
    assert patient_hash("anna", SALT) == patient_hash(" anna ", SALT) == HASHES["anna"]
    assert patient_hash("anna", SALT[::-1]) != HASHES["anna"]
    assert len(HASHES["anna"]) == 32
    assert len(set(HASHES.values())) == len(PATIENTS)


def test_cases_survive_being_written_and_read() -> None:
    cases = (ReferenceCase("a-1", ("Mass", "Nodule"), "00ff"), ReferenceCase("a-2", (), "11ee"))
    assert cases_from_json(cases_as_json(cases)) == cases


@pytest.mark.parametrize("content", [b"", b"[1]", b'[{"key": "a"}]', b"\xff"])
def test_a_case_list_of_another_form_is_refused(content: bytes) -> None:
    with pytest.raises(BrokenBundleError):
        cases_from_json(content)


def test_features_and_cases_must_be_equally_many() -> None:
    with pytest.raises(BrokenBundleError, match="2 features for 1"):
        CaseIndex("eye", np.eye(2), [ReferenceCase("a", (), "00")], SALT)
