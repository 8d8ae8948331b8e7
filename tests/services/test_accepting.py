"""`[[accept]]` tables become sellers by what each method publishes; whatever is wrong in them is named."""

from __future__ import annotations

from contextlib import closing

import pytest

from coinslot.devnet.protocol import RunningDevnet
from coinslot.drive import RealWorld, run
from coinslot.errors import ConfigError, RpcUnreachable
from coinslot.services.accepting import accept, chosen_method
from support.toybank import Bank


def test_tables_become_sellers_in_order(bank: Bank) -> None:
    """One table, one method, its own settings; several tables of one method are several sellers."""
    table = {"method": "toy", "bank": bank.path, "recipient": "shop"}
    found = run(accept([table, {**table, "currency": "shell"}]), RealWorld())
    assert [one.method.name for one in found] == ["toy", "toy"]
    assert [getattr(one.settings, "currency", None) for one in found] == ["coin", "shell"]
    assert [seller.method for one in found for seller in one.sellers] == ["toy", "toy"]
    assert table["method"] == "toy"  # the caller's table is as it was


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({}, "accept table 2: 'method' must name a payment method"),
        ({"method": 5}, "accept table 2: 'method' must name a payment method"),
        ({"method": "cash"}, "no payment method is called 'cash'"),
        ({"method": "toy"}, r"accept table 2 \(toy\): .*bank"),
        ({"method": "toy", "bank": "b", "recipient": ""}, r"accept table 2 \(toy\): .*recipient"),
        ({"method": "toy", "bank": "b", "recipient": "r", "rpcurl": "x"}, "unknown setting 'rpcurl'; known: bank,"),
        ({"method": "toy", "bank": "b", "recipient": "r", "currency": "leu"}, "currency: 'leu'"),
    ],
)
def test_what_is_wrong_is_named(bank: Bank, table: dict[str, object], told: str) -> None:
    """The table by its number, the setting by its name."""
    good = {"method": "toy", "bank": bank.path, "recipient": "shop"}
    with pytest.raises(ConfigError, match=told):
        run(accept([good, table]), RealWorld())


def test_something_must_be_accepted() -> None:
    """A seller that takes nothing is a mistake."""
    with pytest.raises(ConfigError, match=r"\[\[accept\]\]"):
        run(accept([]), RealWorld())


def test_among_several_methods_one_must_be_chosen() -> None:
    """The error names those that can be used; a variable chooses, and what it names must exist."""
    with closing(RealWorld()) as world:
        with pytest.raises(ConfigError, match=r"COINSLOT_METHOD: .*tempo, toy"):
            run(chosen_method(None, {}), world)
        assert run(chosen_method(None, {"COINSLOT_METHOD": "toy"}), world) == "toy"
        with pytest.raises(ConfigError, match="no payment method is called 'cash'"):
            run(chosen_method(None, {"COINSLOT_METHOD": "cash"}), world)


@pytest.mark.devnet
def test_the_method_that_a_node_speaks_is_meant(devnet: RunningDevnet) -> None:
    """Where nobody answers, that is the error: it may have been any."""
    with closing(RealWorld()) as world:
        assert run(chosen_method(devnet.rpc_url, {}), world) == "tempo"
        with pytest.raises(RpcUnreachable):
            run(chosen_method("http://127.0.0.1:9", {}), world)
