"""Signatures, judged by the library that receivers use."""

import base64
import json
import time
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from app.core.errors import InvalidRequest
from app.services.webhooks import body_of, checked, make_secret, signed
from tests.webhooks.messages import PAYLOAD

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda each: st.lists(each) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), each),
)
messages = st.fixed_dictionaries({"data": json_values, "timestamp": st.just("2026"), "type": st.just("a.b")})


@given(messages, st.uuids(), st.integers(1, 3))
def test_what_is_signed_is_what_a_client_verifies(payload: dict[str, object], message_id: UUID, number: int) -> None:
    body, keys = body_of(payload), [make_secret() for _ in range(number)]
    headers = signed(message_id, int(time.time()), body, keys)
    for key in keys:
        assert Webhook(key).verify(body, headers) == payload


@given(messages, st.uuids(), st.integers(min_value=0), st.integers(1, 255))
def test_one_changed_byte_is_noticed(payload: dict[str, object], message_id: UUID, where: int, by: int) -> None:
    key, body = make_secret(), body_of(payload)
    headers = signed(message_id, int(time.time()), body, [key])
    bent = bytearray(body)
    bent[where % len(body)] ^= by
    try:
        bent.decode()
    except UnicodeDecodeError:
        assume(False)
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(bytes(bent), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(body, headers | {"webhook-id": "another"})
    with pytest.raises(WebhookVerificationError):
        Webhook(make_secret()).verify(body, headers)


def test_the_body_is_compact_and_in_order() -> None:
    shuffled = {"data": PAYLOAD["data"], "type": PAYLOAD["type"], "timestamp": PAYLOAD["timestamp"]}
    assert (
        body_of(shuffled) == body_of(PAYLOAD) == json.dumps(PAYLOAD, ensure_ascii=False, separators=(",", ":")).encode()
    )


def test_a_secret_has_32_bytes_and_is_new_each_time() -> None:
    made = {make_secret() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert secret.startswith("whsec_")
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


@given(st.text() | st.text().map("https://".__add__) | st.from_regex(r"https?://[a-z]+\.[a-z]+(/[a-z?=&]*)?"))
def test_an_address_is_stored_in_one_form_or_refused_in_one_sentence(text: str) -> None:
    refused = None
    try:
        url = checked(text)
    except InvalidRequest as error:
        refused = error
    if refused is not None:
        assert refused.code == "invalid_url"
        assert str(refused).startswith("webhook_url: The URL must begin with ")
        return
    assert checked(url) == url
    assert url.isascii()
    assert url.startswith(("http://", "https://"))
