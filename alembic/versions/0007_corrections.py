"""What differs where a SOP Instance UID came again with other bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
_NAMES = {"uq": "%(table_name)s_%(column_0_N_name)s_key"}


def upgrade() -> None:
    _change(
        "'kept', 'variant', 'corrected', 'attached', 'own'", sa.Column("changes", sa.JSON(), nullable=True)
    )
    op.execute("UPDATE instance SET changes = '{}' WHERE kind = 'variant'")
    op.create_index("refusal_of", "refusal", ["what"])


def downgrade() -> None:
    op.drop_index("refusal_of", "refusal")
    op.execute("UPDATE instance SET kind = 'variant' WHERE kind = 'corrected'")
    _change("'kept', 'variant', 'attached', 'own'", None)


def _change(kinds: str, added: "sa.Column[object] | None") -> None:
    with op.batch_alter_table("instance", naming_convention=_NAMES) as batch_op:
        if op.get_bind().dialect.name == "postgresql":
            batch_op.drop_constraint("instance_kind", type_="check")
        batch_op.create_check_constraint("instance_kind", f"kind IN ({kinds})")
        if added is not None:
            batch_op.add_column(added)
        else:
            batch_op.drop_column("changes")
