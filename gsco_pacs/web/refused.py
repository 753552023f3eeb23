"""What was turned away lately, and the lines of config.yaml that would let it in: mostly why nothing arrives."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network
from itertools import groupby
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from gsco_pacs.settings.receiver import Receiver, Sender

if TYPE_CHECKING:
    from gsco_pacs.adapters.audit import Refusal


@dataclass(frozen=True)
class Refused:
    """Equal refusals of one peer: how often, the last time, and what an administrator can do."""

    calling_ae: str
    called_ae: str
    address: str
    what: str
    reason: str
    times: int
    last_at: datetime
    advice: str
    """One sentence; empty if the configuration is not what refused."""
    lines: str
    """The lines of config.yaml that belong to the advice; may be empty."""


def gather(refusals: Iterable["Refusal"], receiver: Receiver) -> list[Refused]:
    """The refusals (newest first), equal ones as one, newest first, with advice from the receiver's settings."""

    def peer(refusal: "Refusal") -> tuple[str, ...]:
        return refusal.calling_ae, refusal.called_ae, refusal.address, refusal.what, refusal.reason

    gathered: list[Refused] = []
    for key, group in groupby(sorted(refusals, key=peer), key=peer):
        equal = list(group)
        calling_ae, called_ae, address, what, reason = key
        advice, lines = (
            _advice(calling_ae, called_ae, address, receiver) if what == "association" else ("", "")
        )
        times, last_at = sum(refusal.times for refusal in equal), max(refusal.at for refusal in equal)
        gathered.append(Refused(calling_ae, called_ae, address, what, reason, times, last_at, advice, lines))
    return sorted(gathered, key=lambda refused: refused.last_at, reverse=True)


def _advice(calling_ae: str, called_ae: str, address: str, receiver: Receiver) -> tuple[str, str]:
    same_title = [sender for sender in receiver.senders if sender.ae_title == calling_ae]
    if not same_title:
        return "To let this sender in, add to config.yaml:", _lines(calling_ae, (address,))
    known = tuple(address for sender in same_title for address in sender.addresses)
    if known and not any(ip_address(address) in ip_network(network, strict=False) for network in known):
        return "To let this address in, change the sender's line in config.yaml:", _lines(
            calling_ae, (*known, address)
        )
    if called_ae not in (receiver.ae_title, *receiver.further_ae_titles):
        return f"Set the called AE title to {receiver.ae_title} at the sender.", ""
    return "", ""


def _lines(ae_title: str, addresses: tuple[str, ...]) -> str:
    try:
        sender = Sender(ae_title=ae_title, addresses=addresses)
    except ValidationError:
        return ""
    line = yaml.safe_dump(
        sender.model_dump(mode="json", exclude_defaults=True),
        default_flow_style=True,
        sort_keys=False,
        width=1000,
    )
    return f"receiver:\n  senders:\n    - {line.strip()}"
