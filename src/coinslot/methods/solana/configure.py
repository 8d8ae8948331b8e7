"""Settings into what sellers and payers work with: parsed, checked against each other, completed by the chain.

Every function raises ConfigError, which names the setting; those that ask the node also ChainError.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.instruction import U64_MAX
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.rpc import Commitment, account, genesis_hash, minimum_balance
from coinslot.chains.solana.tokens import TOKEN_ACCOUNT_BYTES, TokenState, read_mint, read_token_account
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, ConfigError, UsageError
from coinslot.intents.charge import DailyLimits
from coinslot.methods.solana import tokens
from coinslot.methods.solana.keys import parse_key
from coinslot.methods.solana.paying import PayerConfig
from coinslot.methods.solana.settings import Accept, KnownToken, Wallet
from coinslot.methods.solana.sponsor import Sponsor
from coinslot.methods.solana.terms import MODES
from coinslot.methods.solana.tokens import CLUSTERS, ISSUERS_POWERS, SOL, SOL_DECIMALS, Token
from coinslot.money import Asset, parse_decimal, to_units
from coinslot.settings import setting

# A token account of Token-2022 grows with its mint's extensions: those that we take need 20 bytes or so.
_ACCOUNT_EXTENSIONS = 64
_COMMITMENTS = ("confirmed", "finalized")


# --- both sides ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster a node is on: as challenges say it, and its CAIP-2 id."""

    name: str
    network: str


def own_cluster(url: str, wanted: str | None) -> Flow[Cluster]:
    """The cluster that the node is on, by its genesis hash; it must be the `wanted` one, if one is. T07"""
    if wanted is not None and wanted not in CLUSTERS:
        raise ConfigError(f"network: one of {', '.join(CLUSTERS)}")
    genesis = yield from genesis_hash(url)
    found = tokens.cluster_of(genesis)
    if wanted is not None and found != wanted:  # T07
        raise ConfigError(f"network: the node behind rpc_url is on {found}, not on {wanted}")
    return Cluster(found, tokens.network(genesis))


def lamports(name: str, text: str) -> int:
    """A setting in SOL."""
    price: Decimal = setting(name, parse_decimal, text)
    units = to_units(price, SOL_DECIMALS)
    if units > U64_MAX:
        raise ConfigError(f"{name}: more than there is")
    return units


# --- sellers -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Currency:
    """What a seller asks for: the asset, and the program that keeps it (None for SOL)."""

    asset: Asset
    token_program: str | None
    trusted: tuple[str, ...]


def asked_currency(accept: Accept, cluster: Cluster) -> Flow[Currency]:
    """What a seller asks for, as the chain has it: its program, decimals and extensions. T29"""
    for name in accept.trusted_extensions:
        if name not in ISSUERS_POWERS:
            raise ConfigError(f"trusted_extensions: any of {', '.join(ISSUERS_POWERS)}")
    known = tokens.pinned(cluster.name)
    if accept.currency == SOL:
        if accept.decimals not in (None, SOL_DECIMALS):
            raise ConfigError(f"decimals: SOL has {SOL_DECIMALS}")
        return Currency(tokens.asset(cluster.network, SOL, None), None, ())
    symbols = {token.symbol: mint for mint, token in known.items()}
    mint = setting("currency", parse_address, symbols.get(accept.currency, accept.currency))
    pin = known.get(mint)
    trusted = tuple(ISSUERS_POWERS) if pin is not None else accept.trusted_extensions
    found = yield from _token(accept.rpc_url, mint, pin, trusted)
    if accept.decimals is not None and accept.decimals != found.decimals:
        raise ConfigError(f"decimals: the token has {found.decimals}")
    return Currency(tokens.asset(cluster.network, mint, found), found.program, trusted)


