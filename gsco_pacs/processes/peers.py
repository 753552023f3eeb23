"""The other nodes that config.yaml names, as they are called and asked; nothing here can reach a model."""

import os
from functools import partial

from gsco_pacs.adapters.calling import CalledPeer
from gsco_pacs.adapters.http_peer import HttpPeer
from gsco_pacs.adapters.tls import client_context, tls_arguments
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.ports import Archive
from gsco_pacs.processes.auditing import Auditing
from gsco_pacs.settings.archives import ArchiveSettings, DicomwebArchive, DimseArchive
from gsco_pacs.settings.destinations import DicomwebDestination, DimseDestination


def called_peer(settings: DimseDestination | DimseArchive, key: str, config: Config) -> CalledPeer:
    """The peer whose settings stand at ``key``."""
    tls = None
    if settings.tls:
        tls = partial(tls_arguments, settings.tls, settings.host, f"{key}.tls", config.absolute)
    return CalledPeer(
        settings.ae_title,
        settings.host,
        settings.port,
        config.receiver.ae_title,
        settings.timeout_seconds,
        tls,
    )


def caller_back(ae_title: str, config: Config) -> CalledPeer | None:
    """The sender ``ae_title`` where it takes reports of commitment; None if the configuration does not say."""
    for sender in config.receiver.senders:
        if sender.ae_title.strip() == ae_title and sender.call_back:
            back = sender.call_back
            tls = None
            if back.tls:
                key = f"receiver.senders.{ae_title}.call_back.tls"
                tls = partial(tls_arguments, back.tls, back.host, key, config.absolute)
            calling = config.receiver.ae_title
            return CalledPeer(ae_title, back.host, back.port, calling, back.timeout_seconds, tls)
    return None


def open_archive(name: str, config: Config) -> Archive:
    """The archive called ``name``."""
    settings = config.archives.get(name)
    if settings is None:
        known = ", ".join(config.archives) or "none; add it to archives"
        raise ConfigError(f"There is no archive {name!r} in the configuration; known: {known}.")
    return archive_of(name, settings, f"archives.{name}", config)


def archive_of(name: str, settings: ArchiveSettings, key: str, config: Config) -> Archive:
    """The archive whose settings stand at ``key``."""
    if isinstance(settings, DicomwebArchive):
        from gsco_pacs.adapters.dicomweb import Dicomweb

        return Dicomweb(name, http_peer(settings, key, config), settings)
    from gsco_pacs.adapters.query_scu import QueryScu

    peer = called_peer(settings, key, config)
    if not config.audit.queries:
        return QueryScu(name, peer, settings)
    return QueryScu(name, peer, settings, partial(Auditing(config).asked, settings))


def http_peer(settings: DicomwebArchive | DicomwebDestination, key: str, config: Config) -> HttpPeer:
    """The peer over HTTP whose settings stand at ``key``."""
    encrypted = settings.url.startswith("https:")
    return HttpPeer(
        settings.url,
        settings.timeout_seconds,
        partial(client_context, settings.tls, f"{key}.tls", config.absolute) if encrypted else None,
        partial(_token, settings.token_env, f"{key}.token_env") if settings.token_env else None,
    )


def _token(variable: str, key: str) -> str:
    token = os.environ.get(variable)
    if not token:
        raise ConfigError(f"{key}: the environment has no {variable}.")
    return token
