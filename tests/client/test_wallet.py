"""Wallets: settings by method name, found by entry point, asked for payers once."""

from __future__ import annotations

import pytest

from coinslot.client.wallet import Wallet, as_wallet, wallet
from coinslot.core.accept import format_accept
from coinslot.drive import RealWorld, run
from coinslot.errors import ConfigError, RpcUnreachable
from support.toybank import Bank


def test_a_method_is_found_by_its_name(alice: dict[str, object]) -> None:
    """No file of the package names it."""
    payers = run(wallet(toy=alice).payers(), RealWorld())
    assert [(one.method, one.intent) for one in payers] == [("toy", "charge")]


def test_a_list_makes_several_payers_of_one_method(alice: dict[str, object]) -> None:
    """Two accounts, one name in Accept-Payment."""
    made = wallet(toy=[alice, {**alice, "push": True}])
    assert len(run(made.payers(), RealWorld())) == 2
    assert format_accept(made.accepts()) == "toy/charge"


def test_the_order_of_methods_is_the_order_of_preference(alice: dict[str, object]) -> None:
    """First q=1, then a tenth less each, never zero."""

    class Payer:
        intent = "charge"

        def __init__(self, number: int) -> None:
            self.method = "m" + "x" * number

    made = as_wallet([Payer(number) for number in range(12)])  # type: ignore[misc]  # only its names are asked
    assert [one.thousandths for one in made.accepts()] == [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 100, 100]
    assert format_accept(made.accepts()).startswith("m/charge, mx/charge;q=0.9, mxx/charge;q=0.8")


def test_no_chain_is_asked_until_payers_are_needed(alice: dict[str, object], bank: Bank) -> None:
    """A node that is down does not disturb the making of a wallet; it is asked once, when it works."""
    bank.order("down")
    made = wallet(toy=alice)
    with pytest.raises(RpcUnreachable):
        run(made.payers(), RealWorld())
    first = run(made.payers(), RealWorld())
    bank.order("down")
    assert run(made.payers(), RealWorld()) is first


def test_wrong_settings_are_named() -> None:
    """Unknown methods, unknown and missing settings, and an empty wallet."""
    for given, match in (
        ({}, "at least one"),
        ({"unheard": {}}, "no payment method is called 'unheard'; installed: .*toy"),
        ({"toy": {"bank": "x", "account": "a", "secret": "s", "colour": "red"}}, "unknown setting 'colour'"),
        ({"toy": {"bank": "x"}}, "account"),
    ):
        with pytest.raises(ConfigError, match=match):
            wallet(**given)


@pytest.mark.guard("T38")
def test_a_wallet_shows_no_secret(alice: dict[str, object]) -> None:
    """Its repr is names."""
    made = wallet(toy=alice)
    assert isinstance(made, Wallet)
    assert repr(made) == "Wallet(toy)"
