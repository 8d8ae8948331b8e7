"""Credentials and keys appear in no repr, no error, no event, no log."""

from __future__ import annotations

import contextlib
import logging
import traceback
from dataclasses import replace

import pytest

from coinslot.client.events import Paid
from coinslot.core.credential import decode_credential
from coinslot.core.problem import problem_body
from coinslot.errors import PaymentError, PaymentOutcomeUnknown, PaymentRefused, VerificationFailed
from support.doors import Door
from support.shop import Shop
from support.site import Reply, Seen, Site


def test_the_paid_answer_shows_no_credential(door: Door, shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the request that the caller sees, nor events, nor logs at the finest level. Also without its query."""
    caplog.set_level(logging.DEBUG)
    with Site(shop) as site:
        got = door.get(f"{site.url}/?key=QUERYSECRET")
    assert isinstance(got.payment, Paid)
    assert not any("authorization" in name.lower() for name in got.sent)
    _assert_clean(site, repr(got.payment), repr(door.events), str(got.sent), caplog.text)
    for text in (repr(got.payment), repr(door.events)):
        assert "Receipt(" not in text
    assert "QUERYSECRET" not in repr(door.events)


@pytest.mark.spec("CORE-084", "CORE-107")
@pytest.mark.guard("T38")
@pytest.mark.parametrize("mischief", ["drop", "body", "echo", "busy"])
def test_failures_show_no_credential(door: Door, shop: Shop, caplog: pytest.LogCaptureFixture, mischief: str) -> None:
    """Whatever goes wrong: messages, reprs, causes, tracebacks and logs; also when the server echoes what we sent."""
    caplog.set_level(logging.DEBUG)

    def answer(seen: Seen) -> Reply:
        if not seen.credential:
            return shop.ask()
        token = seen.credential.partition(" ")[2]
        if mischief == "echo":
            return replace(shop.ask(), body=problem_body(VerificationFailed(f"bad token {token}!")))
        if mischief == "busy":
            return Reply(503, b"", (("Retry-After", "999"),))
        return replace(shop(seen), drop="all" if mischief == "drop" else "body")

    with Site(answer) as site, pytest.raises(PaymentError) as caught:
        door.get(site.url)
    error = caught.value
    assert isinstance(error, PaymentRefused if mischief == "echo" else PaymentOutcomeUnknown)
    texts = [repr(error), str(error), repr(vars(error)), repr(door.events), caplog.text]
    texts += traceback.format_exception(error)
    cause = error.__cause__
    while cause is not None:
        with contextlib.suppress(AttributeError, RuntimeError):
            texts.append(str(dict(cause.request.headers)))  # type: ignore[attr-defined]
        texts.append(repr(vars(cause)))
        cause = cause.__cause__ or cause.__context__
    _assert_clean(site, *texts)


def _assert_clean(site: Site, *texts: str) -> None:
    (seen,) = site.paid
    assert seen.credential is not None
    token = seen.credential.partition(" ")[2]
    signature = decode_credential(token).payload_object()["signature"]
    for text in texts:
        assert token not in text
        assert token[200:260] not in text
        assert signature not in text
