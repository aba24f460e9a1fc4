"""Names of files as strangers send them."""

import re

MAX_NAME = 200


def clean_filename(name: str | None) -> str | None:
    """The last part of the name that a client sent, without control characters and of bounded length."""
    if not name:
        return None
    base = re.split(r"[/\\]", name)[-1]
    return _printable(base)[:MAX_NAME] or None


def clean_path(name: str | None) -> str | None:
    """A relative path that leads nowhere but down, of bounded length: its last parts, if it is too long."""
    if not name:
        return None
    parts = [_printable(part) for part in re.split(r"[/\\]", name)]
    kept = [part[-MAX_NAME:] for part in parts if part.strip(". ") and not re.fullmatch(r"[A-Za-z]:", part)]
    while kept and len("/".join(kept)) > MAX_NAME and len(kept) > 1:
        del kept[0]
    return "/".join(kept) or None


def shown(address: str) -> str:
    """A URL or a key as it may be repeated to whoever sent it: without passwords and tokens, and of bounded length."""
    return _printable(re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", address)[0]))[:MAX_NAME]


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable()).strip()
