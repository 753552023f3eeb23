"""What was missing when a study was closed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("job", sa.Column("incomplete", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    # Not as a batch: SQLite would drop and make anew a table that others refer to.
    op.drop_column("job", "incomplete")
