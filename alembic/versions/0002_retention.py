"""retention: expired originals, and what is known to be purged"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for table in ("uploads", "tasks"):
        op.add_column(table, sa.Column("purged_at", sa.DateTime(timezone=True), nullable=True))
    _allow("'expired', 'pending', 'stored'")
    op.create_index("ix_uploads_stored", "uploads", ["created_at"], postgresql_where=sa.text("status = 'stored'"))
    op.create_index(
        "ix_uploads_unpurged",
        "uploads",
        ["id"],
        postgresql_where=sa.text("status = 'expired' AND purged_at IS NULL"),
    )
    op.create_index(
        "ix_tasks_unpurged",
        "tasks",
        ["finished_at"],
        postgresql_where=sa.text("finished_at IS NOT NULL AND purged_at IS NULL"),
    )
    # It held every task that ever ended; nothing asks for those.
    op.drop_index("ix_tasks_finished", "tasks")


def downgrade() -> None:
    op.create_index(
        "ix_tasks_finished",
        "tasks",
        ["finished_at"],
        postgresql_where=sa.text("status IN ('cancelled', 'completed', 'expired', 'failed')"),
    )
    op.drop_index("ix_tasks_unpurged", "tasks")
    op.drop_index("ix_uploads_unpurged", "uploads")
    op.drop_index("ix_uploads_stored", "uploads")
    # Its object may be gone: a task that is started again finds it missing and says so.
    op.execute("UPDATE uploads SET status = 'stored' WHERE status = 'expired'")
    _allow("'pending', 'stored'")
    for table in ("uploads", "tasks"):
        op.drop_column(table, "purged_at")


def _allow(statuses: str) -> None:
    op.drop_constraint(op.f("ck_uploads_status"), "uploads", type_="check")
    op.create_check_constraint(op.f("ck_uploads_status"), "uploads", f"status IN ({statuses})")
