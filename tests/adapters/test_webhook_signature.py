"""Signatures of what is posted to an operator's own applications: Standard Webhooks' library finds them right."""

import base64
import time

import pytest
from pydantic import TypeAdapter, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from pairing_ws.adapters.webhook_signature import WebhookSignatures
from pairing_ws.config.values import WebhookSecrets

OLD, NEW = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
BODY = '{"type":"user.locked","data":{"name":"Jürgen ☂"}}'.encode()
SETTING: TypeAdapter[tuple[str, ...]] = TypeAdapter(WebhookSecrets)


def now() -> int:
    return int(time.time() * 1000)


def test_the_signature_is_that_of_the_vector_by_which_the_libraries_of_other_languages_are_tested() -> None:
    signed = WebhookSignatures(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_999, b'{"test": 2432232314}'
    )
    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_a_secret_is_exchanged_receivers_that_have_either_take_the_message_and_no_others() -> None:
    signed = WebhookSignatures([NEW, OLD]).headers("msg_1", now(), BODY)
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(BODY, signed)["data"] == {"name": "Jürgen ☂"}
    with pytest.raises(WebhookVerificationError):
        Webhook(bytes(32)).verify(BODY, signed)


@pytest.mark.parametrize("change", ["webhook-id", "webhook-timestamp", "body"])
def test_a_message_with_a_part_of_another_one_is_refused(change: str) -> None:
    at = now()
    signed = WebhookSignatures([NEW]).headers("msg_1", at, BODY)
    other = {"webhook-id": "msg_2", "webhook-timestamp": str(at // 1000 - 1)}
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(
            b"{}" if change == "body" else BODY, signed | {change: other[change]} if change in other else signed
        )


@pytest.mark.parametrize(
    "between", [",", ", ", "\n", "\r\n", " "], ids=["comma", "comma+space", "line", "crlf", "space"]
)
def test_several_secrets_may_have_a_comma_or_a_line_between(between: str) -> None:
    assert SETTING.validate_python(f"{NEW}{between}{OLD}") == (NEW, OLD)


@pytest.mark.parametrize(
    "value",
    [
        "whsec_", "whsec_secret", NEW.removeprefix("whsec_"), NEW.replace("whsec", "whsk"), NEW[:-1], NEW + "!",
        "whsec_" + base64.b64encode(bytes(23)).decode(), "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_ü", f"{NEW},{NEW[:20]}",
    ],
    ids=["empty", "word", "bare", "private key", "cut", "other letter", "short", "long", "not ascii", "second"],
)  # fmt: skip
def test_a_secret_that_is_none_is_refused_in_words_that_do_not_repeat_it(value: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SETTING.validate_python(value)
    message = caught.value.errors()[0]["msg"]
    assert "24 to 64 random bytes" in message
    assert value == "whsec_" or value not in message
