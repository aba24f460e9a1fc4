"""what each worker runs the network with"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | Sequence[str] | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("worker_heartbeats", sa.Column("engine", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("worker_heartbeats", "engine")
