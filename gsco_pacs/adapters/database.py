"""Opens the ledger's database: SQLite in WAL mode with full sync, or PostgreSQL; both behave the same above this file."""

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url

from gsco_pacs.config import shipped
from gsco_pacs.domain.errors import ConfigError

READING = {"reading": True}
"""Execution options of a connection that only reads, so that SQLite need not take its write lock."""


_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": "-c lock_timeout=10s -c statement_timeout=30s",
}
"""How long a silent PostgreSQL is waited for (libpq's names); without it a dead host stalls the node for minutes."""


def open_engine(url: str) -> Engine:
    """An engine on ``url``; the directory of an SQLite file is made."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        return _open_postgresql(parsed)
    if parsed.get_backend_name() != "sqlite":
        raise ConfigError(
            f"database: {parsed.get_backend_name()!r} is not supported; use sqlite or postgresql+psycopg."
        )
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 10}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def database_folder(url: str) -> Path | None:
    """Where an SQLite database lies; None for any other."""
    parsed = make_url(url)
    return Path(parsed.database).parent if parsed.drivername == "sqlite" and parsed.database else None


def _open_postgresql(url: URL) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=_PATIENCE)
    except ModuleNotFoundError as error:
        raise ConfigError(
            "database: PostgreSQL needs a driver: pip install 'gsco-pacs[postgresql]'."
        ) from error


def _prepare_sqlite(connection: object, _record: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]  # our BEGIN, not the driver's
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    # In WAL mode only FULL makes a commit survive a power cut, and an acknowledged image must.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that writes after reading can fail with "database is locked" at once.
    reading = connection.get_execution_options().get("reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def migrate(url: str) -> None:
    """Bring the database at ``url`` to the newest revision of ``alembic/versions``."""
    open_engine(url).dispose()
    command.upgrade(_alembic(url), "head")


def check_schema(engine: Engine) -> None:
    """ConfigError unless the database is at the newest revision."""
    head = ScriptDirectory.from_config(_alembic(str(engine.url))).get_current_head()
    with engine.execution_options(**READING).connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current != head:
        raise ConfigError(
            f"The database is at revision {current}, this version needs {head}: run `gsco-pacs migrate`."
        )


def _alembic(url: str) -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(shipped("alembic")))
    config.attributes["url"] = url
    return config
