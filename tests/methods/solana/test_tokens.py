"""What we know of tokens ourselves, and which extensions a token that is paid with may have."""

from __future__ import annotations

import pytest

from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM
from coinslot.chains.solana.tokens import Extension, ExtensionKind, Mint
from coinslot.errors import UsageError
from coinslot.methods.solana import tokens
from coinslot.methods.solana.tokens import ISSUERS_POWERS, PYUSD, USDC, require_plain

KIND = ExtensionKind
NO_FEE = bytes(32) * 2 + bytes(8) + (bytes(16) + b"\x00\x00") * 2
FEE_NOW = NO_FEE[:88] + b"\x01\x00" + NO_FEE[90:]
FEE_SOON = NO_FEE[:106] + b"\x00\x01"
HOOK = bytes(range(32)) + bytes(31) + b"\x01"
NO_HOOK = bytes(range(32)) + bytes(32)


def mint(*extensions: tuple[int, bytes]) -> Mint:
    """A Token-2022 token with these."""
    return Mint(TOKEN_2022_PROGRAM, 6, 1, None, None, tuple(Extension(kind, data) for kind, data in extensions))


def test_a_dollar_token_has_the_extensions_that_it_really_has() -> None:
    """PYUSD: a fee of zero, an empty hook, a delegate of its issuer, and what concerns confidential transfers."""
    real = mint(
        (KIND.MINT_CLOSE_AUTHORITY, bytes(32)),
        (KIND.PERMANENT_DELEGATE, bytes(32)),
        (KIND.TRANSFER_FEE_CONFIG, NO_FEE),
        (KIND.CONFIDENTIAL_TRANSFER_MINT, bytes(65)),
        (KIND.CONFIDENTIAL_TRANSFER_FEE_CONFIG, bytes(129)),
        (KIND.TRANSFER_HOOK, NO_HOOK),
        (KIND.METADATA_POINTER, bytes(64)),
        (KIND.TOKEN_METADATA, b"PYUSD"),
    )
    require_plain(real, tuple(ISSUERS_POWERS))
    with pytest.raises(UsageError, match="permanent delegate"):
        require_plain(real)


@pytest.mark.guard("T29")
@pytest.mark.parametrize(
    ("extension", "name"),
    [
        ((KIND.TRANSFER_FEE_CONFIG, FEE_NOW), "transfer fee"),
        ((KIND.TRANSFER_FEE_CONFIG, FEE_SOON), "transfer fee"),
        ((KIND.TRANSFER_FEE_CONFIG, b""), "transfer fee"),
        ((KIND.TRANSFER_HOOK, HOOK), "transfer hook"),
        ((KIND.TRANSFER_HOOK, b""), "transfer hook"),
        ((KIND.NON_TRANSFERABLE, b""), "non-transferable"),
        ((KIND.DEFAULT_ACCOUNT_STATE, b"\x02"), "frozen"),
        ((KIND.PERMANENT_DELEGATE, bytes(32)), "permanent delegate"),
        ((KIND.PAUSABLE, bytes(33)), "pausable"),
        ((KIND.CONFIDENTIAL_MINT_BURN, bytes(196)), "confidential mint"),
        ((KIND.IMMUTABLE_OWNER, b""), "number 7"),
        ((999, b""), "number 999"),
    ],
)
def test_an_extension_that_could_take_a_payment_apart_is_refused_by_name(
    extension: tuple[int, bytes], name: str
) -> None:
    """A closed list: what has no name here is not taken either."""
    with pytest.raises(UsageError, match=name):
        require_plain(mint((KIND.METADATA_POINTER, bytes(64)), extension))


def test_powers_of_an_issuer_are_trusted_one_by_one() -> None:
    """And nothing else is trusted with them."""
    require_plain(mint((KIND.PAUSABLE, bytes(33))), ("pausable",))
    require_plain(mint((KIND.DEFAULT_ACCOUNT_STATE, b"\x01")))
    for extension, trusted in (
        ((KIND.PAUSABLE, bytes(33)), "permanentDelegate"),
        ((KIND.TRANSFER_HOOK, HOOK), "transferHook"),
    ):
        with pytest.raises(UsageError):
            require_plain(mint(extension), (trusted,))


def test_assets_are_known_by_their_ledger_keys() -> None:
    """On every cluster its own; a key of another chain is none of ours."""
    mainnet = tokens.network_of("mainnet")
    known = tokens.known_asset(f"{mainnet}/{PYUSD}")
    assert known is not None
    assert (known.symbol, known.decimals, known.peg) == ("PYUSD", 6, "USD")
    local = tokens.known_asset(f"solana:11111111111111111111111111111111/{USDC}")
    assert local is not None
    assert local.peg == "USD"
    lamports = tokens.known_asset(f"{mainnet}/sol")
    assert lamports is not None
    assert (lamports.decimals, lamports.peg) == (9, None)
    for key in (f"{mainnet}/{tokens.USDC_DEVNET}", f"eip155:1/{USDC}", "", "sol"):
        assert tokens.known_asset(key) is None


def test_a_genesis_hash_names_its_cluster() -> None:
    """The public ones by what is pinned; every other chain is a local one."""
    assert tokens.cluster_of("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d") == "mainnet"
    assert tokens.cluster_of("EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG") == "devnet"
    assert tokens.cluster_of(USDC) == "localnet"
    assert tokens.network("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d") == tokens.network_of("mainnet")
