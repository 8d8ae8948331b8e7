"""A slot: a few words of configuration, checked before the first request."""

from __future__ import annotations

from pathlib import Path

import pytest

from coinslot.errors import ConfigError, StoreError, UsageError
from coinslot.store.memory import MemoryStore
from coinslot.transports.secret import VARIABLE
from coinslot.transports.slot import Slot
from support.drained import drained
from support.till import toy_seller
from support.toybank import Bank

SECRET = "a secret of more than thirty-two characters"


@pytest.fixture
def toy(bank: Bank) -> dict[str, object]:
    """The settings of a seller."""
    return {"bank": bank.path, "recipient": "shop"}


def test_a_slot_needs_a_realm_and_a_way_to_be_paid(toy: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Method settings by keyword, one table or several; the order is that of the offers."""
    monkeypatch.delenv(VARIABLE, raising=False)
    slot = Slot("api.example.com", store="memory:", toy=[toy, {**toy, "currency": "shell"}])
    assert [each.method for each in slot.sellers] == ["toy", "toy"]
    assert len(slot.price("0.01").sellers) == 2
    slot.close()


@pytest.mark.parametrize(
    ("realm", "options", "message"),
    [
        ("api", {}, "payment method"),
        ("api", {"abacus": {}}, "abacus"),
        ("api", {"toy": {"recipient": "shop"}}, "bank"),
        ("a|b", {"toy": "good"}, "realm"),
        ("api", {"toy": "good", "expires_in_s": 0}, "second"),
        ("api", {"toy": "good", "secret_key": "short"}, "32 characters"),
        ("api", {"toy": "good", "store": "redis://x"}, "32 characters|URL of a store|share"),
    ],
)
def test_what_is_wrong_is_named_at_the_start(
    toy: dict[str, object], realm: str, options: dict[str, object], message: str
) -> None:
    """Not at the first payment."""
    given = {name: toy if value == "good" else value for name, value in options.items()}
    with pytest.raises(ConfigError, match=message):
        Slot(realm, **{"store": "memory:", **given})  # type: ignore[arg-type]


@pytest.mark.guard("T11")
def test_a_store_that_was_opened_elsewhere_needs_a_secret(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    """We can't know who shares it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=VARIABLE):
        Slot("api", store=MemoryStore(), sellers=[toy_seller(bank)])
    Slot("api", store=MemoryStore(), sellers=[toy_seller(bank)], secret_key=SECRET).close()


@pytest.mark.guard("T38")
def test_a_slot_does_not_show_its_secret(bank: Bank, tmp_path: Path) -> None:
    """Neither its repr, nor that of what it is made of."""
    slot = Slot("api", store=f"sqlite:///{tmp_path}/p.db", sellers=[toy_seller(bank)], secret_key=SECRET)
    shown = repr([slot, slot.gate, slot.gate.issuer, slot.store, slot.resolving])
    assert SECRET not in shown
    assert SECRET.encode().hex() not in shown
    slot.close()


def test_a_closed_slot_takes_nothing_more(bank: Bank) -> None:
    """Its store is closed and its resolver does not start again."""
    slot = Slot("api", store="memory:", sellers=[toy_seller(bank)], secret_key=SECRET)
    slot.resolving.ensure()
    slot.close()
    with pytest.raises(StoreError, match="closed"):
        drained(slot.store)
    slot.resolving._thread.join(60)
    slot.resolving.ensure()
    assert not slot.resolving._thread.is_alive()


def test_a_price_that_cannot_be_asked_is_named_at_the_start(bank: Bank) -> None:
    """Floats, nothing, and what a header can't carry."""
    slot = Slot("api", store="memory:", sellers=[toy_seller(bank)], secret_key=SECRET)
    for amount in ("0", "-1", "1e3", ""):
        with pytest.raises(UsageError):
            slot.price(amount)
    with pytest.raises(UsageError, match="description"):
        slot.price("1", description="a\r\nSet-Cookie: b")
    with pytest.raises(UsageError):
        slot.price("0.01", splits={"museum": "0.01"})
    slot.close()


def test_where_sessions_are_set_up_a_price_can_be_paid_both_ways(toy: dict[str, object]) -> None:
    """Unless one is named, or what is sold can be charged for only; a price of a unit is for sessions only."""
    slot = Slot(
        "shop.example", store="memory:", toy={**toy, "sessions": True}, secret_key="k9" * 8 + "stuvwxyzabcdefgh"
    )
    ways = {
        ("charge", "session"): slot.price("0.01"),
        ("charge",): slot.price("0.01", pay_by="charge"),
        ("session",): slot.price("0.01", pay_by="session", deposit="1"),
    }
    for intents, price in ways.items():
        assert tuple(one.intent for one in price.sellers) == intents
    assert [one.intent for one in slot.price("0.01", splits={"other": "0.001"}).sellers] == ["charge"]
    metered = slot.metered("0.000025", unit="llm_token", deposit="1", window=32)
    assert [one.intent for one in metered.sellers] == ["session"]
    assert metered.metering is not None
    assert (metered.metering.unit, metered.metering.window) == ("llm_token", 32)
    assert slot.priced(metered) is metered
    with pytest.raises(UsageError, match="made already"):
        slot.priced(metered, description="another")
    slot.close()


def test_a_slot_without_sessions_has_no_price_of_a_unit(toy: dict[str, object]) -> None:
    """And one that is asked for what nobody takes says so."""
    slot = Slot("shop.example", store="memory:", toy=toy, secret_key="k9" * 8 + "stuvwxyzabcdefgh")
    with pytest.raises(UsageError, match="session"):
        slot.metered("0.01")
    with pytest.raises(UsageError, match="pay_by"):
        slot.price("0.01", pay_by="barter")  # type: ignore[arg-type]
    slot.close()
