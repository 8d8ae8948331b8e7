"""What a Solana session asks: the request object, read strictly and written once (SSES "Request Schema").

Its amount is the price of one unit, not of a request. A challenge is for a new channel, or to go on with one that it
names; the members of the other kind may not stand in it. What only the chain knows of the moment (the blockhash and
the slot that the opening must use) is added when a challenge is issued, so an offer is read without them as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coinslot.chains.solana.programs import TOKEN_PROGRAMS
from coinslot.errors import UsageError
from coinslot.intents.members import read_object
from coinslot.methods.solana.session.distribution import Split, check_splits
from coinslot.methods.solana.session.fields import (
    MAX_IDLE_S,
    read_address,
    read_count,
    read_flag,
    read_idle_options,
    read_text,
    read_units,
)
from coinslot.money import Asset
from coinslot.plain import session_request

INTENT = "session"
NETWORKS = ("mainnet", "devnet", "localnet")
# Who signs the vouchers.
CLIENT = "client"
OPERATOR = "operator"
# A name such as "llm_token"; longer text is no name.
MAX_UNIT_TYPE = 64
# A top-up costs its sponsor 10,000 lamports; nobody needs more than some of them for what one deposit holds.
TOP_UP_PART = 10
# SSES "decimals": what a mint may say here.
MAX_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """A session on one channel program of one cluster. Amounts are base units, times seconds, addresses base58.

    `amount_units` is the price of one unit. `fee_payer` pays fees and rent of opening and top-up where it is there,
    else the payer does. `operator` signs the vouchers where it is there, else whom the payer names. `splits` are bound
    into a new channel. `minimum_deposit_units` and `min_voucher_delta_units` are 0 where there are none.

    For a new channel: `grace_s`, `idle_options_s` (empty: the server chooses), `blockhash` and `recent_slot` (both or
    none). To go on with one: `channel_id` and `idle_s`, what was agreed for it.
    """

    network: str
    program: str
    asset: Asset
    recipient: str
    amount_units: int
    decimals: int
    unit_type: str | None = None
    suggested_deposit_units: int | None = None
    minimum_deposit_units: int = 0
    token_program: str | None = None
    fee_payer: str | None = None
    operator: str | None = None
    min_voucher_delta_units: int = 0
    ttl_s: int | None = None
    splits: tuple[Split, ...] = ()
    grace_s: int | None = None
    idle_options_s: tuple[int, ...] = ()
    blockhash: str | None = None
    recent_slot: int | None = None
    channel_id: str | None = None
    idle_s: int | None = None

    @property
    def mint(self) -> str:
        """The token's mint."""
        return self.asset.id


def read_session_terms(request: Mapping[str, Any], asset_of: Callable[[str, str, int], Asset]) -> SessionTerms:
    """The terms of a request object; `asset_of` names the asset of a network, a mint and its decimals.

    Members that we don't know are passed over. Raises UsageError, which names what can't be right.
    """
    details = read_object(request.get("methodDetails"), "methodDetails")
    network = details.get("network")
    if type(network) is not str or network not in NETWORKS:  # SSES-061 SSES-062
        raise UsageError(f"methodDetails.network is none of {', '.join(NETWORKS)}")
    amount = read_units(request.get("amount"), "amount")
    if amount == 0:
        raise UsageError("amount is zero: a session's unit has a price")
    decimals = read_count(details.get("decimals"), "methodDetails.decimals", 0, MAX_DECIMALS)  # SSES-070
    unit_type = request.get("unitType")
    return SessionTerms(
        network=network,
        program=read_address(details.get("channelProgram"), "methodDetails.channelProgram"),
        asset=asset_of(network, read_address(request.get("currency"), "currency"), decimals),
        recipient=read_address(request.get("recipient"), "recipient"),
        amount_units=amount,
        decimals=decimals,
        unit_type=None if unit_type is None else read_text(unit_type, "unitType", MAX_UNIT_TYPE),
        suggested_deposit_units=_optional_units(request, "suggestedDeposit"),
        minimum_deposit_units=_minimum_deposit(request, details),
        token_program=_token_program(details),
        fee_payer=_fee_payer(details),
        operator=_operator(details),
        min_voucher_delta_units=_optional_units(details, "minVoucherDelta") or 0,
        ttl_s=_optional_count(details, "ttlSeconds"),
        splits=read_splits(details.get("distributionSplits"), "methodDetails.distributionSplits"),
        **_kind(details),
    )


