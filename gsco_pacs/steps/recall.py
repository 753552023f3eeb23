"""Recalls similar cases (RAD): the specialist's nearest reference cases over all pictures of the study."""

from collections.abc import Sequence
from dataclasses import replace

from gsco_pacs.domain.findings import SimilarCase
from gsco_pacs.ports import Look, Picture, Specialist


def recall(
    specialist: Specialist, looks: Sequence[tuple[Picture, Look]], *, k: int, patient_id: str
) -> tuple[SimilarCase, ...]:
    """The k cases most like any picture of the study, nearest first, each once, none of the same patient."""
    nearest: dict[str, SimilarCase] = {}
    for picture, look in looks:
        for case in specialist.similar(look, k, patient_id):
            known = nearest.get(case.key)
            if known is None or case.similarity > known.similarity:
                nearest[case.key] = replace(case, sop_instance_uid=picture.sop_instance_uid)
    return tuple(sorted(nearest.values(), key=lambda case: -case.similarity)[:k])