def _token(url: str, address: str, pin: Token | None, trusted: tuple[str, ...]) -> Flow[Token]:
    found = yield from account(url, address)
    if found is None:
        raise ConfigError("currency: there is no such token on this cluster")
    try:
        mint = read_mint(found.owner, found.data)
        tokens.require_plain(mint, trusted)  # T29
    except (BadTransaction, UsageError) as error:
        raise ConfigError(f"currency: {error}") from None
    if pin is not None and (mint.program, mint.decimals) != (pin.program, pin.decimals):  # T07 T29
        raise ConfigError(f"currency: this is not the {pin.symbol} that we know")
    if mint.decimals > SOL_DECIMALS:
        raise ConfigError(f"currency: a token with more than {SOL_DECIMALS} decimals")
    return pin or Token(mint.program, mint.decimals, "")


def require_payable(accept: Accept, currency: Currency) -> Flow[str]:
    """The recipient, who has a token account that can be paid into: nobody creates it (SCHG-088). T28"""
    recipient = setting("recipient", parse_address, accept.recipient)
    if currency.token_program is None:
        if (yield from account(accept.rpc_url, recipient)) is None:  # T28: the chain takes no account with so little
            raise ConfigError("recipient: there is no such account yet, and a small payment can't create it; fund it")
        return recipient
    place = derive_ata(recipient, currency.asset.id, currency.token_program)
    found = yield from account(accept.rpc_url, place)
    if found is None:  # T28
        raise ConfigError(f"recipient: it has no token account for this currency; create {place} first")
    try:
        held = read_token_account(found.owner, found.data)
    except BadTransaction as error:
        raise ConfigError(f"recipient: its token account: {error}") from None
    if held.state is not TokenState.INITIALIZED:  # T28
        raise ConfigError("recipient: its token account for this currency is frozen")
    return recipient


def sponsor_of(accept: Accept, token_program: str | None) -> Flow[Sponsor | None]:
    """Who pays the payers' fees, if anybody does."""
    if accept.fee_payer_key is None:
        return None
    size = TOKEN_ACCOUNT_BYTES + (_ACCOUNT_EXTENSIONS if token_program == TOKEN_2022_PROGRAM else 0)
    return Sponsor(
        key=setting("fee_payer_key", parse_key, accept.fee_payer_key),
        max_units=accept.sponsor_max_units,
        max_fee_lamports=lamports("sponsor_max_fee", accept.sponsor_max_fee),
        rent_lamports=(yield from minimum_balance(accept.rpc_url, size)),
        daily=DailyLimits(
            lamports("sponsor_payer_daily", accept.sponsor_payer_daily), lamports("sponsor_daily", accept.sponsor_daily)
        ),
    )


def commitment_of(accept: Accept) -> Commitment:
    """When a payment counts."""
    if accept.commitment not in _COMMITMENTS:
        raise ConfigError(f"commitment: one of {', '.join(_COMMITMENTS)}")
    return cast("Commitment", accept.commitment)


# --- payers --------------------------------------------------------------------------------------


def payer_config(wallet: Wallet) -> Flow[PayerConfig]:
    """What every payer of this wallet works with."""
    key = setting("private_key", parse_key, wallet.private_key)
    if wallet.mode not in MODES:
        raise ConfigError(f"mode: one of {', '.join(MODES)}")
    own = {setting("tokens", parse_address, one.mint): _known(one) for one in wallet.tokens}
    most, most_rent = lamports("max_fee", wallet.max_fee), lamports("max_rent", wallet.max_rent)
    cluster = yield from own_cluster(wallet.rpc_url, wallet.network)
    return PayerConfig(
        rpc_url=wallet.rpc_url,
        cluster=cluster.name,
        network=cluster.network,
        key=key,
        mode=wallet.mode,
        unit_price=wallet.unit_price,
        max_fee_lamports=most,
        max_rent_lamports=most_rent,
        tokens={**own, **tokens.pinned(cluster.name)},
    )


def _known(token: KnownToken) -> Token:
    program = TOKEN_2022_PROGRAM if token.token_2022 else TOKEN_PROGRAM
    return Token(program, token.decimals, token.symbol, token.peg)