def _minimum_deposit(request: Mapping[str, Any], details: Mapping[str, Any]) -> int:
    """The document lists it among the shared fields and speaks of it in methodDetails; both places are read."""
    shared, nested = _optional_units(request, "minimumDeposit"), _optional_units(details, "minimumDeposit")
    if shared is not None and nested is not None and shared != nested:
        raise UsageError("minimumDeposit stands in two places and differs")
    return shared or nested or 0


def _token_program(details: Mapping[str, Any]) -> str | None:
    value = details.get("tokenProgram")
    if value is None:
        return None
    if type(value) is not str or value not in TOKEN_PROGRAMS:  # SSES-071
        raise UsageError("methodDetails.tokenProgram is neither SPL Token nor Token-2022")
    return value


def _fee_payer(details: Mapping[str, Any]) -> str | None:
    if not read_flag(details.get("feePayer"), "methodDetails.feePayer"):
        return None
    return read_address(details.get("feePayerKey"), "methodDetails.feePayerKey")  # SSES-073


def _operator(details: Mapping[str, Any]) -> str | None:
    signer = details.get("voucherSigner", CLIENT)
    if signer not in (CLIENT, OPERATOR):  # SSES-075
        raise UsageError("methodDetails.voucherSigner is neither client nor operator")
    if signer == CLIENT:
        return None
    return read_address(details.get("operator"), "methodDetails.operator")  # SSES-076


def read_splits(value: object, name: str) -> tuple[Split, ...]:
    """The shares of others in what the payee is paid, in order; absent: none. Raises UsageError. SSES-084 SSES-085"""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise UsageError(f"{name} is not a list")
    entries = [read_object(one, name) for one in value]
    splits = tuple(
        Split(
            read_address(one.get("recipient"), f"{name}.recipient"),
            read_count(one.get("shareBps"), f"{name}.shareBps", 1, 10_000),
        )
        for one in entries
    )
    check_splits(splits)
    return splits


def splits_members(splits: tuple[Split, ...]) -> list[dict[str, Any]]:
    """As JSON."""
    return [{"recipient": one.recipient, "shareBps": one.share_bps} for one in splits]


