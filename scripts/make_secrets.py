"""Makes the secrets of docker-compose.yml, once: `python3 scripts/make_secrets.py [FOLDER]`.

What is there is never changed, so it may be called again after an upgrade that needs one more.

The folder is for its owner alone (0700). The files in it can be read by everybody who gets there (0644): Compose puts
them into the containers with the permissions they have here, and those run as users that this machine does not know.
"""

import json
import os
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "secrets"
USER = DATABASE = "quickbg"
# Files that hold the same password: one alone would not fit the others.
PAIRS = (
    ("database_url", "postgres_password"),
    ("redis_url", "valkey.conf"),
    ("rabbitmq_url", "rabbitmq.conf"),
    ("aws_access_key_id", "aws_secret_access_key", "seaweedfs_s3.json"),
)


def contents() -> dict[str, str]:
    """Every file with its text. All values are hexadecimal, so that no format needs to escape them."""
    postgres, valkey, rabbitmq, secret = (secrets.token_hex(32) for _ in range(4))
    access = secrets.token_hex(10)
    keys = {"accessKey": access, "secretKey": secret}
    identity = {"name": "app", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    return {
        # Named like the settings: the application reads them from /run/secrets.
        "secret_key": secrets.token_hex(32),
        "database_url": f"postgresql://{USER}:{postgres}@postgres:5432/{DATABASE}",
        "redis_url": f"redis://:{valkey}@valkey:6379/0",
        "rabbitmq_url": f"amqp://{USER}:{rabbitmq}@rabbitmq:5672//",
        "aws_access_key_id": access,
        "aws_secret_access_key": secret,
        # What the services of others read.
        "postgres_password": postgres,
        "valkey.conf": f"requirepass {valkey}\n",
        "rabbitmq.conf": f"default_user = {USER}\ndefault_pass = {rabbitmq}\n",
        "seaweedfs_s3.json": json.dumps({"identities": [identity]}),
        # Without these its inner ports would serve any object to whoever reaches them.
        "seaweedfs_security.toml": "".join(
            f'[jwt.{name}]\nkey = "{secrets.token_hex(32)}"\n'
            for name in ("signing", "signing.read", "filer_signing", "filer_signing.read")
        ),
    }


def make(folder: Path) -> list[str]:
    """Write what is missing and return its names.

    Raises:
        SystemExit: the folder is open to others, or of two files with the same password only one is there.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        sys.exit(f"quickbg: {folder} is open to others: chmod 700 {folder}")
    texts = contents()
    missing = [name for name in texts if not (folder / name).exists()]
    for group in PAIRS:
        absent = [name for name in group if name in missing]
        if absent and len(absent) < len(group):
            present = next(name for name in group if name not in absent)
            sys.exit(f"quickbg: {folder / absent[0]} is missing, and {present} holds its password: put it back.")
    for name in missing:
        _write(folder / name, texts[name])
    return missing


def _write(path: Path, text: str) -> None:
    """Whole or not at all: half a secret that is never overwritten would be for ever."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.chmod(0o644)  # whatever the umask says
    draft.rename(path)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    try:
        made = make(target)
    except OSError as problem:
        sys.exit(f"quickbg: {target} cannot be written: {problem.strerror}.")
    sys.stdout.write(f"{target}: {', '.join(made) if made else 'everything is there'}\n")
