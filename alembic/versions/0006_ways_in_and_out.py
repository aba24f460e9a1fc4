"""mattes, recipes, batches, webhooks; originals that are still at their URL"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006"
down_revision: str | Sequence[str] | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Whoever is to be told of a task's end is written down with it, whichever way it ends.
TELL = """
CREATE FUNCTION webhook_message(kind text, data jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object(
        'type', kind,
        'timestamp', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'data', data
    )
$$;

CREATE FUNCTION tasks_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_deliveries (id, user_id, task_id, url, type, payload)
    VALUES (
        gen_random_uuid(), NEW.user_id, NEW.id, NEW.webhook_url, 'task.' || NEW.status,
        webhook_message('task.' || NEW.status, jsonb_build_object(
            'task_id', NEW.id, 'upload_id', NEW.upload_id, 'batch_id', NEW.batch_id,
            'status', NEW.status, 'error_code', NEW.error_code
        ))
    );
    RETURN NULL;
END $$;

CREATE FUNCTION batches_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_deliveries (id, user_id, batch_id, url, type, payload)
    VALUES (
        gen_random_uuid(), NEW.user_id, NEW.id, NEW.webhook_url, 'batch.finished',
        webhook_message('batch.finished', jsonb_build_object(
            'batch_id', NEW.id, 'total', NEW.total, 'refused', jsonb_array_length(NEW.refused)
        ))
    );
    RETURN NULL;
END $$;

CREATE TRIGGER tasks_told AFTER UPDATE ON tasks FOR EACH ROW
    WHEN (NEW.webhook_url IS NOT NULL AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION tasks_tell();
CREATE TRIGGER batches_told AFTER UPDATE ON batches FOR EACH ROW
    WHEN (NEW.webhook_url IS NOT NULL AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION batches_tell();
"""
FACTS = ("format", "size_bytes", "width", "height", "sha256")  # of an original, known once it is here


def _time(name: str, *, nullable: bool = True) -> sa.Column[sa.DateTime]:
    default = None if nullable else sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _owner(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id_users"))


def upgrade() -> None:
    _uploads()
    _mattes()
    _recipes()
    _batches()
    _webhooks()
    op.add_column("tasks", sa.Column("item", sa.Integer(), nullable=True))
    op.add_column("tasks", sa.Column("name", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("recipe", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("webhook_url", sa.Text(), nullable=True))
    op.add_column("tasks", sa.Column("subject_box", postgresql.ARRAY(sa.Integer()), nullable=True))
    op.add_column("tasks", sa.Column("result_box", postgresql.ARRAY(sa.Integer()), nullable=True))
    op.create_foreign_key(op.f("fk_tasks_batch_id_batches"), "tasks", "batches", ["batch_id"], ["id"])
    op.execute(TELL)


def _uploads() -> None:
    op.add_column("uploads", sa.Column("source_url", sa.Text(), nullable=True))
    for name in FACTS:
        op.alter_column("uploads", name, nullable=True)
    op.drop_constraint(op.f("ck_uploads_status"), "uploads", type_="check")
    op.create_check_constraint(
        op.f("ck_uploads_status"), "uploads", "status IN ('expired', 'pending', 'remote', 'stored')"
    )
    op.create_check_constraint(
        op.f("ck_uploads_facts"), "uploads", "(status IN ('pending', 'stored')) <= (sha256 IS NOT NULL)"
    )
    op.create_check_constraint(op.f("ck_uploads_remote"), "uploads", "(status = 'remote') <= (source_url IS NOT NULL)")
    op.create_index("ix_uploads_sha256", "uploads", ["user_id", "sha256"])


def _mattes() -> None:
    op.create_table(
        "mattes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        _time("stored_at"),
        _time("dropped_at"),
        _time("created_at", nullable=False),
        _owner("mattes"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mattes")),
    )
    op.create_index(
        "ix_mattes_wanted",
        "mattes",
        ["user_id", "sha256", "model", "level"],
        unique=True,
        postgresql_where=sa.text("dropped_at IS NULL"),
    )
    op.create_index("ix_mattes_dropped", "mattes", ["id"], postgresql_where=sa.text("dropped_at IS NOT NULL"))


def _recipes() -> None:
    op.create_table(
        "recipes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("options", postgresql.JSONB(), nullable=False),
        _time("created_at", nullable=False),
        _time("deleted_at"),
        sa.CheckConstraint("version > 0", name=op.f("ck_recipes_version")),
        _owner("recipes"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipes")),
        sa.UniqueConstraint("user_id", "name", "version", name=op.f("uq_recipes_user_id_name_version")),
    )


def _batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("refused", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        _time("created_at", nullable=False),
        _time("finished_at"),
        sa.CheckConstraint("total >= 0", name=op.f("ck_batches_total")),
        _owner("batches"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index("ix_batches_user", "batches", ["user_id", sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index("ix_batches_unfinished", "batches", ["created_at"], postgresql_where=sa.text("finished_at IS NULL"))


def _webhooks() -> None:
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        _time("created_at", nullable=False),
        _time("expires_at"),
        _owner("webhook_secrets"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_secrets")),
    )
    op.create_index("ix_webhook_secrets_user_id", "webhook_secrets", ["user_id"])
    op.create_table(
        "webhook_endpoints",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        _time("failing_since"),
        _time("disabled_at"),
        _owner("webhook_endpoints"),
        sa.PrimaryKeyConstraint("user_id", "url", name=op.f("pk_webhook_endpoints")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("by_hand", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _time("created_at", nullable=False),
        _time("next_at", nullable=False),
        _time("ended_at"),
        sa.CheckConstraint(
            "status IN ('delivered', 'disabled', 'failed', 'pending')", name=op.f("ck_webhook_deliveries_status")
        ),
        sa.CheckConstraint("(status = 'pending') = (ended_at IS NULL)", name=op.f("ck_webhook_deliveries_ended")),
        _owner("webhook_deliveries"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_due", "webhook_deliveries", ["next_at"], postgresql_where=sa.text("status = 'pending'")
    )
    op.create_index(
        "ix_webhook_deliveries_pending",
        "webhook_deliveries",
        ["user_id", "url"],
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index("ix_webhook_deliveries_ended_at", "webhook_deliveries", ["ended_at"])
    op.create_index(
        "ix_webhook_deliveries_user",
        "webhook_deliveries",
        ["user_id", sa.text("created_at DESC"), sa.text("id DESC")],
    )
    op.create_table(
        "webhook_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        _time("at", nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["webhook_deliveries.id"],
            name=op.f("fk_webhook_attempts_delivery_id_webhook_deliveries"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_attempts")),
    )
    op.create_index("ix_webhook_attempts_delivery_id", "webhook_attempts", ["delivery_id", "id"])


def downgrade() -> None:
    op.execute(
        "DROP TRIGGER tasks_told ON tasks; DROP TRIGGER batches_told ON batches;"
        " DROP FUNCTION tasks_tell; DROP FUNCTION batches_tell; DROP FUNCTION webhook_message;"
    )
    op.drop_constraint(op.f("fk_tasks_batch_id_batches"), "tasks", type_="foreignkey")
    op.execute("UPDATE tasks SET batch_id = NULL")
    for name in ("result_box", "subject_box", "webhook_url", "recipe", "name", "item"):
        op.drop_column("tasks", name)
    for table in (
        *("webhook_attempts", "webhook_deliveries", "webhook_endpoints", "webhook_secrets"),
        *("batches", "recipes", "mattes"),
    ):
        op.drop_table(table)
    op.drop_index("ix_uploads_sha256", "uploads")
    op.drop_constraint(op.f("ck_uploads_remote"), "uploads", type_="check")
    op.drop_constraint(op.f("ck_uploads_facts"), "uploads", type_="check")
    # What never came here has nothing that an older version could show.
    op.execute("DELETE FROM tasks WHERE upload_id IN (SELECT id FROM uploads WHERE sha256 IS NULL)")
    op.execute("DELETE FROM uploads WHERE sha256 IS NULL")
    op.drop_constraint(op.f("ck_uploads_status"), "uploads", type_="check")
    op.create_check_constraint(op.f("ck_uploads_status"), "uploads", "status IN ('expired', 'pending', 'stored')")
    for name in FACTS:
        op.alter_column("uploads", name, nullable=False)
    op.drop_column("uploads", "source_url")
