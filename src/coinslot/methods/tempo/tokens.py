"""The chains and tokens that we know ourselves, so that nothing is believed of them because a stranger said so.

A peg is what one whole token is meant to be worth. Limits in dollars hold only where it was pinned here or by the owner
of a wallet: a peg learnt from the other side would let it name any worthless token a dollar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from coinslot.chains.evm.address import address_bytes
from coinslot.money import Asset

MAINNET = 4217
TESTNET = 42431  # Moderato, and every local chain
PATH_USD = "0x20c0000000000000000000000000000000000000"
# Every TIP-20 token lives at an address that starts with these twelve bytes.
TIP20_PREFIX = bytes.fromhex("20c000000000000000000000")
# A fee of n gas units of price p is n*p in units of 10**-18 dollars; dollar tokens have six decimals.
FEE_UNITS_PER_TOKEN_UNIT = 10**12
# Beyond this Python may refuse to read the number of a chain; real ones have up to 20 digits.
MAX_CHAIN_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Token:
    """A token that somebody vouches for: digits after the point, symbol, and peg or None."""

    decimals: int
    symbol: str
    peg: str | None = None


def _dollar(symbol: str) -> Token:
    return Token(6, symbol, "USD")


_PINNED: Mapping[int, Mapping[str, Token]] = MappingProxyType(
    {
        MAINNET: MappingProxyType(
            {
                PATH_USD: _dollar("pathUSD"),
                "0x20c000000000000000000000b9537d11c60e8b50": _dollar("USDC.e"),
            }
        ),
        TESTNET: MappingProxyType(
            {
                PATH_USD: _dollar("pathUSD"),
                "0x20c0000000000000000000000000000000000001": _dollar("AlphaUSD"),
                "0x20c0000000000000000000000000000000000002": _dollar("BetaUSD"),
                "0x20c0000000000000000000000000000000000003": _dollar("ThetaUSD"),
            }
        ),
    }
)


def pinned(chain_id: int) -> Mapping[str, Token]:
    """The tokens of a chain that we vouch for, by parsed address; none for a chain that we don't know."""
    return _PINNED.get(chain_id, MappingProxyType({}))


def network(chain_id: int) -> str:
    """The CAIP-2 id of a chain."""
    return f"eip155:{chain_id}"


def asset(chain_id: int, address: str, token: Token | None) -> Asset:
    """The asset at a parsed address; without a `token` that somebody vouches for, only its place is known."""
    if token is None:
        return Asset(network(chain_id), address)
    return Asset(network(chain_id), address, token.decimals, token.symbol, token.peg)


def known_asset(key: str) -> Asset | None:
    """The pinned token that a ledger key names, or None."""
    place, _, address = key.rpartition("/")
    chain = place.removeprefix("eip155:")
    if not chain.isascii() or not chain.isdigit() or len(chain) > MAX_CHAIN_DIGITS:
        return None
    token = pinned(int(chain)).get(address)
    return None if token is None else asset(int(chain), address, token)


def is_tip20(address: str) -> bool:
    """Whether a parsed address is in the range that the chain reserves for its tokens."""
    return address_bytes(address).startswith(TIP20_PREFIX)


def fee_units(fee: int) -> int:
    """Base units of a dollar token that cover a fee in units of 10**-18 dollars, rounded up."""
    return -(-fee // FEE_UNITS_PER_TOKEN_UNIT)
