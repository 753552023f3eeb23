"""What every process starts with: the log, the ledger's database, and the will to end with its parent."""

import ctypes
import logging
import os
import signal
import sys
import warnings
from pathlib import Path

from pydicom import config as pydicom_config

from gsco_pacs.adapters.database import check_schema, database_folder, open_engine
from gsco_pacs.adapters.file_store import FileStore, check_reserve
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.config import Config

_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_PR_SET_PDEATHSIG = 1


def start_logging(process: str) -> None:
    """Log to standard error, one line an event; no line carries patient data."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(f"%(asctime)s {process}[%(process)d] %(levelname)s %(message)s"))
    level = os.environ.get("GSCO_PACS_LOG", "INFO").upper()
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for noisy in ("pynetdicom", "httpx", "alembic", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # That a peer's bytes can't be read is said in a line of its own; the trace would quote them.
    for reading in ("pynetdicom.fsm", "pynetdicom.dimse", "pynetdicom.utils"):
        logging.getLogger(reading).addFilter(lambda record: not record.exc_info)
    _keep_headers_out_of_the_log()


class _OneLine(logging.Formatter):
    """Escapes control characters, so that no peer can write a line of its own into the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class calls it so
        """The record's line, without its trace."""
        return super().formatMessage(record).translate(_ESCAPED)


def _keep_headers_out_of_the_log() -> None:
    # pydicom's warnings and messages quote the values of attributes, which may be a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    warnings.filterwarnings("ignore", module="pydicom")


def end_with_parent(parent: int) -> None:
    """Have this process get SIGTERM when ``parent`` ends, even by SIGKILL: it would keep the port otherwise (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def check_database(config: Config) -> None:
    """ConfigError unless the database is at the schema of this version; nothing is left open."""
    engine = open_engine(config.database_url)
    check_schema(engine)
    engine.dispose()


def open_database(config: Config) -> Database:
    """The ledger's database, at the schema of this version."""
    engine = open_engine(config.database_url)
    check_schema(engine)
    return Database(engine)


def store_dir(config: Config) -> Path:
    """Where received images lie."""
    return config.state_dir / "store"


def open_store(config: Config) -> FileStore:
    """The store of received images, in the state directory."""
    return FileStore(store_dir(config), config.receiver.reserve_bytes)


def check_room(config: Config) -> None:
    """OutOfResourcesError if the store's disk or that of an SQLite database has less than the reserve free."""
    for folder in filter(None, (store_dir(config), database_folder(config.database_url))):
        check_reserve(folder, config.receiver.reserve_bytes)
