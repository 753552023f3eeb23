"""Runs the migrations on the database that the caller names; one process at a time on PostgreSQL."""

from alembic import context
from sqlalchemy import text

from gsco_pacs.adapters.database import open_engine
from gsco_pacs.adapters.tables import Base

engine = open_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(1196638063)"))
        context.run_migrations()
engine.dispose()
