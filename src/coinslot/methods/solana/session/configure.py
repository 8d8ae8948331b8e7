"""Settings into what a seller of sessions works with: parsed, checked against each other, completed by the chain.

Every function raises ConfigError, which names the setting; those that ask the node also ChainError.
"""

from __future__ import annotations

from dataclasses import replace

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.instruction import U64_MAX
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM
from coinslot.chains.solana.rpc import Commitment, account, minimum_balance
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.tokens import TOKEN_ACCOUNT_BYTES, ExtensionKind, Mint, read_mint
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, ConfigError
from coinslot.intents.charge import DailyLimits
from coinslot.methods.solana.configure import Currency, asked_currency, lamports, own_cluster, sponsor_of
from coinslot.methods.solana.keys import parse_key
from coinslot.methods.solana.session.channel import CHANNEL_BYTES
from coinslot.methods.solana.session.distribution import MAX_SPLITS, Split, check_splits
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM, TREASURY_OWNER
from coinslot.methods.solana.session.payout import Till
from coinslot.methods.solana.session.seller import SessionConfig
from coinslot.methods.solana.session.sponsoring import Refunds, Sponsoring
from coinslot.methods.solana.session.terms import CLIENT, OPERATOR
from coinslot.methods.solana.settings import Accept
from coinslot.methods.solana.sponsor import Sponsor
from coinslot.methods.solana.tokens import LOCALNET, MAINNET
from coinslot.money import parse_decimal, to_units
from coinslot.settings import setting

# These mean nothing where no sessions are offered; whoever sets one of them has forgotten the key.
_ONLY_WITH_KEY = (
    "channel_program",
    "channel_treasury",
    "operator_key",
    "suggested_deposit",
    "min_top_up",
    "min_voucher_delta",
)
# Who owns the treasury in builds for local chains (the published interface's 0xBEEF, sixteen times).
LOCAL_TREASURY = "DrLViEZBgqj6TgP8vKqu22uvLgV6p3tfkvCYfG8yqSUn"
# SSES "Token-2022 Extension Policy": what a mint may carry. The program takes no others.
MINT_EXTENSIONS = frozenset(
    {
        ExtensionKind.METADATA_POINTER,
        ExtensionKind.TOKEN_METADATA,
        ExtensionKind.GROUP_POINTER,
        ExtensionKind.TOKEN_GROUP,
        ExtensionKind.GROUP_MEMBER_POINTER,
        ExtensionKind.TOKEN_GROUP_MEMBER,
    }
)
# An escrow of Token-2022 carries the one extension that the associated token program gives it.
_IMMUTABLE_OWNER_BYTES = 5


def session_config(accept: Accept, commitment: Commitment) -> Flow[SessionConfig | None]:
    """What a seller of sessions works with; None without a `session_key`."""
    if accept.session_key is None:
        for name in _ONLY_WITH_KEY:
            if getattr(accept, name) is not None:
                raise ConfigError(f"{name}: it is for sessions, which need a session_key")
        return None
    key = setting("session_key", parse_key, accept.session_key)
    recipient = setting("recipient", parse_address, accept.recipient)
    if key.address != recipient:  # T28 SSES-219: only the payee can close a channel, and a derived address can't sign
        raise ConfigError(f"session_key: it is the key of {key.address}; only the recipient's own can close channels")
    operator = _operator(accept, key)
    splits = _splits(accept, recipient)
    cluster = yield from own_cluster(accept.rpc_url, accept.network)
    treasury = _treasury(accept, cluster.name)
    currency = yield from asked_currency(accept, cluster)
    token_program = yield from _channel_token(accept, currency)
    program = yield from _program(accept)
    sponsor = yield from sponsor_of(accept, token_program)
    return SessionConfig(
        rpc_url=accept.rpc_url,
        cluster=cluster.name,
        program=program,
        asset=currency.asset,
        token_program=token_program,
        recipient=recipient,
        till=Till(key, key if sponsor is None else sponsor.key, treasury, accept.session_unit_price),
        grace_s=accept.grace_s,
        idle_s=accept.idle_timeout_s,
        commitment=commitment,
        idle_options_s=_idle_options(accept),
        min_delta_units=_units("min_voucher_delta", accept.min_voucher_delta, currency) or 0,
        min_deposit_units=_units("min_deposit", accept.min_deposit, currency) or 0,
        suggested_deposit_units=_units("suggested_deposit", accept.suggested_deposit, currency),
        ttl_s=accept.session_ttl_s,
        splits=splits,
        operator=operator,
        sponsoring=None if sponsor is None else (yield from _sponsoring(accept, sponsor, token_program)),
        refunds=(yield from _refunds(accept, (key if sponsor is None else sponsor.key).address, token_program)),
        min_top_up_units=_units("min_top_up", accept.min_top_up, currency),
        simulate=accept.simulate,
        lag_s=accept.lag_s,
        clock_skew_s=accept.clock_skew_s,
        voucher_life_s=accept.voucher_life_s,
        credit_units=accept.credit_units,
    )


