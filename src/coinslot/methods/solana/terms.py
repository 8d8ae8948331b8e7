"""What a Solana charge asks: the request object, read strictly and written once (SCHG "Request Schema").

A confidential charge is refused by name: proofs of encrypted amounts are nothing that we can make or verify.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.instruction import U64_MAX
from coinslot.chains.solana.memo import MAX_MEMO_BYTES
from coinslot.chains.solana.programs import TOKEN_PROGRAMS
from coinslot.errors import UsageError
from coinslot.intents.charge import Payee, Terms
from coinslot.intents.members import read_flag, read_object, read_splits
from coinslot.methods.solana.tokens import CLUSTERS, MAINNET, SOL
from coinslot.money import Asset, parse_units

PULL = "pull"
PUSH = "push"
MODES = (PULL, PUSH)
# SCHG "splits": more don't fit into one transaction.
MAX_SPLITS = 8
# SCHG-017.
MAX_DECIMALS = 9
# SCHG-011.
MAX_DESCRIPTION = 256


@dataclass(frozen=True, slots=True)
class Leg:
    """One transfer that must happen, to an owner (never to a token account).

    `memo`: what to say on the chain beside it. `creates_account`: the token account is created first where it is
    missing, at the cost of whoever pays the fee.
    """

    recipient: str
    amount_units: int
    memo: str | None = None
    creates_account: bool = False


@dataclass(frozen=True, slots=True)
class SolanaTerms(Terms):
    """A charge on one cluster ("mainnet", "devnet", "localnet"), in SOL or in a token.

    `legs` are the transfers, the primary one first. `fee_payer` pays the fee where it is there, else the payer does.
    `blockhash` and `slot` are what the server saw when it made the offer, hints that soon grow old.
    """

    cluster: str
    legs: tuple[Leg, ...]
    decimals: int | None = None
    token_program: str | None = None
    fee_payer: str | None = None
    external_id: str | None = None
    blockhash: str | None = None
    slot: int | None = None

    @property
    def native(self) -> bool:
        """Whether it is paid in lamports and not in a token."""
        return self.asset.id == SOL

    @property
    def mint(self) -> str:
        """The token's mint, or "sol"."""
        return self.asset.id

    @property
    def memos(self) -> tuple[str, ...]:
        """What may stand on the chain beside the transfers: the external id and the memos of the splits."""
        texts = (self.external_id, *(leg.memo for leg in self.legs[1:]))
        return tuple(text for text in texts if text is not None)

    def destination(self, leg: Leg, token_program: str | None) -> str:
        """The account that a leg is paid into. Raises UsageError without the token program of a token."""
        if self.native:
            return leg.recipient
        return derive_ata(leg.recipient, self.mint, token_program or "")


def read_terms(request: Mapping[str, Any], asset_of: Callable[[str, str, int | None], Asset]) -> SolanaTerms:
    """The terms of a request object; `asset_of` names the asset of a cluster, a mint (or "sol") and its decimals.

    Raises UsageError, which names the member that can't be right.
    """
    details = read_object(request.get("methodDetails", {}), "methodDetails")
    _refuse_confidential(details)
    cluster = details.get("network", MAINNET)
    if type(cluster) is not str or cluster not in CLUSTERS:  # SCHG-015
        raise UsageError(f"methodDetails.network is none of {', '.join(CLUSTERS)}")
    currency = _currency(request.get("currency"))
    decimals, token_program = _token(details, currency)
    recipient = _address(request.get("recipient"), "recipient")
    amount = _amount(request.get("amount"), "amount")
    splits = read_splits(details, amount, MAX_SPLITS, _split)  # SCHG-027 to SCHG-035
    if currency == SOL and any(leg.creates_account for leg in splits):  # SCHG-031 SCHG-084
        raise UsageError("splits.ataCreationRequired is for tokens, not for SOL")
    rest = amount - sum(leg.amount_units for leg in splits)
    legs = (Leg(recipient, rest), *splits)
    _text(request, "description", MAX_DESCRIPTION)
    return SolanaTerms(
        asset=asset_of(cluster, currency, decimals),
        amount_units=amount,
        payees=tuple(Payee(leg.recipient, leg.amount_units) for leg in legs),
        cluster=cluster,
        legs=legs,
        decimals=decimals,
        token_program=token_program,
        fee_payer=_fee_payer(details),
        external_id=_memo(request, "externalId"),
        blockhash=_optional(details, "recentBlockhash", _address),
        slot=_optional(details, "recentSlot", _units),
    )


