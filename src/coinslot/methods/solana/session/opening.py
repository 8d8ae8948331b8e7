"""The transactions by which a payer puts money into a channel: built after our own node was asked, signed, not sent.

An opening is built on the blockhash and the slot of its challenge (SSES-067 SSES-113). Both are a stranger's word, so
our node must know the blockhash, and be about as far: a transaction on another chain's blockhash would be a signature
that somebody can use there. T47
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.message import build_message, read_transaction, sign_partially
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM
from coinslot.chains.solana.rpc import (
    Account,
    accounts,
    balance,
    is_blockhash_valid,
    latest_blockhash,
    minimum_balance,
)
from coinslot.chains.solana.tokens import TOKEN_ACCOUNT_BYTES, TokenState, read_mint, read_token_account
from coinslot.drive import Flow, sleep
from coinslot.errors import BadTransaction, NoPayableOffer, UsageError
from coinslot.methods.solana.paying import PayerConfig
from coinslot.methods.solana.session.beneficiaries import ACCOUNT_EXTENSIONS
from coinslot.methods.solana.session.channel import CHANNEL_BYTES
from coinslot.methods.solana.session.configure import MINT_EXTENSIONS
from coinslot.methods.solana.session.distribution import MAX_SPLITS
from coinslot.methods.solana.session.program import Open, TopUp, build_open, build_top_up
from coinslot.methods.solana.session.terms import SessionTerms
from coinslot.methods.solana.session.transaction import LAMPORTS_PER_SIGNATURE, MICRO_LAMPORTS
from coinslot.money import Asset

# Compute units: an opening derives two addresses and creates two accounts, a top-up moves tokens. Unused ones cost
# nothing where no price is bid for them.
OPEN_UNITS = 150_000
TOP_UP_UNITS = 60_000
# Two nodes of one cluster are some slots apart; a blockhash is good for 150 blocks, and slots may be empty.
MOST_AHEAD_SLOTS = 150
MOST_BEHIND_SLOTS = 300
# How long a node may need to hear of a block that another one has confirmed.
HEARD_S = 1.0
# An escrow of Token-2022 carries the one extension that the associated token program gives it.
_IMMUTABLE_OWNER_BYTES = 5


@dataclass(frozen=True, slots=True)
class Funding:
    """Who pays the fee of a transaction (None: its payer), and the blockhash that it is built on."""

    fee_payer: str | None
    blockhash: str


@dataclass(frozen=True, slots=True)
class Purse:
    """A token of ours: its asset, and the program that keeps it."""

    asset: Asset
    token_program: str


def purse_of(wallet: PayerConfig, mint: str) -> Purse:
    """A token that this wallet knows. Raises NoPayableOffer."""
    token = wallet.tokens.get(mint)
    if token is None:
        raise NoPayableOffer(f"solana: the token {mint} is neither pinned nor in this wallet's tokens")
    return Purse(wallet.asset(wallet.cluster, mint, token.decimals), token.program)


# --- what the chain must say before ----------------------------------------------------------------


def require_fresh(wallet: PayerConfig, terms: SessionTerms, newest: int) -> Flow[Funding]:
    """What an opening is built on, as the challenge says it and our own node confirms it, which is at slot `newest`.

    Raises NoPayableOffer, ChainError. T47
    """
    blockhash, recent = terms.blockhash, terms.recent_slot
    if terms.channel_id is not None or blockhash is None or recent is None or terms.grace_s is None:
        raise NoPayableOffer("solana: the challenge doesn't say what an opening is built on; take a fresh one")
    if not -MOST_AHEAD_SLOTS <= newest - recent <= MOST_BEHIND_SLOTS:  # T47
        raise NoPayableOffer(f"solana: the server is at slot {recent}, this wallet's node at {newest}: too far apart")
    for last in (False, True):
        if (yield from is_blockhash_valid(wallet.rpc_url, blockhash, commitment="processed")):
            return Funding(terms.fee_payer, blockhash)
        if not last:
            yield from sleep(HEARD_S)
    raise NoPayableOffer("solana: this wallet's node doesn't know the server's blockhash, or it is too old")  # T47


def usable(wallet: PayerConfig, terms: SessionTerms) -> Flow[Funding]:
    """What a top-up is built on: the challenge's blockhash while it is good, else our own node's. Raises ChainError."""
    offered = terms.blockhash
    if offered is not None and (yield from is_blockhash_valid(wallet.rpc_url, offered)):
        return Funding(terms.fee_payer, offered)
    return Funding(terms.fee_payer, (yield from latest_blockhash(wallet.rpc_url)).blockhash)


def require_means(wallet: PayerConfig, purse: Purse, units: int, lamports: int) -> Flow[int]:
    """That a token is what we know and can be put into channels, and that the account has so much of it and so many
    lamports. The slot at which this was so. Raises NoPayableOffer, ChainError.
    """
    mint, own = purse.asset.id, derive_ata(wallet.account, purse.asset.id, purse.token_program)
    found = yield from accounts(wallet.rpc_url, [mint, own, wallet.account])
    newest = _require_mint(found[0], purse)
    held = _token_units(found[1], purse)
    if held < units:
        raise NoPayableOffer(
            f"solana: {wallet.account} holds {purse.asset.text(held)}; {purse.asset.text(units)} are needed"
        )
    purse_lamports = 0 if found[2] is None else found[2].lamports
    if purse_lamports < lamports:
        raise NoPayableOffer(
            f"solana: {wallet.account} holds {purse_lamports} lamports; {lamports} are needed for the network's fee "
            "and the channel's rent, which comes back later"
        )
    return newest


def _require_mint(found: Account | None, purse: Purse) -> int:
    """The slot. T29: decimals, program and extensions are those of the chain."""
    try:
        if found is None:
            raise BadTransaction("there is no such token on this cluster")
        mint = read_mint(found.owner, found.data)
    except BadTransaction as error:
        raise NoPayableOffer(f"solana: {purse.asset.text(0)}: {error}") from None
    if (mint.program, mint.decimals) != (purse.token_program, purse.asset.decimals):  # T29
        raise NoPayableOffer("solana: the token is not the one that this wallet knows")
    if {each.kind for each in mint.extensions} - MINT_EXTENSIONS:  # T29 SSES-268
        raise NoPayableOffer("solana: the token has an extension that channels don't take")
    return found.slot


def _token_units(found: Account | None, purse: Purse) -> int:
    """What can be moved from our token account. Raises NoPayableOffer for one that channels can't be paid from."""
    if found is None:
        return 0
    try:
        held = read_token_account(found.owner, found.data)
    except BadTransaction:
        return 0
    if held.state is not TokenState.INITIALIZED:
        raise NoPayableOffer("solana: our token account is frozen")
    if {each.kind for each in held.extensions} - ACCOUNT_EXTENSIONS:
        raise NoPayableOffer("solana: our token account has an extension that channels don't take")
    return held.amount_units


