"""Makes the bucket of S3_BUCKET_NAME, unless it is there: `python scripts/init_storage.py`."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))  # from any folder, installed or not

from app.shell.operating import operating
from app.storage.base import Bucket

SAID = {
    Bucket.MADE: "The bucket {name} has been made.",
    Bucket.THERE: "The bucket {name} is there already.",
    Bucket.HIDDEN: "These credentials may not look at the bucket {name}; it is taken to be there.",
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with operating() as parts:
        found = parts.store.prepare()
        sys.stdout.write(SAID[found].format(name=parts.settings.s3_bucket_name) + "\n")


if __name__ == "__main__":
    main()