def _refuse_confidential(details: Mapping[str, Any]) -> None:
    if read_flag(details, "confidential"):  # SCHG-041 SCHG-043 SCHG-093 SCHG-104
        raise UsageError("a confidential charge (encrypted amounts) is not supported")
    for name in ("auditorElgamalPubkey", "recipientElgamalPubkey"):  # SCHG-046 SCHG-049
        if details.get(name) is not None:
            raise UsageError(f"methodDetails.{name} is for confidential charges only")


def _currency(value: object) -> str:
    """SCHG-008 to SCHG-010: "sol" or a mint; an address is shorter than the longest text allowed."""
    return SOL if value == SOL else _address(value, "currency")


def _token(details: Mapping[str, Any], currency: str) -> tuple[int | None, str | None]:
    """The decimals and token program of a token; neither may be there for SOL (SCHG-018, SCHG-023)."""
    decimals, program = details.get("decimals"), details.get("tokenProgram")
    if currency == SOL:
        if decimals is not None or program is not None:
            raise UsageError("methodDetails.decimals and tokenProgram are for tokens, not for SOL")
        return None, None
    if type(decimals) is not int or not 0 <= decimals <= MAX_DECIMALS:  # SCHG-017
        raise UsageError(f"methodDetails.decimals is missing or not from 0 to {MAX_DECIMALS}")
    if program is not None and (type(program) is not str or program not in TOKEN_PROGRAMS):  # SCHG-019
        raise UsageError("methodDetails.tokenProgram is neither SPL Token nor Token-2022")
    return decimals, program


def _address(value: object, name: str) -> str:
    try:
        return parse_address(value)
    except UsageError:
        raise UsageError(f"{name} is missing or not the base58 of 32 bytes") from None


def _units(value: object, name: str) -> int:
    try:
        units = parse_units(value)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    if units > U64_MAX:  # SCHG-007 T20
        raise UsageError(f"{name} is more than 2**64 - 1")
    return units


def _amount(value: object, name: str) -> int:
    units = _units(value, name)
    if units == 0:  # SCHG-007
        raise UsageError(f"{name} is zero")
    return units


def _memo(holder: Mapping[str, Any], name: str) -> str | None:
    """Text that fits into a memo (SCHG-013, SCHG-029); an empty one says nothing."""
    value = holder.get(name)
    if value is None:
        return None
    wrong = UsageError(f"{name} is not text of at most {MAX_MEMO_BYTES} bytes")
    try:
        size = len(value.encode()) if type(value) is str else None
    except UnicodeEncodeError:
        raise wrong from None
    if size is None or size > MAX_MEMO_BYTES:
        raise wrong
    return value or None


def _split(entry: Mapping[str, Any]) -> Leg:
    recipient = _address(entry.get("recipient"), "splits.recipient")
    units = _amount(entry.get("amount"), "splits.amount")
    return Leg(recipient, units, _memo(entry, "memo"), read_flag(entry, "ataCreationRequired"))


def _fee_payer(details: Mapping[str, Any]) -> str | None:
    key = details.get("feePayerKey")
    if not read_flag(details, "feePayer"):
        if key is not None:  # SCHG-026
            raise UsageError("methodDetails.feePayerKey is there without feePayer")
        return None
    return _address(key, "methodDetails.feePayerKey")  # SCHG-024


def _optional(details: Mapping[str, Any], name: str, parse: Callable[[object, str], Any]) -> Any:
    value = details.get(name)
    return None if value is None else parse(value, f"methodDetails.{name}")


def _text(request: Mapping[str, Any], name: str, most: int) -> None:
    value = request.get(name)
    if value is not None and (type(value) is not str or len(value) > most):
        raise UsageError(f"{name} is not text of at most {most} characters")
