"""the state machine guards itself; idempotency keys, deletion, counters, wake-ups"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Whoever writes, a task goes only where it may: from status to status, one attempt after the other, and a delivered
# result stays the one that was delivered. SQLSTATE 23514 is a violated check.
GUARD = """
CREATE FUNCTION tasks_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
        ('queued', 'processing'), ('queued', 'failed'), ('queued', 'cancelled'),
        ('retrying', 'processing'), ('retrying', 'failed'), ('retrying', 'cancelled'),
        ('processing', 'completed'), ('processing', 'failed'), ('processing', 'retrying'), ('processing', 'queued'),
        ('processing', 'cancelled'),
        ('completed', 'expired'),
        ('failed', 'expired'), ('failed', 'queued'),
        ('cancelled', 'expired'), ('cancelled', 'queued')
    ) THEN
        RAISE EXCEPTION 'a % task cannot become %', OLD.status, NEW.status USING ERRCODE = '23514';
    END IF;
    IF NEW.attempt <> OLD.attempt + (OLD.status IN ('queued', 'retrying') AND NEW.status = 'processing')::int THEN
        RAISE EXCEPTION 'attempts count claims, one by one' USING ERRCODE = '23514';
    END IF;
    IF OLD.status = 'completed' AND NEW.status = 'completed' AND OLD.result_key <> NEW.result_key THEN
        RAISE EXCEPTION 'a delivered result stays' USING ERRCODE = '23514';
    END IF;
    IF (OLD.id, OLD.user_id, OLD.upload_id) <> (NEW.id, NEW.user_id, NEW.upload_id) THEN
        RAISE EXCEPTION 'a task stays the same task' USING ERRCODE = '23514';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION tasks_guard();

CREATE FUNCTION task_events_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Deeper than 1: it goes together with its task.
    IF TG_OP = 'DELETE' AND pg_trigger_depth() > 1 THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'history is only ever added to' USING ERRCODE = '23514';
END $$;

CREATE TRIGGER task_events_keep BEFORE UPDATE OR DELETE ON task_events
    FOR EACH ROW EXECUTE FUNCTION task_events_keep();
"""

# Those who wait for a task listen on the channel `tasks`; what they hear is its id.
RECORD_AND_WAKE = """
CREATE OR REPLACE FUNCTION tasks_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO task_events (task_id, attempt, from_status, status, stage, worker, error_code)
    VALUES (NEW.id, NEW.attempt, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, NEW.stage,
            NEW.worker, NEW.error_code);
    IF TG_OP = 'UPDATE' THEN
        PERFORM pg_notify('tasks', NEW.id::text);
    END IF;
    RETURN NULL;
END $$;
"""
RECORD = RECORD_AND_WAKE.replace(
    """    IF TG_OP = 'UPDATE' THEN
        PERFORM pg_notify('tasks', NEW.id::text);
    END IF;
""",
    "",
)

UNTIDY = (
    "finished_at IS NOT NULL AND tidied_at IS NULL"
    " AND (status = 'completed' AND attempt > 1 OR status IN ('cancelled', 'failed') AND attempt > 0)"
)
WAITING = "status IN ('queued', 'retrying')"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("tasks", sa.Column("tidied_at", sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f("ck_tasks_deleted"), "tasks", "(deleted_at IS NOT NULL) <= (status = 'expired')")
    op.create_index(
        "ix_tasks_untidied",
        "tasks",
        ["finished_at"],
        postgresql_where=sa.text(UNTIDY),
    )
    # By account: each has its turns.
    op.create_index(
        "ix_tasks_unrung",
        "tasks",
        ["user_id", "queue", "run_at"],
        postgresql_where=sa.text(f"{WAITING} AND dispatched_at IS NULL"),
    )
    op.create_index(
        "ix_tasks_rung",
        "tasks",
        ["user_id", "queue"],
        postgresql_where=sa.text(f"{WAITING} AND dispatched_at IS NOT NULL"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("locked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_idempotency_keys_user_id_users")),
        sa.PrimaryKeyConstraint("user_id", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), server_default="", nullable=False),
        sa.Column("value", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", name=op.f("pk_counters")),
    )
    op.execute(RECORD_AND_WAKE)
    op.execute(GUARD)


def downgrade() -> None:
    op.execute("DROP TRIGGER task_events_keep ON task_events; DROP FUNCTION task_events_keep;")
    op.execute("DROP TRIGGER tasks_guard ON tasks; DROP FUNCTION tasks_guard;")
    op.execute(RECORD)
    op.drop_table("counters")
    op.drop_table("idempotency_keys")
    for index in ("ix_tasks_rung", "ix_tasks_unrung", "ix_tasks_untidied"):
        op.drop_index(index, "tasks")
    op.drop_constraint(op.f("ck_tasks_deleted"), "tasks", type_="check")
    op.drop_column("tasks", "tidied_at")
    op.drop_column("tasks", "deleted_at")
