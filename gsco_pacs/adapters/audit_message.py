"""Audit messages in the form of PS3.15 section A.5, as XML without patient data."""

import base64
import os
import socket
from datetime import datetime
from xml.etree.ElementTree import Element, SubElement, tostring

from gsco_pacs.domain.incoming import Alert, Refusal

_NAMES = {
    "110100": "Application Activity",
    "110113": "Security Alert",
    "110120": "Application Start",
    "110121": "Application Stop",
    "110126": "Node Authentication",
    "110132": "Use of Restricted Function",
    "110150": "Application",
    "110151": "Application Launcher",
    "110182": "Node ID",
}
_SUCCESS, _MINOR_FAILURE, _SERIOUS_FAILURE = "0", "4", "8"
_APPLICATION_SERVER = "4"
_IP_ADDRESS, _MACHINE_NAME = "2", "1"
_SYSTEM_OBJECT = "2"


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


def _encoded(message: Element) -> bytes:
    return bytes(tostring(message, encoding="utf-8", xml_declaration=True))


def _message(event: str, kind: str, outcome: str, at: datetime) -> Element:
    message = Element("AuditMessage")
    identification = SubElement(
        message, "EventIdentification",
        EventActionCode="E", EventDateTime=at.isoformat(timespec="milliseconds"), EventOutcomeIndicator=outcome,
    )  # fmt: skip
    _code(identification, "EventID", event)
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
