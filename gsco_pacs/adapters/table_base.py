"""What the columns of the ledger's tables are made of."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time; SQLite keeps no zone, so everything is written and read as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Write UTC."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read UTC."""
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC) if value else None


class Base(DeclarativeBase):
    """The node's tables."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own convention
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        str: String(255),
    }
