"""Tokens for whoever asks, minted by the tokens' own issuer: a real transaction with a real Transfer event."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from types import MappingProxyType

from coinslot.devnet.asking import ask_devnet
from coinslot.devnet.node import Node
from coinslot.devnet.protocol import Funded
from coinslot.drive import RealWorld, rpc, run
from coinslot.errors import DevnetError, RpcRefused, UsageError
from coinslot.money import to_units

# The tokens of the genesis block, six decimals each; the first is the root of all quotes and the one to pay with.
TOKENS: Mapping[str, str] = MappingProxyType(
    {
        "PathUSD": "0x20c0000000000000000000000000000000000000",
        "AlphaUSD": "0x20c0000000000000000000000000000000000001",
        "BetaUSD": "0x20c0000000000000000000000000000000000002",
        "ThetaUSD": "0x20c0000000000000000000000000000000000003",
    }
)
DECIMALS = 6
# Holds the issuer role of all four, and enough of each to pay fees.
ISSUER = "0x5615deb798bb3e4dfa0139dfa1b3d433cc23b72f"
# What `tempo_fundAddress` gives of every token: a million, as the public test network does.
FAUCET_UNITS = 1_000_000 * 10**DECIMALS
# A token counts in 128 bits.
MAX_UNITS = 2**128 - 1
# Minting needs a new block at once; this is a chain that stands still.
MINT_S = 15.0
_POLL_S = 0.002
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z", re.ASCII)
# The door's own method: [address, base units as text, token or null].
MINT_METHOD = "devnet_mint"
_MINT = "0x40c10f19"
_BALANCE_OF = "0x70a08231"


def word(value: int) -> str:
    """A number as one 32-byte word of call data, in hex."""
    return f"{value:064x}"


def address_text(address: object) -> str:
    """The address in lower case. Raises UsageError for anything that is not 20 bytes of hex."""
    if not isinstance(address, str) or not _ADDRESS.match(address):
        raise UsageError("an address is 0x and 40 hex digits")
    return address.lower()


def token_address(token: str | None) -> str:
    """The address of a token by symbol, address, or None for the one to pay with. Raises UsageError."""
    if token is None:
        return next(iter(TOKENS.values()))
    for symbol, address in TOKENS.items():
        if token.lower() in {symbol.lower(), address}:
            return address
    if not token.startswith("0x"):
        raise UsageError(f"there is no token {token!r} on this chain; known: {', '.join(TOKENS)}, or an address")
    return address_text(token)


def checked_units(units: object) -> int:
    """A positive amount in base units that a token can hold. Raises UsageError."""
    if type(units) is not int or not 0 < units <= MAX_UNITS:
        raise UsageError("the amount must be a positive number of base units")
    return units


def open_issuer(node: Node) -> None:
    """Let transactions be sent in the issuer's name."""
    node.call("anvil_setBalance", ISSUER, hex(10**21))
    node.call("anvil_impersonateAccount", ISSUER)


def mint(node: Node, address: str, units: int, token: str | None = None) -> str:
    """Mint to an address and wait until it is mined; the transaction's hash.

    Not for two at once: the node picks the issuer's next nonce. Raises UsageError, RpcRefused or DevnetError.
    """
    data = _MINT + word(int(address_text(address), 16)) + word(checked_units(units))
    sent = node.call("eth_sendTransaction", {"from": ISSUER, "to": token_address(token), "data": data})
    until = time.monotonic() + MINT_S
    while time.monotonic() < until:
        receipt = node.call("eth_getTransactionReceipt", sent)
        if isinstance(receipt, dict):
            # a call to an address without code succeeds as well, and moves nothing
            if receipt.get("status") != "0x1" or len(receipt.get("logs") or []) < 2:
                raise RpcRefused("nothing was minted: this address is none of the genesis tokens", code=3)
            return str(sent)
        time.sleep(_POLL_S)
    raise DevnetError("the chain stands still: a mint was not mined in time")


def balance(node: Node, address: str, token: str | None = None) -> int:
    """Base units of a token that an address holds. Raises UsageError, RpcRefused."""
    data = _BALANCE_OF + word(int(address_text(address), 16))
    answer = node.call("eth_call", {"to": token_address(token), "data": data}, "latest")
    return int(str(answer), 16)


def fund_at(rpc_url: str, address: str, amount: Decimal, token: str | None = None) -> Funded:
    """Mint whole tokens through the door of a devnet that somebody else started.

    Raises UsageError, ConfigError (not a devnet), RpcRefused or RpcUnreachable.
    """
    to, asset, units = address_text(address), token_address(token), checked_units(to_units(amount, DECIMALS))
    call = {"to": asset, "data": _BALANCE_OF + word(int(to, 16))}
    with closing(RealWorld()) as world:
        sent = ask_devnet(world, rpc_url, MINT_METHOD, [to, str(units), asset])
        held = run(rpc(rpc_url, "eth_call", [call, "latest"]), world)
    symbol = next(symbol for symbol, at in TOKENS.items() if at == asset)
    return Funded(str(sent), asset, symbol, units, int(str(held), 16), DECIMALS)
