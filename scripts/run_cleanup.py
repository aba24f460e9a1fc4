"""Deletes what is past its time, and prints what that was, as JSON: `python scripts/run_cleanup.py [--dry-run]`.

With `--audit` it reads the whole bucket instead, and reports objects of more than a day that no row stands for;
`--audit --delete` deletes them.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))  # from any folder, installed or not

from app.services.audit import Audit
from app.services.retention import Retention
from app.shell.operating import operating


def main() -> None:
    """Exit code 1: some objects could not be deleted; the next run finds them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    parser.add_argument("--audit", action="store_true", help="look for objects that no row stands for")
    parser.add_argument("--delete", action="store_true", help="with --audit: delete them")
    asked = parser.parse_args()
    if asked.delete and not asked.audit:
        parser.error("--delete belongs to --audit")
    with operating() as parts:
        if asked.audit:
            audited = Audit(parts.sessions, parts.store).run(delete=asked.delete and not asked.dry_run)
            sys.stdout.write(json.dumps(asdict(audited)) + "\n")
            return
        retention = Retention(parts.settings, parts.sessions, parts.store)
        cleaned = retention.preview() if asked.dry_run else retention.clean()
        sys.stdout.write(json.dumps(asdict(cleaned)) + "\n")
    sys.exit(1 if cleaned.left else 0)


if __name__ == "__main__":
    main()
