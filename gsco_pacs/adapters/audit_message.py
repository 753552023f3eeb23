"""Audit messages in the form of PS3.15 section A.5, as XML; of patients only those of transfers and accesses tell, and only Patient IDs."""

import base64
import os
import socket
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement, tostring

from gsco_pacs.domain.archive import Query
from gsco_pacs.domain.incoming import Alert, Refusal
from gsco_pacs.domain.transfer import Access, Transfer

_NAMES = {
    "110037": "URI",
    "110100": "Application Activity",
    "110103": "DICOM Instances Accessed",
    "110104": "DICOM Instances Transferred",
    "110106": "Export",
    "110112": "Query",
    "110113": "Security Alert",
    "110120": "Application Start",
    "110121": "Application Stop",
    "110126": "Node Authentication",
    "110132": "Use of Restricted Function",
    "110150": "Application",
    "110151": "Application Launcher",
    "110152": "Destination Role ID",
    "110153": "Source Role ID",
    "110154": "Destination Media",
    "110180": "Study Instance UID",
    "110181": "SOP Class UID",
    "110182": "Node ID",
}
_SUCCESS, _MINOR_FAILURE, _SERIOUS_FAILURE = "0", "4", "8"
_APPLICATION_SERVER = "4"
_MACHINE_NAME, _IP_ADDRESS, _URI = "1", "2", "5"
_PERSON, _SYSTEM_OBJECT = "1", "2"
_PATIENT, _REPORT = "1", "3"


@dataclass(frozen=True)
class Party:
    """Who is at the other end of a transfer."""

    user: str
    """Its AE title, or the URI of a service or a medium."""
    address: str = ""
    """IP address, host name or URI where it is reached."""
    is_medium: bool = False
    """It is no node but a place where files lie."""


def security_alert(refusal: Refusal, ae_title: str, at: datetime) -> bytes:
    """A refusal as a Security Alert (PS3.15 section A.5.3.11); ``at`` has a time zone."""
    peer = refusal.peer
    outcome = _SERIOUS_FAILURE if refusal.alert is Alert.NODE_AUTHENTICATION else _MINOR_FAILURE
    message = _message("110113", refusal.alert.value, outcome, at)
    _node(message, ae_title, requestor=True)
    user = peer.calling_ae or peer.address
    SubElement(message, "ActiveParticipant", UserID=user, UserIsRequestor="false",
               NetworkAccessPointID=peer.address, NetworkAccessPointTypeCode=_IP_ADDRESS)  # fmt: skip
    _source(message, ae_title)
    subject = SubElement(
        message, "ParticipantObjectIdentification",
        ParticipantObjectID=peer.address, ParticipantObjectTypeCode=_SYSTEM_OBJECT,
    )  # fmt: skip
    _code(subject, "ParticipantObjectIDTypeCode", "110182")
    SubElement(subject, "ParticipantObjectName").text = user
    times = f" ({refusal.times} times)" if refusal.times > 1 else ""
    description = f"{refusal.what}: {refusal.reason}{times}".encode()
    value = base64.b64encode(description).decode()
    SubElement(subject, "ParticipantObjectDetail", type="Alert Description", value=value)
    return _encoded(message)


def application_activity(ae_title: str, at: datetime, *, starts: bool) -> bytes:
    """The start or the stop of the receiver (PS3.15 section A.5.3.1)."""
    message = _message("110100", "110120" if starts else "110121", _SUCCESS, at)
    _code(_node(message, ae_title, requestor=False), "RoleIDCode", "110150")
    launcher = SubElement(message, "ActiveParticipant", UserID=str(os.getuid()), UserIsRequestor="true")
    _code(launcher, "RoleIDCode", "110151")
    _source(message, ae_title)
    return _encoded(message)


def transferred(transfer: Transfer, ae_title: str, other: Party, asked_by: str = "") -> bytes:
    """Studies that came or went as DICOM Instances Transferred, or as Export to a medium (PS3.15 sections A.5.3.7 and A.5.3.4).

    ``asked_by`` is who had them sent here, if somebody had: the one requestor of a message that has three participants.
    """
    event = "110106" if other.is_medium else "110104"
    message = _message(event, None, _SUCCESS, transfer.at, transfer.action)
    if transfer.source:
        _code(_other(message, other, requestor=not asked_by), "RoleIDCode", "110153")
        _code(_node(message, ae_title, requestor=False), "RoleIDCode", "110152")
    else:
        _code(_node(message, ae_title, requestor=True), "RoleIDCode", "110153")
        receiver = _other(message, other, requestor=False)
        _code(receiver, "RoleIDCode", "110154" if other.is_medium else "110152")
        if other.is_medium:
            _code(SubElement(receiver, "MediaIdentifier"), "MediaType", "110037")
    if asked_by:
        SubElement(message, "ActiveParticipant", UserID=asked_by, UserIsRequestor="true")
    _source(message, ae_title)
    _objects(message, transfer)
    return _encoded(message)


