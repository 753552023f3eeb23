"""Says what a configuration would do, once every bundle, address and certificate that it names has been looked at."""

from collections.abc import Callable, Iterator
from functools import partial

from gsco_pacs.adapters.admission import Admission
from gsco_pacs.adapters.own_certificate import own_certificate
from gsco_pacs.adapters.tls import client_context, https_context
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import BrokenBundleError, ConfigError
from gsco_pacs.processes.choices import bundles_of
from gsco_pacs.processes.reloading import receiver_tls
from gsco_pacs.settings.destinations import FolderDestination
from gsco_pacs.settings.dicomweb import HttpsTls
from gsco_pacs.settings.receiver import Sender
from gsco_pacs.settings.routes import RouteSettings
from gsco_pacs.settings.tls import ClientTls, ServerTls

_Tls = ServerTls | HttpsTls | ClientTls


def check(config: Config) -> list[str]:
    """What the node would do, a line for each thing; ConfigError that names everything that can't be used."""
    lines, mistakes = [], []
    for look in _looks(config):
        try:
            lines.append(look())
        except (BrokenBundleError, ConfigError) as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return lines


def _looks(config: Config) -> Iterator[Callable[[], str]]:
    for route in config.routes:
        yield partial(_route, route, config)
    yield partial(_receiver, config)
    for key, tls in _tls_groups(config):
        yield partial(_tls, tls, key, config)


def _route(route: RouteSettings, config: Config) -> str:
    bundles_of(route, config)
    readers = f"{', '.join(route.specialists)} and {route.generalist}"
    return f"route {route.name}: {readers} ({route.mode}), then {', '.join(route.destinations)}"


def _receiver(config: Config) -> str:
    settings = config.receiver
    Admission(settings)
    doors = [f"port {settings.port}"] if settings.plain else []
    doors += [f"port {settings.tls.port} with TLS"] if settings.tls else []
    senders = ", ".join(map(_sender, settings.senders)) or "nobody: receiver.senders is empty"
    return f"{settings.ae_title} takes studies on {settings.host}, {' and '.join(doors)}, from {senders}"


def _sender(sender: Sender) -> str:
    proved = " (by its certificate)" if sender.certificates else ""
    return f"{sender.ae_title}{proved}"


def _tls_groups(config: Config) -> Iterator[tuple[str, _Tls]]:
    groups: dict[str, _Tls | None] = {"receiver.tls": config.receiver.tls}
    for sender in config.receiver.senders:
        back = sender.call_back
        groups[f"receiver.senders.{sender.ae_title}.call_back.tls"] = back.tls if back else None
    for name, destination in config.destinations.items():
        if not isinstance(destination, FolderDestination):
            groups[f"destinations.{name}.tls"] = destination.tls
    for name, archive in config.archives.items():
        groups[f"archives.{name}.tls"] = archive.tls
    if config.dicomweb:
        groups["dicomweb.tls"] = config.dicomweb.tls
    if config.audit.syslog:
        groups["audit.syslog.tls"] = config.audit.syslog.tls
    yield from ((key, tls) for key, tls in groups.items() if tls)


def _tls(tls: _Tls, key: str, config: Config) -> str:
    if isinstance(tls, ServerTls):
        receiver_tls(config)
    elif isinstance(tls, HttpsTls):
        https_context(tls, key, config.absolute)
    else:
        client_context(tls, key, config.absolute)
    if tls.certificate is None or tls.private_key is None:
        return f"{key}: shows no certificate"
    paths = config.absolute(tls.certificate), config.absolute(tls.private_key)
    return f"{key}: {own_certificate(*paths, f'{key}.certificate')}"
