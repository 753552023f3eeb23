"""What the node promised modalities to keep, and what it no longer holds."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "promise",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("calling_ae", sa.String(length=16), nullable=False),
        sa.Column("committed", sa.JSON(), nullable=False),
        sa.Column("failed", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("calling_ae", "transaction_uid"),
        sa.CheckConstraint("state IN ('owed', 'reported', 'unreported')", name="promise_state"),
    )
    with op.batch_alter_table("promise") as batch_op:
        batch_op.create_index("promise_due", ["state", "due_at"], unique=False)
    op.add_column(
        "instance", sa.Column("holding", sa.String(length=8), nullable=False, server_default="here")
    )
    op.add_column("instance", sa.Column("kept_until", sa.DateTime(timezone=True), nullable=True))
    op.create_index("instance_by_uid", "instance", ["sop_instance_uid"])
    op.create_index("instance_by_holding", "instance", ["holding"])
    op.add_column("report", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("report", "deleted_at")
    op.drop_index("instance_by_holding", "instance")
    op.drop_index("instance_by_uid", "instance")
    op.drop_column("instance", "kept_until")
    op.drop_column("instance", "holding")
    op.drop_table("promise")