def accessed(access: Access, ae_title: str) -> bytes:
    """A study that the node opened for a person's question as DICOM Instances Accessed (PS3.15 section A.5.3.6)."""
    outcome = _SUCCESS if access.succeeded else _SERIOUS_FAILURE
    message = _message("110103", None, outcome, access.at, "R")
    SubElement(message, "ActiveParticipant", UserID=access.asked_by, UserIsRequestor="true")
    _node(message, ae_title, requestor=False)
    _source(message, ae_title)
    _objects(message, access)
    return _encoded(message)


def queried(query: Query, ae_title: str, other: Party, at: datetime) -> bytes:
    """A C-FIND that the node sends (PS3.15 section A.5.3.10); what it looks for may be a patient's."""
    message = _message("110112", None, _SUCCESS, at)
    _code(_node(message, ae_title, requestor=True), "RoleIDCode", "110153")
    _code(_other(message, other, requestor=False), "RoleIDCode", "110152")
    _source(message, ae_title)
    model = SubElement(
        message, "ParticipantObjectIdentification",
        ParticipantObjectID=query.sop_class_uid, ParticipantObjectTypeCode=_SYSTEM_OBJECT,
        ParticipantObjectTypeCodeRole=_REPORT,
    )  # fmt: skip
    _code(model, "ParticipantObjectIDTypeCode", "110181")
    SubElement(model, "ParticipantObjectQuery").text = base64.b64encode(query.identifier).decode()
    syntax = base64.b64encode(query.transfer_syntax_uid.encode()).decode()
    SubElement(model, "ParticipantObjectDetail", type="TransferSyntax", value=syntax)
    return _encoded(message)


def _other(message: Element, other: Party, *, requestor: bool) -> Element:
    participant = SubElement(
        message, "ActiveParticipant", UserID=other.user, UserIsRequestor=str(requestor).lower()
    )
    if other.address:
        participant.set("NetworkAccessPointID", other.address)
        participant.set("NetworkAccessPointTypeCode", _kind_of(other.address))
    return participant


def _kind_of(address: str) -> str:
    if "://" in address:
        return _URI
    try:
        ip_address(address)
    except ValueError:
        return _MACHINE_NAME
    return _IP_ADDRESS


def _objects(message: Element, told: Transfer | Access) -> None:
    """The study and its one patient; the schema wants a name of each, and none is known but the identifier."""
    uid, patient_id = told.study_instance_uid, told.patient_id
    study = SubElement(
        message, "ParticipantObjectIdentification",
        ParticipantObjectID=uid, ParticipantObjectTypeCode=_SYSTEM_OBJECT, ParticipantObjectTypeCodeRole=_REPORT,
    )  # fmt: skip
    _code(study, "ParticipantObjectIDTypeCode", "110180")
    SubElement(study, "ParticipantObjectName").text = uid
    description = SubElement(study, "ParticipantObjectDescription")
    for sop_class_uid, instances in told.sop_classes.items():
        SubElement(description, "SOPClass", UID=sop_class_uid, NumberOfInstances=str(instances))
    patient = SubElement(
        message, "ParticipantObjectIdentification",
        ParticipantObjectID=patient_id, ParticipantObjectTypeCode=_PERSON, ParticipantObjectTypeCodeRole=_PATIENT,
    )  # fmt: skip
    number = {"csd-code": "2", "codeSystemName": "RFC-3881", "originalText": "Patient Number"}
    SubElement(patient, "ParticipantObjectIDTypeCode", number)
    SubElement(patient, "ParticipantObjectName").text = patient_id


def _encoded(message: Element) -> bytes:
    return bytes(tostring(message, encoding="utf-8", xml_declaration=True))


def _message(event: str, kind: str | None, outcome: str, at: datetime, action: str = "E") -> Element:
    message = Element("AuditMessage")
    identification = SubElement(
        message, "EventIdentification",
        EventActionCode=action, EventDateTime=at.isoformat(timespec="milliseconds"), EventOutcomeIndicator=outcome,
    )  # fmt: skip
    _code(identification, "EventID", event)
    if kind:
        _code(identification, "EventTypeCode", kind)
    return message


def _node(message: Element, ae_title: str, *, requestor: bool) -> Element:
    return SubElement(
        message, "ActiveParticipant",
        UserID=str(os.getpid()), AlternativeUserID=f"AETITLES={ae_title}", UserIsRequestor=str(requestor).lower(),
        NetworkAccessPointID=socket.gethostname(), NetworkAccessPointTypeCode=_MACHINE_NAME,
    )  # fmt: skip


def _source(message: Element, ae_title: str) -> None:
    source = SubElement(message, "AuditSourceIdentification", AuditSourceID=ae_title)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})


def _code(parent: Element, name: str, code: str) -> None:
    SubElement(parent, name, {"csd-code": code, "codeSystemName": "DCM", "originalText": _NAMES[code]})
