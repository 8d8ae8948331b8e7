"""What a wallet asks of the method: keys, addresses, balances, the chain's clock."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair

from coinslot.errors import UsageError
from coinslot.method import keys_of, load
from coinslot.methods.solana.keys import KEYS, parse_key
from coinslot.methods.solana.tokens import PYUSD, USDC
from support.solanashop import DOLLAR, SOL, SolanaShop, fresh_key


def test_the_method_publishes_its_keys_and_its_reader() -> None:
    """Programs find them on the method, without knowing which it is."""
    assert keys_of(load("solana")) is KEYS


@given(seed=st.binary(min_size=32, max_size=32))
def test_addresses_are_what_others_derive_from_every_spelling(seed: bytes) -> None:
    """Hex of the seed, base58 of the pair, and the list of a keygen file are one key."""
    pair = Keypair.from_seed(seed)
    for text in ("0x" + seed.hex(), str(pair), json.dumps(list(bytes(pair)))):
        assert KEYS.address_of(text) == str(pair.pubkey())


@pytest.mark.parametrize("spelling", ["base58", "list"])
def test_a_public_half_that_is_not_the_keys_own_is_refused(spelling: str) -> None:
    """It would sign for another address than the one it names."""
    wrong = bytes(Keypair())[:32] + bytes(Keypair())[32:]
    from solders.signature import Signature

    text = str(Signature.from_bytes(wrong)) if spelling == "base58" else json.dumps(list(wrong))
    with pytest.raises(UsageError, match="doesn't belong") as error:
        parse_key(text)
    assert text not in str(error.value)


def test_a_new_key_is_the_worlds_randomness(solshop: SolanaShop) -> None:
    """And is taken back as a setting."""
    one, other = solshop.run(KEYS.new_key()), solshop.run(KEYS.new_key())
    assert one != other
    assert KEYS.address_of(one) != KEYS.address_of(other)


def test_balances_of_what_is_known(solshop: SolanaShop) -> None:
    """SOL and the pinned tokens of the node's cluster, zero where there is no account."""
    key = solshop.account(3, lamports=SOL)
    holdings = solshop.run(KEYS.balances(solshop.chain.rpc_url, key.address, []))
    found = {each.asset.symbol: each.amount_units for each in holdings}
    assert found == {"SOL": SOL, "USDC": 3 * DOLLAR, "USDT": 0, "PYUSD": 0}
    (dollars,) = solshop.run(KEYS.balances(solshop.chain.rpc_url, key.address, [USDC]))
    assert dollars.asset.text(dollars.amount_units) == "3 USDC"
    assert dollars.asset.peg == "USD"


def test_balances_of_a_token_that_is_not_known(solshop: SolanaShop) -> None:
    """Its decimals are the chain's word, it has no name; what is no token is named."""
    key, mint = solshop.account(0), solshop.set_mint(fresh_key().address, decimals=2)
    solshop.mint_to(key.address, mint, 250)
    url = solshop.chain.rpc_url
    (held,) = solshop.run(KEYS.balances(url, key.address, [mint]))
    assert (held.amount_units, held.asset.decimals, held.asset.symbol) == (250, 2, "")
    for wrong in (fresh_key().address, key.address, "USDC"):
        with pytest.raises(UsageError):
            solshop.run(KEYS.balances(url, key.address, [wrong]))
    with pytest.raises(UsageError):
        solshop.run(KEYS.balances(url, "nobody", []))


def test_a_key_that_nobody_funded_holds_nothing(solshop: SolanaShop) -> None:
    """Neither lamports nor dollars."""
    holdings = solshop.run(KEYS.balances(solshop.chain.rpc_url, fresh_key().address, ["sol", PYUSD]))
    assert [each.amount_units for each in holdings] == [0, 0]


def test_the_chains_clock(solshop: SolanaShop) -> None:
    """Seconds since 1970."""
    assert abs(solshop.run(KEYS.chain_time_s(solshop.chain.rpc_url)) - time.time()) < 60
