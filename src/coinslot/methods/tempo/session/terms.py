"""What a tempo session asks: the request object, read strictly and written once (TSES "Request Schema").

Its amount is the price of one unit, not of a request. Everything that money depends on (escrow, chain, protocol, payee,
token, operator) is in the terms; that they are also acceptable is for their reader to say, see `require_terms`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.errors import UsageError, VerificationFailed
from coinslot.intents.members import read_flag, read_object
from coinslot.methods.tempo.session.escrow import V1, V2, VERSIONS, Escrow, Version, require_escrow
from coinslot.methods.tempo.session.fields import (
    read_address,
    read_chain_id,
    read_party,
    read_units,
    read_word,
)
from coinslot.methods.tempo.session.snapshot import Snapshot, read_snapshot
from coinslot.money import Asset
from coinslot.plain import session_request

INTENT = "session"
# A name such as "llm_token"; longer text is no name.
MAX_UNIT_TYPE = 64


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """A session on one escrow. Amounts are base units.

    `amount_units` is the price of one unit. `operator` is the zero address where there is none. `channel_id` is a
    channel that the server suggests to use again, `snapshot` what it says of that one; neither is believed. A voucher
    that raises the accepted amount must raise it by `min_voucher_delta_units` at least. `sponsored`: the server pays
    the fees of open and top-up.
    """

    escrow: Escrow
    asset: Asset
    recipient: str
    amount_units: int
    unit_type: str | None = None
    suggested_deposit_units: int | None = None
    operator: str = ZERO_ADDRESS
    channel_id: str | None = None
    min_voucher_delta_units: int = 0
    sponsored: bool = False
    snapshot: Snapshot | None = None

    @property
    def token(self) -> str:
        """The token's address."""
        return self.asset.id

    @property
    def version(self) -> Version:
        """The session protocol."""
        return self.escrow.version


def read_session_terms(request: Mapping[str, Any], asset_of: Callable[[int, str], Asset]) -> SessionTerms:
    """The terms of a request object; `asset_of` names the asset of a chain id and address.

    Members that we don't know are passed over (TSES-056). Raises UsageError, which names what can't be right.
    """
    details = read_object(request.get("methodDetails"), "methodDetails")
    version = _version(details.get("sessionProtocol"))
    chain_id = read_chain_id(details.get("chainId"), "methodDetails.chainId")
    escrow = Escrow(version, chain_id, read_party(details.get("escrowContract"), "methodDetails.escrowContract"))
    amount = read_units(request.get("amount"), "amount", version.max_units)
    if amount == 0:
        raise UsageError("amount is zero: a session's unit has a price")
    return SessionTerms(
        escrow=escrow,
        asset=asset_of(chain_id, read_party(request.get("currency"), "currency")),
        recipient=read_party(request.get("recipient"), "recipient"),
        amount_units=amount,
        unit_type=_unit_type(request.get("unitType")),
        suggested_deposit_units=_optional_units(request, "suggestedDeposit", version),
        operator=_operator(details, version),
        channel_id=_optional_word(details, "channelId"),
        min_voucher_delta_units=_optional_units(details, "minVoucherDelta", version) or 0,
        sponsored=read_flag(details, "feePayer"),
        snapshot=_snapshot(details, version),
    )


def _version(value: object) -> Version:
    if value is None:  # TSES "Protocol Versions": servers older than the member
        return V1
    version = VERSIONS.get(value) if type(value) is str else None
    if version is None:  # TSES-006
        raise UsageError("methodDetails.sessionProtocol is neither v1 nor v2")
    return version


def _operator(details: Mapping[str, Any], version: Version) -> str:
    value = details.get("operator")
    if version != V2 or value is None:  # TSES-037; v1 has no operators
        return ZERO_ADDRESS
    return read_address(value, "methodDetails.operator")


def _snapshot(details: Mapping[str, Any], version: Version) -> Snapshot | None:
    value = details.get("sessionSnapshot")
    return None if value is None or version != V2 else read_snapshot(value)


def _unit_type(value: object) -> str | None:
    if value is not None and (type(value) is not str or not 0 < len(value) <= MAX_UNIT_TYPE):
        raise UsageError(f"unitType is not text of 1 to {MAX_UNIT_TYPE} characters")
    return value


def _optional_units(holder: Mapping[str, Any], name: str, version: Version) -> int | None:
    value = holder.get(name)
    return None if value is None else read_units(value, name, version.max_units)


def _optional_word(holder: Mapping[str, Any], name: str) -> str | None:
    value = holder.get(name)
    return None if value is None else read_word(value, name)


def write_session_request(terms: SessionTerms) -> dict[str, Any]:
    """The request object of these terms; `read_session_terms` reads the same from it. Raises UsageError."""
    details: dict[str, Any] = {
        "chainId": terms.escrow.chain_id,  # TSES-036
        "escrowContract": terms.escrow.address,
        "sessionProtocol": terms.version.name,  # TSES-005
    }
    if terms.operator != ZERO_ADDRESS:
        details["operator"] = terms.operator
    if terms.channel_id is not None:
        details["channelId"] = terms.channel_id
    if terms.min_voucher_delta_units:
        details["minVoucherDelta"] = str(terms.min_voucher_delta_units)
    if terms.sponsored:
        details["feePayer"] = True
    if terms.snapshot is not None:
        details["sessionSnapshot"] = terms.snapshot.members()
    request = session_request(terms, details)
    if read_session_terms(request, lambda _chain, _token: terms.asset) != terms:  # never offer what no client may pay
        raise UsageError("these terms can't be written as a request")
    return request


def require_terms(terms: SessionTerms, chain_id: int, other_escrows: Collection[str] = ()) -> None:
    """That terms are on our chain, and on an escrow that we know or that the owner allows. Raises UsageError."""
    if terms.escrow.chain_id != chain_id:  # T07
        raise UsageError(f"asked on chain {terms.escrow.chain_id}, not on {chain_id}")
    require_escrow(terms.escrow, other_escrows)  # T47


class Parties(Protocol):
    """Whoever a channel is between: a descriptor, an open call, a channel as the chain knows it."""

    @property
    def payee(self) -> str:
        """Who is paid."""

    @property
    def token(self) -> str:
        """The token's address."""

    @property
    def operator(self) -> str:
        """Who may act for the payee, or the zero address."""


def require_parties(channel: Parties, terms: SessionTerms) -> None:
    """That a channel pays these terms' payee, in their token, under their operator. Raises VerificationFailed."""
    if channel.payee != terms.recipient:  # TSES-014
        raise VerificationFailed("the channel pays somebody else")
    if channel.token != terms.token:  # TSES-015
        raise VerificationFailed("the channel holds another token")
    if channel.operator != terms.operator:  # TSES-016
        raise VerificationFailed("the channel has another operator")
