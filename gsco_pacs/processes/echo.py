"""Calls every peer of the configuration once, so that a wrong address, AE title or certificate is found before a study is."""

from collections.abc import Iterator
from dataclasses import dataclass

from pynetdicom import build_context

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.transfer_syntaxes import VERIFICATION
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import ConfigError, GscoError, PeerUnavailableError, RejectedByPeerError
from gsco_pacs.processes.peers import called_peer
from gsco_pacs.settings.archives import DimseArchive
from gsco_pacs.settings.destinations import DimseDestination


@dataclass(frozen=True)
class Echo:
    """What one peer answered; ``error`` is "" if all is well."""

    key: str
    peer: str
    error: str


def echo_peers(config: Config, name: str = "") -> Iterator[Echo]:
    """C-ECHO the DIMSE destinations and archives called ``name``, or all; ConfigError if there is no such peer."""
    peers = {
        f"{group}.{key}": settings
        for group, known in (("destinations", config.destinations), ("archives", config.archives))
        for key, settings in known.items()
        if isinstance(settings, DimseDestination | DimseArchive) and name in ("", key)
    }
    if not peers:
        raise ConfigError(f"{name or 'destinations and archives'}: nobody there is called by DIMSE.")
    for key, settings in peers.items():
        peer = called_peer(settings, key, config)
        yield Echo(key, str(peer), _failure(peer))


def _failure(peer: CalledPeer) -> str:
    try:
        _echo(peer)
    except GscoError as error:
        return str(error)
    return ""


def _echo(peer: CalledPeer) -> None:
    with peer.association([build_context(VERIFICATION)], "does not answer C-ECHO.") as association:
        answer = association.send_c_echo()
    if "Status" not in answer:
        raise PeerUnavailableError(f"{peer} hung up or did not answer.")
    if answer.Status:
        raise RejectedByPeerError(f"{peer} answered with the status 0x{answer.Status:04X}.")
