"""Evidence beside the reports: a job may have several objects of one kind."""

from alembic import op

revision = "0002"
down_revision = "0001"
_NAMES = {"uq": "%(table_name)s_%(column_0_N_name)s_key"}


def upgrade() -> None:
    # SQLite keeps no name for an unnamed constraint; PostgreSQL's own is the same as this convention makes.
    with op.batch_alter_table("report", naming_convention=_NAMES) as batch_op:
        batch_op.drop_constraint("report_job_id_kind_key", type_="unique")
        batch_op.create_index("report_of_job", ["job_id", "id"], unique=False)


def downgrade() -> None:
    op.execute(
        "DELETE FROM delivery WHERE report_id IN (SELECT id FROM report WHERE kind NOT IN ('narrative', 'coded'))"
    )
    op.execute("DELETE FROM report WHERE kind NOT IN ('narrative', 'coded')")
    with op.batch_alter_table("report", naming_convention=_NAMES) as batch_op:
        batch_op.drop_index("report_of_job")
        batch_op.create_unique_constraint("report_job_id_kind_key", ["job_id", "kind"])
