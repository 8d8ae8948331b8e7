"""The clusters and tokens that we know ourselves, so that nothing is believed of them because a stranger said so.

A peg is what one whole token is meant to be worth. Limits in dollars hold only where it was pinned here or by the owner
of a wallet: a peg learnt from the other side would let it name any worthless token a dollar.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.tokens import Extension, ExtensionKind, Mint, TokenState
from coinslot.errors import UsageError
from coinslot.money import Asset

MAINNET = "mainnet"
DEVNET = "devnet"
LOCALNET = "localnet"
CLUSTERS = (MAINNET, DEVNET, LOCALNET)
# What the document calls lamports' currency (SCHG-008), and the digits of one SOL.
SOL = "sol"
SOL_DECIMALS = 9
# CAIP-2 cuts the hash of the genesis block to as many characters as its references may have.
NETWORK_CHARS = 32
_GENESIS: Mapping[str, str] = MappingProxyType(
    {MAINNET: "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", DEVNET: "EtWTRABZaYq6iMfeYKouRu166VU2xqa1"}
)


@dataclass(frozen=True, slots=True)
class Token:
    """A token that somebody vouches for: its token program, digits after the point, symbol, and peg or None."""

    program: str
    decimals: int
    symbol: str
    peg: str | None = None


USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
USDT = "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB"
PYUSD = "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo"
USDC_DEVNET = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
_MAINNET: Mapping[str, Token] = MappingProxyType(
    {
        USDC: Token(TOKEN_PROGRAM, 6, "USDC", "USD"),
        USDT: Token(TOKEN_PROGRAM, 6, "USDT", "USD"),
        PYUSD: Token(TOKEN_2022_PROGRAM, 6, "PYUSD", "USD"),
    }
)
_PINNED: Mapping[str, Mapping[str, Token]] = MappingProxyType(
    {
        MAINNET: _MAINNET,
        DEVNET: MappingProxyType({USDC_DEVNET: Token(TOKEN_PROGRAM, 6, "USDC", "USD")}),
        LOCALNET: _MAINNET,  # local chains carry the mints of mainnet under their own addresses
    }
)


def pinned(cluster: str) -> Mapping[str, Token]:
    """The tokens of a cluster that we vouch for, by mint."""
    return _PINNED.get(cluster, MappingProxyType({}))


# --- networks ------------------------------------------------------------------------------------


def network(genesis: str) -> str:
    """The CAIP-2 id of the cluster with this genesis hash."""
    return f"solana:{genesis[:NETWORK_CHARS]}"


def network_of(cluster: str) -> str:
    """The CAIP-2 id of a public cluster; every local chain has its own, so here it is only named."""
    return f"solana:{_GENESIS.get(cluster, cluster)}"


def cluster_of(genesis: str) -> str:
    """The cluster that a genesis hash belongs to: one of the public ones, or a local chain."""
    for cluster, known in _GENESIS.items():
        if genesis[:NETWORK_CHARS] == known:
            return cluster
    return LOCALNET


# --- assets --------------------------------------------------------------------------------------


def asset(network_id: str, mint: str, token: Token | None) -> Asset:
    """The asset of a mint, or SOL; without a `token` that somebody vouches for, only its place is known."""
    if mint == SOL:
        return Asset(network_id, SOL, SOL_DECIMALS, "SOL")
    if token is None:
        return Asset(network_id, mint)
    return Asset(network_id, mint, token.decimals, token.symbol, token.peg)


def known_asset(key: str) -> Asset | None:
    """SOL or a pinned token that a ledger key names, or None."""
    place, _, mint = key.rpartition("/")
    if not place.startswith("solana:"):
        return None
    token = pinned(cluster_of(place.removeprefix("solana:"))).get(mint)
    return None if token is None and mint != SOL else asset(place, mint, token)


# --- extensions ----------------------------------------------------------------------------------

# What is said about a token or can't touch a plain transfer. A closed mint has no supply that could be paid with.
_HARMLESS = frozenset(
    {
        ExtensionKind.MINT_CLOSE_AUTHORITY,
        ExtensionKind.CONFIDENTIAL_TRANSFER_MINT,
        ExtensionKind.CONFIDENTIAL_TRANSFER_FEE_CONFIG,
        ExtensionKind.INTEREST_BEARING_CONFIG,
        ExtensionKind.SCALED_UI_AMOUNT,
        ExtensionKind.METADATA_POINTER,
        ExtensionKind.TOKEN_METADATA,
        ExtensionKind.GROUP_POINTER,
        ExtensionKind.TOKEN_GROUP,
        ExtensionKind.GROUP_MEMBER_POINTER,
        ExtensionKind.TOKEN_GROUP_MEMBER,
    }
)
# What lets the issuer take or stop money that was paid: fine with an issuer that is trusted with that anyway.
ISSUERS_POWERS: Mapping[str, ExtensionKind] = MappingProxyType(
    {"permanentDelegate": ExtensionKind.PERMANENT_DELEGATE, "pausable": ExtensionKind.PAUSABLE}
)
_NAMES: Mapping[int, str] = MappingProxyType(
    {
        ExtensionKind.TRANSFER_FEE_CONFIG: "transfer fee",
        ExtensionKind.TRANSFER_HOOK: "transfer hook",
        ExtensionKind.NON_TRANSFERABLE: "non-transferable",
        ExtensionKind.DEFAULT_ACCOUNT_STATE: "accounts frozen by default",
        ExtensionKind.PERMANENT_DELEGATE: "permanent delegate",
        ExtensionKind.PAUSABLE: "pausable",
        ExtensionKind.CONFIDENTIAL_MINT_BURN: "confidential mint and burn",
    }
)
# TransferFeeConfig: two authorities, what is withheld, then twice (epoch, highest fee, basis points).
_FEE_CONFIG_BYTES = 108
_FEE_POINTS_AT = (88, 106)
# TransferHook: its authority, then its program; zeros are none.
_HOOK_BYTES = 64


def require_plain(mint: Mint, trusted: Collection[str] = ()) -> None:
    """That a transfer of this token moves what it says and runs nobody's program: a closed list of extensions.

    `trusted` are names of ISSUERS_POWERS that are taken. Raises UsageError, which names the extension. T29
    """
    for extension in mint.extensions:
        if not _is_harmless(extension, trusted):
            name = _NAMES.get(extension.kind, f"number {extension.kind}")
            raise UsageError(f"the token's extension is not taken: {name}")


def _is_harmless(extension: Extension, trusted: Collection[str]) -> bool:
    kind, data = extension.kind, extension.data
    if kind in _HARMLESS:
        return True
    if kind == ExtensionKind.TRANSFER_FEE_CONFIG:  # T29: a fee of nothing, now and in the coming epochs
        return len(data) == _FEE_CONFIG_BYTES and not any(any(data[at : at + 2]) for at in _FEE_POINTS_AT)
    if kind == ExtensionKind.TRANSFER_HOOK:  # T29
        return len(data) == _HOOK_BYTES and not any(data[32:])
    if kind == ExtensionKind.DEFAULT_ACCOUNT_STATE:  # T29
        return data == bytes((TokenState.INITIALIZED,))
    return any(kind == ISSUERS_POWERS.get(name) for name in trusted)
