"""What a payer of sessions works with, and what it takes of a challenge: only what this wallet knows already.

cluster, token    pinned, or in the owner's settings; the node's genesis hash says which cluster it is   T07 T29
channel program   pinned, or in the owner's settings: whoever names another would have the deposit       T47
grace period      bounded: so long our deposit stays where it is if the server is silent                  T47
who signs         the server only where the owner set a limit for that: it can take the whole deposit      T47
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal

from coinslot.chains.solana.address import is_on_curve, parse_address
from coinslot.chains.solana.instruction import U64_MAX
from coinslot.chains.solana.signature import Key
from coinslot.core.challenge import Challenge
from coinslot.drive import Flow
from coinslot.errors import MalformedHeader, NoPayableOffer, UsageError
from coinslot.methods.solana.configure import payer_config
from coinslot.methods.solana.keys import parse_key
from coinslot.methods.solana.paying import PayerConfig
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM, require_program
from coinslot.methods.solana.session.terms import SessionTerms, read_session_terms
from coinslot.methods.solana.settings import Wallet
from coinslot.money import parse_decimal
from coinslot.settings import setting


@dataclass(frozen=True, slots=True)
class SessionPayerConfig:
    """A payer's settings, parsed. `programs` are allowed besides the pinned one; `operator_deposit` in whole tokens."""

    wallet: PayerConfig
    voucher_key: Key = field(repr=False)
    programs: frozenset[str] = frozenset()
    max_grace_s: int = 86_400
    operator_deposit: Decimal | None = None

    @property
    def account(self) -> str:
        """Who pays."""
        return self.wallet.account

    @property
    def signers(self) -> frozenset[str]:
        """The addresses whose vouchers we can sign."""
        return frozenset({self.voucher_key.address, self.wallet.key.address})

    def key_of(self, signer: str) -> Key | None:
        """Our key of that address, if we have it."""
        return next((key for key in (self.voucher_key, self.wallet.key) if key.address == signer), None)

    def all_programs(self) -> tuple[str, ...]:
        """Every program that may hold a channel of this account."""
        return (CHANNEL_PROGRAM, *sorted(self.programs - {CHANNEL_PROGRAM}))

    def most_units(self, terms: SessionTerms) -> int:
        """The most that a channel of these terms may hold, by what the chain can count and by who signs for it."""
        if terms.operator is None:
            return U64_MAX
        return min(U64_MAX, int((self.operator_deposit or Decimal(0)).scaleb(terms.decimals)))  # rounded down


def session_payer_config(wallet: Wallet) -> Flow[SessionPayerConfig]:
    """What a wallet's settings say, completed by the chain. Raises ConfigError naming the setting, ChainError."""
    voucher_key = wallet.private_key if wallet.voucher_key is None else wallet.voucher_key
    deposit = wallet.operator_deposit
    key = setting("voucher_key", parse_key, voucher_key)
    programs = frozenset(setting("channel_programs", parse_address, one) for one in wallet.channel_programs)
    most = None if deposit is None else setting("operator_deposit", parse_decimal, deposit)
    return SessionPayerConfig(
        wallet=(yield from payer_config(wallet)),
        voucher_key=key,
        programs=programs,
        max_grace_s=wallet.max_grace_s,
        operator_deposit=most,
    )


# --- terms -----------------------------------------------------------------------------------------


def pinned_terms(config: SessionPayerConfig, challenge: Challenge) -> SessionTerms:
    """What a challenge asks, if all that it names is known here. What to deposit is at least what the server demands.

    Raises NoPayableOffer.
    """
    try:
        terms = read_session_terms(challenge.request_object(), config.wallet.asset)
        require_program(terms.program, config.programs)  # T07 T47 SSES-064
    except (UsageError, MalformedHeader) as error:
        raise NoPayableOffer(f"solana: {error}") from None
    for wrong, why in _objections(config, terms):
        if wrong:
            raise NoPayableOffer(f"solana: {why}")
    if not terms.minimum_deposit_units:
        return terms
    return replace(terms, suggested_deposit_units=max(terms.suggested_deposit_units or 0, terms.minimum_deposit_units))


def _objections(config: SessionPayerConfig, terms: SessionTerms) -> Iterator[tuple[bool, str]]:
    wallet, operator = config.wallet, terms.operator
    yield terms.network != wallet.cluster, f"asked on {terms.network}, this wallet is on {wallet.cluster}"  # T07 T47
    token = wallet.tokens.get(terms.mint)
    if token is None:  # T47
        yield True, f"the token {terms.mint} is neither pinned nor in this wallet's tokens"
        return
    yield terms.decimals != token.decimals, f"the token has {token.decimals} decimals, and the server says otherwise"
    yield terms.token_program not in (None, token.program), "the server names another token program than the token's"
    others = (terms.recipient, terms.fee_payer, operator)
    yield config.account in others, "the server wants this wallet to pay itself, or to be its sponsor"  # T47
    yield (
        terms.min_voucher_delta_units > terms.amount_units,
        "the server takes no voucher for the price of one unit (minVoucherDelta)",
    )
    yield operator is not None and not is_on_curve(operator), "the server's operator is no key"  # T15


def require_openable(config: SessionPayerConfig, terms: SessionTerms) -> None:
    """That the owner lets a deposit be made under these terms. Raises NoPayableOffer. T47"""
    if (terms.grace_s or 0) > config.max_grace_s:  # T47
        raise NoPayableOffer(
            f"solana: the server wants {terms.grace_s} s to settle after a close, and this wallet allows "
            f"{config.max_grace_s} (max_grace_s)"
        )
    if terms.operator is None:
        return
    if config.operator_deposit is None:  # T47
        raise NoPayableOffer("solana: the server signs the vouchers itself, and operator_deposit doesn't allow that")
    least = max(terms.minimum_deposit_units, terms.amount_units)
    if least > config.most_units(terms):  # T47
        raise NoPayableOffer(
            f"solana: the server signs the vouchers itself and takes deposits from {terms.asset.text(least)}, more "
            "than operator_deposit allows"
        )


def same_asked(mine: SessionTerms, agreed: object) -> bool:
    """Whether two terms ask the same; a later challenge may name a channel, or what the chain says by now. T24"""
    return isinstance(agreed, SessionTerms) and _asked(mine) == _asked(agreed)


def _asked(terms: SessionTerms) -> tuple[object, ...]:
    who = (terms.network, terms.program, terms.asset.key, terms.recipient, terms.splits, terms.operator)
    return (*who, terms.amount_units, terms.unit_type)
