"""Makes an administrator, or makes one of an existing account: `python scripts/create-admin.py --email ADDRESS`."""

# ruff: noqa: N999 - the name that people know

import argparse
import getpass
import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))  # from any folder, installed or not

from app.core.errors import AppError, InvalidRequest
from app.services.accounts import Accounts, Promotion
from app.shell.operating import operating

DONE = {
    Promotion.CREATED: "{email} is an administrator now.",
    Promotion.PROMOTED: "The account {email} is an administrator now{password}.",
    Promotion.NONE: "{email} was an administrator already{password}.",
}


def main() -> None:
    """Ask for what is not given; the password never stands on the command line, where others can read it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--email", help="asked for when it is left out")
    parser.add_argument("--reset-password", action="store_true", help="of an account that exists")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--password-stdin", action="store_true", help="read it from standard input, one line")
    way.add_argument("--generate", action="store_true", help="make one up and print it, once")
    wanted = parser.parse_args()
    with operating() as parts:
        accounts = Accounts(parts.settings, parts.sessions)
        email = wanted.email or ask("E-mail address: ")
        new = wanted.reset_password or not accounts.exists(email)
        password = choose_password(wanted) if new else None
        outcome = accounts.make_admin(email, password)
        said = "; its password is the new one" if new else "; its password is as before (--reset-password changes it)"
        sys.stdout.write(DONE[outcome].format(email=email, password=said) + "\n")
        if wanted.generate and new:
            sys.stdout.write(f"Password, shown only here: {password}\n")


def choose_password(wanted: argparse.Namespace) -> str:
    if wanted.generate:
        return secrets.token_urlsafe(18)
    if wanted.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise AppError("There is no terminal to ask for a password: use --password-stdin or --generate.")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise InvalidRequest("The two are not the same.")
    return password


def ask(question: str) -> str:
    if not sys.stdin.isatty():
        raise AppError("There is no terminal to ask for the address: use --email.")
    return input(question).strip()


if __name__ == "__main__":
    main()
