"""A running receiver takes up changed senders, users, limits and certificates without a restart."""

import logging
import ssl
from pathlib import Path

from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.adapters.tls import server_context
from gsco_pacs.config import Config, load_config
from gsco_pacs.domain.errors import ConfigError

log = logging.getLogger(__name__)

_Stamp = tuple[int, int, int] | None


def receiver_tls(config: Config) -> ssl.SSLContext | None:
    """The context of the receiver's TLS port; None if it has none. ConfigError if a file can't be used."""
    return server_context(config.receiver.tls, config.absolute) if config.receiver.tls else None


class Reloading:
    """Looks whether config.yaml or a file of its ``receiver.tls`` has changed; a mistake in them changes nothing."""

    def __init__(self, config: Config, file: Path, scp: StorageScp) -> None:
        self._file = file
        self._scp = scp
        self._stamps = _stamps(config, file)
        self._config = config
        self.wanted = False
        """Set to reload at the next look whatever has changed, as SIGHUP does."""

    def look(self) -> None:
        """Reload what has changed; to be called every second or so."""
        stamps = _stamps(self._config, self._file)
        if stamps == self._stamps and not self.wanted:
            return
        self._stamps, self.wanted = stamps, False
        try:
            config = load_config(self._file)
            self._scp.reload(config.receiver, receiver_tls(config))
        except ConfigError as error:
            log.warning("The changed configuration can't be used, the old one stays: %s", error)
            return
        self._config, self._stamps = config, _stamps(config, self._file)
        log.info("New associations are taken by the changed configuration; running ones go on.")


def _stamps(config: Config, file: Path) -> dict[Path, _Stamp]:
    files = [file]
    if tls := config.receiver.tls:
        files += map(config.absolute, (tls.certificate, tls.private_key, tls.authorities))
    return {path: _stamp(path) for path in files}


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
