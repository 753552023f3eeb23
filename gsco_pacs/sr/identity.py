"""UIDs made from what they stand for: the same inputs, models and settings always give the same UIDs (PS3.5 B.2)."""

import json
import uuid

from gsco_pacs.domain.findings import Consultation, Draft, ModelIdentity, ObjectKind, Provenance
from gsco_pacs.domain.study import Study

_NAMESPACE = uuid.UUID("0f0a4d55-3a35-4c5e-9c37-6f6fbd2d6b1e")


def uid_of(*parts: object) -> str:
    """A UID under 2.25 that is a function of ``parts`` (anything that JSON can write)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts, sort_keys=True)).int}"


def result_key(
    study: Study, consultation: Consultation, draft: Draft, provenance: Provenance
) -> tuple[object, ...]:
    """What makes a result this one: study, inputs with hashes, models, settings, software and the forced run."""
    models = sorted({(m.name, m.version, m.sha256) for m in (*consultation.specialists, draft.generalist)})
    settings = (provenance.config_sha256, provenance.route, provenance.mode, provenance.template_sha256)
    return (
        study.study_instance_uid,
        sorted(provenance.inputs),
        models,
        settings,
        provenance.node_version,
        provenance.run,
    )


def report_uids(key: tuple[object, ...], kind: ObjectKind) -> tuple[str, str]:
    """(Series Instance UID, SOP Instance UID) of the report of ``kind``."""
    return uid_of("series", kind, key), uid_of("instance", kind, key)


def evidence_uids(kind: ObjectKind, key: object, specialist: ModelIdentity, part: object) -> tuple[str, str]:
    """(Series, SOP Instance UID) of an object that ``specialist`` made; one series for each specialist and kind."""
    build = (specialist.name, specialist.version, specialist.sha256)
    return uid_of("series", kind, key, build), uid_of("instance", kind, key, build, part)


def device_uid(model: ModelIdentity) -> str:
    """Device UID of one build of a model: a retrained model gets another one (IHE AIR)."""
    return uid_of("device", model.name, model.version, model.sha256)


def tracking_uid(study_instance_uid: str, specialist: str, label: str) -> str:
    """Tracking UID of one finding of one specialist in a study, the same in every revision."""
    return uid_of("tracking", study_instance_uid, specialist, label)
