"""One of the receiver's processes: the Storage and Verification SCP, with the first half of walk 1 behind it."""

import logging
import signal
import threading
from functools import partial
from pathlib import Path

from gsco_pacs.adapters.doors import Seat
from gsco_pacs.adapters.ledger import Ledger
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import TransientError
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.processes.auditing import Auditing
from gsco_pacs.processes.filing import open_intake
from gsco_pacs.processes.parts import check_room, open_database
from gsco_pacs.processes.reloading import Reloading, receiver_tls
from gsco_pacs.processes.services import services

log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0


def receive_studies(config: Config, file: Path, seat: Seat) -> None:
    """Take in studies until SIGTERM or SIGINT; running associations are ended, nothing acknowledged is lost."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = open_database(config)
    ledger, auditing = Ledger(database), Auditing(config)

    def on_refusal(refusal: Refusal) -> None:
        auditing.refused(refusal)
        try:
            ledger.refuse(refusal)
        except TransientError as error:
            log.warning("A refusal could not be recorded: %s", error)

    with open_intake(config, database) as on_store:
        taken = services(config, database, on_refusal)
        scp = StorageScp(
            config.receiver, on_store, on_refusal, taken, seat, receiver_tls(config),
            check_room=partial(check_room, config),
        )  # fmt: skip
        reloading = Reloading(config, file, scp)
        signal.signal(signal.SIGHUP, lambda *_: setattr(reloading, "wanted", True))
        scp.start()
        while not stop.wait(_TICK_SECONDS):
            scp.tend()
            reloading.look()
        scp.stop()