def _operator(accept: Accept, key: Key) -> Key | None:
    if accept.voucher_signer not in (CLIENT, OPERATOR):
        raise ConfigError(f"voucher_signer: {CLIENT} or {OPERATOR}")
    if accept.voucher_signer == CLIENT:
        if accept.operator_key is not None:
            raise ConfigError(f"operator_key: it is for voucher_signer = {OPERATOR}")
        return None
    return key if accept.operator_key is None else setting("operator_key", parse_key, accept.operator_key)


def _splits(accept: Accept, recipient: str) -> tuple[Split, ...]:
    splits = tuple(
        Split(setting("session_splits", parse_address, one.recipient), one.bps) for one in accept.session_splits
    )
    if len(splits) > MAX_SPLITS:
        raise ConfigError(f"session_splits: at most {MAX_SPLITS}; an opening can't carry more")
    if any(one.recipient == recipient for one in splits):
        raise ConfigError("session_splits: the recipient gets what is left; it is not one of them")
    setting("session_splits", check_splits, splits)
    return splits


def _idle_options(accept: Accept) -> tuple[int, ...]:
    options = accept.idle_timeouts
    if tuple(sorted(set(options))) != options:
        raise ConfigError("idle_timeouts: growing, each once")
    return options


def _channel_token(accept: Accept, currency: Currency) -> Flow[str]:
    """The program of a token that channels can hold. T29 SSES-268"""
    program = currency.token_program
    if program is None:
        raise ConfigError("currency: channels hold tokens; wrap SOL to sell sessions for it")
    found = yield from account(accept.rpc_url, currency.asset.id)
    try:
        if found is None:
            raise BadTransaction("there is no such token on this cluster")
        _require_extensions(read_mint(found.owner, found.data))
    except BadTransaction as error:
        raise ConfigError(f"currency: {error}") from None
    return program


def _require_extensions(mint: Mint) -> None:
    others = sorted({each.kind for each in mint.extensions} - MINT_EXTENSIONS)
    if others:  # T29: presence alone is enough
        known = {each.value for each in ExtensionKind}
        name = ExtensionKind(others[0]).name.lower() if others[0] in known else f"number {others[0]}"
        raise BadTransaction(f"channels don't take this token, which has the extension {name}")


def _program(accept: Accept) -> Flow[str]:
    """The pinned channel program or the owner's own, which must be one that can be called. T07"""
    program = CHANNEL_PROGRAM
    if accept.channel_program is not None:
        program = setting("channel_program", parse_address, accept.channel_program)
    if program != CHANNEL_PROGRAM and accept.channel_treasury is None:
        raise ConfigError("channel_treasury: name the treasury's owner of your channel_program")
    found = yield from account(accept.rpc_url, program)
    if found is None or not found.executable:
        raise ConfigError(f"channel_program: there is no program at {program} on this cluster")
    return program


def _treasury(accept: Accept, cluster: str) -> str:
    if accept.channel_treasury is not None:
        return setting("channel_treasury", parse_address, accept.channel_treasury)
    known = known_treasury(cluster)
    if known is None:  # T28: with a wrong one the program refuses every payout
        raise ConfigError(
            f"channel_treasury: whose treasury was built into the channel program on {cluster} is not published; name "
            "its owner, or nothing could ever be paid out"
        )
    return known


def known_treasury(cluster: str) -> str | None:
    """Who owns the treasury of the known channel program on a cluster, where that is known."""
    return {MAINNET: TREASURY_OWNER, LOCALNET: LOCAL_TREASURY}.get(cluster)


def _sponsoring(accept: Accept, sponsor: Sponsor, token_program: str) -> Flow[Sponsoring]:
    """The same key as for charges, with budgets that know of rent."""
    rent = yield from minimum_balance(accept.rpc_url, CHANNEL_BYTES)
    rent += yield from _account_rent(accept, token_program)
    return Sponsoring(replace(sponsor, daily=_daily(accept)), rent)


def _refunds(accept: Accept, payer: str, token_program: str) -> Flow[Refunds]:
    return Refunds(payer, (yield from _account_rent(accept, token_program)), _daily(accept))


def _daily(accept: Accept) -> DailyLimits:
    return DailyLimits(
        lamports("session_sponsor_payer_daily", accept.session_sponsor_payer_daily),
        lamports("session_sponsor_daily", accept.session_sponsor_daily),
    )


def _account_rent(accept: Accept, token_program: str) -> Flow[int]:
    """The rent of a token account of a token that channels take."""
    extra = _IMMUTABLE_OWNER_BYTES if token_program == TOKEN_2022_PROGRAM else 0
    return (yield from minimum_balance(accept.rpc_url, TOKEN_ACCOUNT_BYTES + extra))


def _units(name: str, text: str | None, currency: Currency) -> int | None:
    if text is None:
        return None
    units = to_units(setting(name, parse_decimal, text), currency.asset.decimals or 0)
    if units > U64_MAX:
        raise ConfigError(f"{name}: more than a channel can hold")
    return units
