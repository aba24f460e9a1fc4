"""The form of an API key: `qbg_<id>_<secret><checksum>`, all of it in base 62.

Secret scanners find it by its beginning. The checksum tells a mistyped key, and a made-up one, without a database. The
secret is random, so a fast hash of the key is all that has to be stored.
"""

import hashlib
import re
import secrets
import string
from dataclasses import dataclass, field
from zlib import crc32

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID, SECRET, CHECKSUM = 8, 32, 6  # characters; 32 of them are 190 bits
FORM = re.compile(rf"(qbg_[0-9A-Za-z]{{{ID}}})_[0-9A-Za-z]{{{SECRET}}}([0-9A-Za-z]{{{CHECKSUM}}})")


@dataclass(frozen=True)
class Key:
    """A key of the right form. `prefix` names it, and may be shown; `text` is the whole of it, and secret."""

    prefix: str
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """What is stored of it."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def make_key() -> Key:
    prefix = f"qbg_{_random(ID)}"
    body = f"{prefix}_{_random(SECRET)}"
    return Key(prefix, body + _checksum(body))


def parse_key(text: str) -> Key | None:
    """The key, if the text has the form of one and its checksum is right."""
    found = FORM.fullmatch(text)
    if found is None or _checksum(text[:-CHECKSUM]) != found[2]:
        return None
    return Key(found[1], text)


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number, digits = crc32(body.encode()), []
    for _ in range(CHECKSUM):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
