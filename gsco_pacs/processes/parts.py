"""What every process starts with: the log and the ledger's database."""

import logging
import os
import sys
import warnings
from pathlib import Path

from pydicom import config as pydicom_config

from gsco_pacs.adapters.database import check_schema, open_engine
from gsco_pacs.adapters.file_store import FileStore
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.config import Config


def start_logging(process: str) -> None:
    """Log to standard error, one line an event; no line carries patient data."""
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("GSCO_PACS_LOG", "INFO").upper(),
        format=f"%(asctime)s {process}[%(process)d] %(levelname)s %(message)s",
        force=True,
    )
    for noisy in ("pynetdicom", "httpx", "alembic", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    _keep_headers_out_of_the_log()


def _keep_headers_out_of_the_log() -> None:
    # pydicom's warnings and messages quote the values of attributes, which may be a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    warnings.filterwarnings("ignore", module="pydicom")


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
