"""jobs of other Celery clients; originals of a batch count in no account's single ones"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0007"
down_revision: str | Sequence[str] | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("in_batch", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_table(
        "pipeline_jobs",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("batch_id", sa.Uuid(), sa.ForeignKey("batches.id"), nullable=False),
        sa.Column("request", postgresql.JSONB(), nullable=False),
        sa.Column("callback_url", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_pipeline_jobs_batch_id", "pipeline_jobs", ["batch_id"])
    op.create_index(
        "ix_pipeline_jobs_unanswered",
        "pipeline_jobs",
        ["created_at"],
        postgresql_where=sa.text("answered_at IS NULL"),
    )

    # Those that are on their way are looked at likewise.
    op.drop_index("ix_uploads_stored", "uploads")
    kept = sa.text("status IN ('stored', 'remote')")
    op.create_index("ix_uploads_kept", "uploads", ["created_at"], postgresql_where=kept)
    op.create_index("ix_webhook_deliveries_task_id", "webhook_deliveries", ["task_id"])


def downgrade() -> None:
    op.drop_index("ix_webhook_deliveries_task_id", "webhook_deliveries")
    op.drop_index("ix_uploads_kept", "uploads")
    op.create_index("ix_uploads_stored", "uploads", ["created_at"], postgresql_where=sa.text("status = 'stored'"))
    op.drop_table("pipeline_jobs")
    op.drop_column("uploads", "in_batch")
