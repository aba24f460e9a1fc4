"""logins that can be refreshed and revoked, API keys, failed logins, limits and usage of an account"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | Sequence[str] | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

LIMITS = ("requests_per_minute", "reads_per_minute", "megapixels_per_minute", "active_tasks", "images_per_month")


def _time(name: str, *, nullable: bool = True) -> sa.Column[sa.DateTime]:
    default = None if nullable else sa.text("now()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    for name in LIMITS:
        op.add_column("users", sa.Column(name, sa.Integer(), nullable=True))
    least = ", ".join(LIMITS)
    op.create_check_constraint(op.f("ck_users_limits"), "users", f"coalesce(least({least}), 0) >= 0")
    op.create_table(
        "logins",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_id", sa.Uuid(), nullable=False),
        _time("created_at", nullable=False),
        _time("refreshed_at", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        _time("revoked_at"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_logins_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logins")),
    )
    op.create_index("ix_logins_user_id", "logins", ["user_id"])
    op.create_index("ix_logins_expires_at", "logins", ["expires_at"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        _time("created_at", nullable=False),
        _time("expires_at"),
        _time("last_used_at"),
        _time("revoked_at"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id"])
    op.create_table(
        "login_failures",
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        _time("first_at", nullable=False),
        _time("last_at", nullable=False),
        _time("blocked_until"),
        sa.CheckConstraint("failures > 0", name=op.f("ck_login_failures_failures")),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_login_failures")),
    )
    op.create_index("ix_login_failures_last_at", "login_failures", ["last_at"])
    op.create_table(
        "usage",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("images", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("megapixels", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_usage_user_id_users")),
        sa.PrimaryKeyConstraint("user_id", "month", name=op.f("pk_usage")),
    )
    op.create_index(
        "ix_tasks_active",
        "tasks",
        ["user_id"],
        postgresql_where=sa.text("finished_at IS NULL AND batch_id IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_tasks_active", "tasks")
    for table in ("usage", "login_failures", "api_keys", "logins"):
        op.drop_table(table)
    op.drop_constraint(op.f("ck_users_limits"), "users", type_="check")
    for name in reversed(LIMITS):
        op.drop_column("users", name)
