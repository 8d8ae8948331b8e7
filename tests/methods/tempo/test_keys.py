"""What a wallet asks of the method: keys, addresses, balances, the chain's clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from coinslot.drive import Random, RealWorld, run
from coinslot.errors import ConfigError, RpcUnreachable, UsageError
from coinslot.method import keys_of, load
from coinslot.methods.tempo.keys import KEYS
from support.devnet import Chain

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Drawn(RealWorld):
    """A world whose randomness is given."""

    def __init__(self, *draws: bytes) -> None:
        super().__init__()
        self._draws = iter(draws)

    def random(self, size: int) -> bytes:
        """The next draw."""
        return next(self._draws)


@pytest.fixture
def world() -> Iterator[RealWorld]:
    """The real one."""
    with closing(RealWorld()) as made:
        yield made


def test_the_method_publishes_its_keys_and_its_reader() -> None:
    """Programs find them on the method, without knowing which it is."""
    assert keys_of(load("tempo")) is KEYS


def test_a_method_without_keys_is_named() -> None:
    """A method need not have any."""
    with pytest.raises(ConfigError, match="'toy' has no keys"):
        keys_of(load("toy"))


@given(secret=st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "big")))
def test_addresses_are_what_others_derive(secret: bytes) -> None:
    """The same key has the same address in another implementation."""
    assert KEYS.address_of("0x" + secret.hex()) == Account.from_key(secret).address.lower()


def test_a_new_key_is_what_was_drawn() -> None:
    """All 32 bytes come from the world's randomness, asked for once."""
    flow = KEYS.new_key()
    assert next(flow) == Random(32)
    assert run(KEYS.new_key(), Drawn(b"\x07" * 32)) == "0x" + "07" * 32


def test_a_draw_outside_the_curve_is_drawn_again() -> None:
    """Zero and the group's order are no keys; a generator that gives nothing else is refused."""
    assert run(KEYS.new_key(), Drawn(bytes(32), b"\x07" * 32)) == "0x" + "07" * 32
    with pytest.raises(UsageError, match="randomness is broken"):
        run(KEYS.new_key(), Drawn(bytes(32), ORDER.to_bytes(32, "big")))


@pytest.mark.parametrize("key", ["", "0x" + "00" * 32, "0x" + "ff" * 32, "0x" + "4f" * 31])
def test_a_key_that_is_none_has_no_address(key: str) -> None:
    """The error doesn't repeat it."""
    with pytest.raises(UsageError) as caught:
        KEYS.address_of(key)
    assert "4f4f" not in str(caught.value)


@pytest.mark.devnet
def test_balances_of_known_and_of_named_tokens(devnet: Chain, world: RealWorld) -> None:
    """Without names the tokens that we know, pathUSD first; with names exactly those, in that order."""
    who = "0x" + "51" * 20
    devnet.fund(who, 70_000)
    devnet.fund(who, 5, "BetaUSD")
    held = run(KEYS.balances(devnet.rpc_url, who, []), world)
    assert [(one.asset.symbol, one.amount_units) for one in held] == [
        ("pathUSD", 70_000), ("AlphaUSD", 0), ("BetaUSD", 5), ("ThetaUSD", 0),
    ]  # fmt: skip
    named = run(KEYS.balances(devnet.rpc_url, who, [devnet.tokens["BetaUSD"], devnet.tokens["PathUSD"]]), world)
    assert [(one.asset.key, one.amount_units, one.asset.decimals) for one in named] == [
        ("eip155:42431/0x20c0000000000000000000000000000000000002", 5, 6),
        ("eip155:42431/0x20c0000000000000000000000000000000000000", 70_000, 6),
    ]


@pytest.mark.devnet
def test_no_token_and_no_address(devnet: Chain, world: RealWorld) -> None:
    """An address without code is no token; text that is no address is refused before the chain is asked."""
    who = "0x" + "51" * 20
    with pytest.raises(UsageError, match="there is no token at 0x1212"):
        run(KEYS.balances(devnet.rpc_url, who, ["0x" + "12" * 20]), world)
    for bad in (("0x51", []), (who, ["pathUSD"])):
        with pytest.raises(UsageError, match="an address is"):
            run(KEYS.balances("http://127.0.0.1:1", *bad), world)


@pytest.mark.devnet
def test_the_chains_time(devnet: Chain, world: RealWorld) -> None:
    """The newest block's, within a minute of ours; no node, no time."""
    assert abs(run(KEYS.chain_time_s(devnet.rpc_url), world) - time.time()) < 60
    with pytest.raises(RpcUnreachable):
        run(KEYS.chain_time_s("http://127.0.0.1:1"), world)
