"""The receiver: processes that share its port. They are forked, so that what is loaded is in memory once."""

import ctypes
import gc
import logging
import os
import signal
import time
from pathlib import Path
from types import FrameType

from gsco_pacs.adapters.doors import Doors, Seat
from gsco_pacs.config import Config
from gsco_pacs.processes.auditing import Auditing
from gsco_pacs.processes.parts import check_database, end_with_parent, open_store, start_logging
from gsco_pacs.processes.reception import receive_studies
from gsco_pacs.processes.reloading import receiver_tls

log = logging.getLogger(__name__)

_RESTART_SECONDS = 2.0
_M_ARENA_MAX = -8
"""mallopt(3)'s number for how many heaps threads may have."""


class _Stopped(BaseException):
    """SIGTERM or SIGINT came."""


def run_receiver(config: Config, file: Path) -> None:
    """Keep receiver.processes processes at work until SIGTERM or SIGINT; ConfigError if a port can't be used.

    ``file`` is where ``config`` came from; each process reads it again when it changes and at SIGHUP.
    """
    start_logging("receiver")
    running: dict[int, int] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    signal.signal(signal.SIGHUP, lambda *_: _hang_up(running))
    # Each association brings two threads; what they leave in heaps of their own is never given back.
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    try:
        check_database(config)
        open_store(config).sweep()
        doors = Doors(config.receiver.processes)
        receiver_tls(config)
        for port in config.receiver.ports:
            doors.open(config.receiver.host, port)
        Auditing(config).runs(starts=True)
        # What is loaded by now stays: no collector need look at it, nor copy its pages.
        gc.freeze()
        for seat in range(config.receiver.processes):
            _fork(config, file, doors, seat, running)
        while True:
            pid, status = os.wait()
            seat, code = running.pop(pid), os.waitstatus_to_exitcode(status)
            log.error("A receiver process ended with code %d and is started again.", code)
            time.sleep(_RESTART_SECONDS)
            _fork(config, file, doors, seat, running)
    except _Stopped:
        _end(running)
        Auditing(config).runs(starts=False)


def _hang_up(running: dict[int, int]) -> None:
    for pid in tuple(running):
        os.kill(pid, signal.SIGHUP)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stopped


def _fork(config: Config, file: Path, doors: Doors, seat: int, running: dict[int, int]) -> None:
    """Start the process of ``seat`` and enter it in ``running``."""
    parent = os.getpid()
    # What a handler raises in the hooks around a fork goes nowhere, and the signal would be lost with it.
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    pid = os.fork()
    if pid:
        running[pid] = seat
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        return
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, usual)
        end_with_parent(parent)
        receive_studies(config, file, Seat(doors, seat))
    except _Stopped:
        pass
    except BaseException:
        log.exception("A receiver process failed.")
        os._exit(1)
    logging.shutdown()
    os._exit(0)  # the rest of the stack is the parent's


def _end(running: dict[int, int]) -> None:
    """Let each process finish the object in hand; whoever started the receiver kills it if that takes too long."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for pid in running:
        os.kill(pid, signal.SIGTERM)
    for pid in running:
        os.waitpid(pid, 0)
