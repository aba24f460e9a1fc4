"""Pictures that are named instead of sent: which keys and URLs an account may name."""

from uuid import UUID

from app.core.backgrounds import Address
from app.core.config import Settings
from app.core.errors import Forbidden, InvalidRequest, NotFound
from app.core.options import RemovalOptions
from app.outbound.urls import read_url

MAX_KEY = 1024  # bytes


def check_key(key: str) -> None:
    """Raise `InvalidRequest` for a key that some store might take for another one's."""
    parts = key.split("/")
    if (
        len(key.encode(errors="surrogatepass")) > MAX_KEY
        or not {"", ".", ".."}.isdisjoint(parts)
        or "\\" in key
        or not key.isprintable()
    ):
        raise InvalidRequest(
            "s3_key: a key is expected as it stands in the bucket, of at most 1024 bytes, without '..', '//', "
            "backslashes, control characters, and a '/' at its beginning or end.",
            code="invalid_s3_key",
        )


def check_own_key(key: str, user_id: UUID, settings: Settings) -> None:
    """Raise likewise, and `NotFound` for another account's: unseen, so that neither the words nor the time tell
    whether it is there."""
    check_key(key)
    own = (f"imports/{user_id}/", f"originals/{user_id}/")
    if not key.startswith(own + settings.s3_key_shared_prefixes):
        raise no_such_key()


def check_url(url: str, settings: Settings) -> None:
    """Raise `InvalidUrl` for what is none, and `Forbidden` when URLs are switched off."""
    if not settings.url_ingest_enabled:
        raise Forbidden("Images by URL are switched off on this server.", code="url_ingest_disabled")
    read_url(url)


def check_background(asked: RemovalOptions, user_id: UUID, settings: Settings) -> None:
    """Raise `InvalidRequest`, `NotFound` or `Forbidden` when the account may not name this picture as a background.

    Nothing is fetched: whether it is there, and is a picture, the worker finds out.
    """
    address = asked.read_background
    if isinstance(address, Address):
        check_address(address, user_id, settings)


def check_address(address: Address, user_id: UUID, settings: Settings) -> None:
    """Raise likewise for a picture's address."""
    if address.s3_key is None:
        check_url(address.text, settings)
    else:
        check_own_key(address.s3_key, user_id, settings)


def no_such_key() -> NotFound:
    return NotFound("There is no object of yours under this s3_key.", code="s3_key_not_found")