def _kind(details: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a challenge for a new channel, or of one that goes on with a channel; never of both."""
    fresh = {
        "grace_s": _optional_count(details, "gracePeriodSeconds"),
        "idle_options_s": read_idle_options(
            details.get("idleTimeoutOptionsSeconds"), "methodDetails.idleTimeoutOptionsSeconds"
        ),
        "blockhash": _optional_address(details, "recentBlockhash"),
        "recent_slot": _optional_units(details, "recentSlot"),
    }
    if (fresh["blockhash"] is None) != (fresh["recent_slot"] is None):
        raise UsageError("methodDetails.recentBlockhash and recentSlot belong together")
    idle = details.get("idleTimeoutSeconds")
    if details.get("channelId") is None:
        if idle is not None:  # SSES-081
            raise UsageError("methodDetails.idleTimeoutSeconds is of no channel")
        if fresh["grace_s"] is None:  # SSES-082
            raise UsageError("methodDetails.gracePeriodSeconds is missing")
        return fresh
    if fresh["blockhash"] is not None or fresh["idle_options_s"]:  # SSES-066 SSES-068 SSES-079
        raise UsageError("methodDetails names a channel and what opens a new one")
    return {
        "grace_s": fresh["grace_s"],
        "channel_id": read_address(details["channelId"], "methodDetails.channelId"),
        "idle_s": read_count(idle, "methodDetails.idleTimeoutSeconds", 1, MAX_IDLE_S),  # SSES-080
    }


def _optional_units(holder: Mapping[str, Any], name: str) -> int | None:
    value = holder.get(name)
    return None if value is None else read_units(value, name)


def _optional_count(details: Mapping[str, Any], name: str) -> int | None:
    """Seconds, one or more (SSES-083)."""
    value = details.get(name)
    return None if value is None else read_count(value, f"methodDetails.{name}", 1)


def _optional_address(details: Mapping[str, Any], name: str) -> str | None:
    """A blockhash is 32 bytes of base58, as an address is."""
    value = details.get(name)
    return None if value is None else read_address(value, f"methodDetails.{name}")


def write_session_request(terms: SessionTerms) -> dict[str, Any]:
    """The request object of these terms; `read_session_terms` reads the same from it. Raises UsageError."""
    details: dict[str, Any] = {
        "network": terms.network,  # SSES-060
        "channelProgram": terms.program,  # SSES-063
        "decimals": terms.decimals,  # SSES-070
    }
    if terms.operator is not None:
        details |= {"voucherSigner": OPERATOR, "operator": terms.operator}
    if terms.fee_payer is not None:
        details |= {"feePayer": True, "feePayerKey": terms.fee_payer}
    if terms.splits:
        details["distributionSplits"] = splits_members(terms.splits)
    if terms.idle_options_s:
        details["idleTimeoutOptionsSeconds"] = list(terms.idle_options_s)
    optional = (
        ("channelId", terms.channel_id),
        ("tokenProgram", terms.token_program),
        ("minVoucherDelta", str(terms.min_voucher_delta_units) if terms.min_voucher_delta_units else None),
        ("ttlSeconds", terms.ttl_s),
        ("gracePeriodSeconds", terms.grace_s),
        ("idleTimeoutSeconds", terms.idle_s),
        ("recentBlockhash", terms.blockhash),
        ("recentSlot", None if terms.recent_slot is None else str(terms.recent_slot)),
    )
    details |= {name: value for name, value in optional if value is not None}
    request = session_request(terms, details)
    if terms.minimum_deposit_units:
        request["minimumDeposit"] = str(terms.minimum_deposit_units)
    if read_session_terms(request, lambda _network, _mint, _decimals: terms.asset) != terms:
        raise UsageError("these terms can't be written as a request")  # never offer what no client may pay
    return request


def least_top_up(terms: SessionTerms) -> int:
    """What a top-up adds at least, in base units, for its fee to be sponsored where the server set nothing else: both
    sides reckon it from what is asked.
    """
    deposit = max(terms.suggested_deposit_units or 0, terms.minimum_deposit_units)
    return max(terms.amount_units, deposit // TOP_UP_PART)


def completed(request: Mapping[str, Any], blockhash: str, slot: int) -> dict[str, Any]:
    """The request object with what an opening must be built on (SSES-067)."""
    details = dict(request["methodDetails"]) | {"recentBlockhash": blockhash, "recentSlot": str(slot)}
    return dict(request) | {"methodDetails": details}


def resuming(request: Mapping[str, Any], channel_id: str, idle_s: int) -> dict[str, Any]:
    """The request object to go on with a channel: what opens a new one does not stand in it (SSES-223)."""
    gone = ("recentBlockhash", "recentSlot", "idleTimeoutOptionsSeconds")
    details = {name: value for name, value in request["methodDetails"].items() if name not in gone}
    return dict(request) | {"methodDetails": details | {"channelId": channel_id, "idleTimeoutSeconds": idle_s}}


def opening_anew(request: Mapping[str, Any], idle_options_s: tuple[int, ...]) -> dict[str, Any]:
    """The same request without the channel that it named: to open a new one, once it is `completed`."""
    details = {
        name: value
        for name, value in request["methodDetails"].items()
        if name not in ("channelId", "idleTimeoutSeconds")
    }
    if idle_options_s:
        details["idleTimeoutOptionsSeconds"] = list(idle_options_s)
    return dict(request) | {"methodDetails": details}
