"""Chooses the parts that config.yaml names. The heavy ones are imported only by the process that asks for them."""

import logging
import os
import sys

from gsco_pacs.adapters.database import check_schema, open_engine
from gsco_pacs.adapters.ledger import Database
from gsco_pacs.config import (
    Config,
    FolderDestination,
    OpenAIGeneralist,
    RouteSettings,
    StructuredGeneralist,
)
from gsco_pacs.domain.errors import ConfigError
from gsco_pacs.ports import Destination, Generalist, Specialist


def start_logging(process: str) -> None:
    """Log to standard error, one line an event; no line carries patient data."""
    logging.basicConfig(
        stream=sys.stderr,
        level=os.environ.get("GSCO_PACS_LOG", "INFO").upper(),
        format=f"%(asctime)s {process}[%(process)d] %(levelname)s %(message)s",
        force=True,
    )
    for noisy in ("pynetdicom", "pydicom", "httpx", "alembic", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def open_database(config: Config) -> Database:
    """The ledger's database, at the schema of this version."""
    engine = open_engine(config.database_url)
    check_schema(engine)
    return Database(engine)


def open_destination(name: str, config: Config) -> Destination:
    """The destination called ``name``."""
    settings = config.destinations.get(name)
    if settings is None:
        raise ConfigError(f"The destination {name!r} is no longer in the configuration.")
    if isinstance(settings, FolderDestination):
        from gsco_pacs.adapters.folder import Folder

        return Folder(name, config.absolute(settings.path))
    from gsco_pacs.adapters.store_scu import StoreScu

    return StoreScu(name, settings, config.receiver.ae_title)


def open_specialist(name: str, config: Config) -> Specialist:
    """The bundle called ``name``, loaded and verified."""
    from gsco_pacs.adapters.bundles import load_bundle

    return load_bundle(config.bundle_dir(name))


def open_generalist(name: str, config: Config) -> Generalist:
    """The generalist called ``name``, loaded."""
    settings = config.generalists.get(name)
    if settings is None:
        raise ConfigError(f"The generalist {name!r} is no longer in the configuration.")
    if isinstance(settings, StructuredGeneralist):
        from gsco_pacs.adapters.structured_generalist import StructuredWording

        return StructuredWording()
    if isinstance(settings, OpenAIGeneralist):
        from gsco_pacs.adapters.openai_generalist import OpenAIServer

        return OpenAIServer(settings)
    from gsco_pacs.adapters.transformers_generalist import Transformers

    return Transformers(settings, config.absolute(settings.path))


def specialists_of(routes: tuple[RouteSettings, ...]) -> tuple[str, ...]:
    """Every bundle that some route consults."""
    return tuple(dict.fromkeys(name for route in routes for name in route.specialists))
