"""Deletes what is past its time, and prints what that was, as JSON: `python scripts/run_cleanup.py [--dry-run]`."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))  # from any folder, installed or not

from app.services.retention import Retention
from app.shell.operating import operating


def main() -> None:
    """Exit code 1: some objects could not be deleted; the next run finds them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    dry = parser.parse_args().dry_run
    with operating() as parts:
        retention = Retention(parts.settings, parts.sessions, parts.store)
        cleaned = retention.preview() if dry else retention.clean()
        sys.stdout.write(json.dumps(asdict(cleaned)) + "\n")
    sys.exit(1 if cleaned.left else 0)


if __name__ == "__main__":
    main()
