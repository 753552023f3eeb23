"""The receiver: the Storage and Verification SCP, with the first half of walk 1 behind it."""

import ctypes
import gc
import logging
import signal
import threading

from gsco_pacs.adapters.ledger import Ledger
from gsco_pacs.adapters.storage_scp import StorageScp
from gsco_pacs.config import Config
from gsco_pacs.domain.errors import TransientError
from gsco_pacs.domain.incoming import Refusal
from gsco_pacs.processes.filing import open_intake
from gsco_pacs.processes.parts import open_database, open_store, start_logging
from gsco_pacs.processes.services import services

log = logging.getLogger(__name__)

_M_ARENA_MAX = -8
"""mallopt(3)'s number for how many heaps threads may have."""


def run_receiver(config: Config) -> None:
    """Take in studies until SIGTERM or SIGINT; running associations are ended, nothing acknowledged is lost."""
    start_logging("receiver")
    # Each association brings two threads; what they leave in heaps of their own is never given back.
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    database = open_database(config)
    ledger = Ledger(database)
    open_store(config).sweep()

    def on_refusal(refusal: Refusal) -> None:
        try:
            ledger.refuse(refusal.peer, refusal.what, refusal.reason)
        except TransientError as error:
            log.warning("A refusal could not be recorded: %s", error)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with open_intake(config, database) as on_store:
        scp = StorageScp(config.receiver, on_store, on_refusal, services(config, database, on_refusal))
        scp.start()
        # What is loaded by now stays: the collector need not look at it again with every few images.
        gc.freeze()
        stop.wait()
        scp.stop()