def opening_lamports(wallet: PayerConfig, token_program: str, units: int) -> Flow[int]:
    """What an account must hold to open a channel by itself: fee, rent, and its own rent. Raises NoPayableOffer beyond
    the wallet's max_fee, ChainError.
    """
    size = TOKEN_ACCOUNT_BYTES + (_IMMUTABLE_OWNER_BYTES if token_program == TOKEN_2022_PROGRAM else 0)
    rent = yield from minimum_balance(wallet.rpc_url, CHANNEL_BYTES)
    rent += yield from minimum_balance(wallet.rpc_url, size)
    return rent + (yield from fee_lamports(wallet, units, beside=rent))


def fee_lamports(wallet: PayerConfig, units: int, beside: int = 0) -> Flow[int]:
    """What an account must hold to pay a fee: the fee and its own rent. `beside`: what else it pays.

    Raises NoPayableOffer beyond the wallet's max_fee, ChainError.
    """
    fee = LAMPORTS_PER_SIGNATURE + -(-units * wallet.unit_price // MICRO_LAMPORTS)
    if fee + beside > wallet.max_fee_lamports:
        raise NoPayableOffer(f"solana: the network would take {fee + beside} lamports, more than this wallet's max_fee")
    return fee + (yield from minimum_balance(wallet.rpc_url, 0))


def own_fee(wallet: PayerConfig, terms: SessionTerms, units: int) -> Flow[int | None]:
    """What the account must hold to pay a top-up's fee itself; None where the server is to pay it.

    The document has servers that sponsor co-sign top-ups, too. Deployed ones do so for openings only: who can pay this
    fee itself does. Raises NoPayableOffer beyond the wallet's max_fee if nobody else pays, ChainError.
    """
    if terms.fee_payer is None:
        return (yield from fee_lamports(wallet, units))
    try:
        needed = yield from fee_lamports(wallet, units)
    except NoPayableOffer:
        return None
    return needed if (yield from balance(wallet.rpc_url, wallet.account)) >= needed else None


# --- the transactions --------------------------------------------------------------------------------


def open_transaction(wallet: PayerConfig, program: str, call: Open, funding: Funding) -> bytes:
    """The signed opening, which misses only the signature of whoever pays its fee, if that isn't us.

    Raises NoPayableOffer for terms that the program would refuse, or that don't fit.
    """
    try:
        instruction = build_open(program, call)
    except UsageError as error:
        raise NoPayableOffer(f"solana: {error}") from None
    try:
        return signed_by(wallet, [instruction], OPEN_UNITS, funding)
    except NoPayableOffer:
        if len(call.splits) <= MAX_SPLITS:
            raise
        raise NoPayableOffer(
            f"solana: the server splits what it is paid among {len(call.splits)} recipients; an opening can't carry "
            f"more than {MAX_SPLITS}, or some more where you pay its fee"
        ) from None


def top_up_transaction(wallet: PayerConfig, program: str, call: TopUp, funding: Funding, more: int) -> bytes:
    """A signed top-up. `more` compute units keep two equal ones apart. Raises NoPayableOffer, UsageError."""
    return signed_by(wallet, [build_top_up(program, call)], TOP_UP_UNITS + more, funding)


def signed_by(wallet: PayerConfig, calls: Sequence[Instruction], units: int, funding: Funding) -> bytes:
    """A transaction of these instructions, signed by the wallet. Raises NoPayableOffer if they don't fit into one."""
    budget = [build_unit_limit(units)]
    if wallet.unit_price:
        budget.append(build_unit_price(wallet.unit_price))
    try:
        message = build_message(funding.fee_payer or wallet.account, [*budget, *calls], funding.blockhash)
    except UsageError as error:  # too many splits
        raise NoPayableOffer(f"solana: {error}") from None
    return sign_partially(message, [wallet.key])


def reference_of(raw: bytes, channel_id: str, fee_payer: str | None) -> str:
    """What to look up: the transaction, or, where another signs it first, the channel."""
    return f"channel:{channel_id}" if fee_payer is not None else read_transaction(raw).signature
