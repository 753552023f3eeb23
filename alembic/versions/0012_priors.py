"""Searches for priors, and jobs that are such."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "prior_search",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("archive", sa.String(length=255), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'consulting', 'ended')", name="prior_search_state"),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job_id"),
    )
    op.add_column("job", sa.Column("is_prior", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    # Not as a batch: SQLite would drop and make anew a table that others refer to.
    op.drop_column("job", "is_prior")
    op.drop_table("prior_search")
