"""Prints what the callbacks of other Celery clients' jobs are signed with: `python scripts/callback_secret.py`.

Whoever receives them verifies them with it, as with any webhook (docs/webhooks.md).
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))  # from any folder, installed or not

from app.services.accounts import CELERY, Accounts
from app.services.webhooks import Webhooks
from app.shell.operating import operating


def main() -> None:
    """The account that such jobs run in has a secret like any other; nobody can log in to it and ask."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with operating() as parts:
        user = Accounts(parts.settings, parts.sessions).of_the_house(CELERY)
        sys.stdout.write(Webhooks(parts.sessions).signing(user.id).secret + "\n")


if __name__ == "__main__":
    main()
