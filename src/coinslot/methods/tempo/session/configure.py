"""Settings into what a seller of sessions works with: parsed, checked against each other, completed by the chain.

Every function raises ConfigError, which names the setting; those that ask the node also ChainError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from coinslot.chains.evm.abi import encode_call
from coinslot.chains.evm.address import ZERO_ADDRESS, parse_address
from coinslot.chains.evm.rpc import eth_call
from coinslot.chains.evm.signature import PrivateKey
from coinslot.drive import Flow
from coinslot.errors import ConfigError, RpcRefused
from coinslot.methods.tempo.configure import asked_asset, own_chain, sponsor_of, token_setting
from coinslot.methods.tempo.session.escrow import V1, V2, VERSIONS, Escrow, Version, pinned_escrow
from coinslot.methods.tempo.session.payout import Payer
from coinslot.methods.tempo.session.record import scheme_of
from coinslot.methods.tempo.session.seller import SessionConfig
from coinslot.methods.tempo.settings import Accept
from coinslot.methods.tempo.tokens import PATH_USD
from coinslot.money import Asset, parse_decimal, to_units
from coinslot.settings import setting

# These mean nothing where no sessions are offered; whoever sets one of them has forgotten the key.
_ONLY_WITH_KEY = ("session_fee_token", "escrow", "operator", "min_voucher_delta", "suggested_deposit")


def session_configs(accept: Accept) -> Flow[Sequence[SessionConfig]]:
    """One for each protocol in `session_protocols`; none without a `session_key`."""
    if accept.session_key is None:
        for name in _ONLY_WITH_KEY:
            if getattr(accept, name) is not None:
                raise ConfigError(f"{name}: it is for sessions, which need a session_key")
        return ()
    versions = _versions(accept)
    recipient = setting("recipient", parse_address, accept.recipient)
    operator = ZERO_ADDRESS if accept.operator is None else setting("operator", parse_address, accept.operator)
    key = setting("session_key", PrivateKey.from_hex, accept.session_key)
    for version in versions:
        _require_role(key, version, recipient, operator)
    sponsor = sponsor_of(accept)
    if sponsor is not None:
        sponsor = replace(sponsor, max_gas=accept.session_sponsor_max_gas)
    number = yield from own_chain(accept.rpc_url, accept.chain_id)
    asset = yield from asked_asset(accept, number)
    # fees are paid in dollar tokens; of others than the pinned ones we don't know what they are
    fee_token = asset.id if asset.peg == "USD" else PATH_USD
    if accept.session_fee_token is not None:
        fee_token = token_setting("session_fee_token", accept.session_fee_token)
    configs = []
    for version in versions:
        escrow = yield from _escrow(accept, version, number)
        configs.append(
            SessionConfig(
                rpc_url=accept.rpc_url,
                escrow=escrow,
                asset=asset,
                recipient=recipient,
                operator=operator if version == V2 else ZERO_ADDRESS,
                payer=Payer(key, number, fee_token, accept.session_max_fee_per_gas),
                min_delta_units=_units("min_voucher_delta", accept.min_voucher_delta, asset, version) or 0,
                min_deposit_units=_units("min_deposit", accept.min_deposit, asset, version) or 0,
                suggested_deposit_units=_units("suggested_deposit", accept.suggested_deposit, asset, version),
                simulate=accept.simulate,
                confirmations=accept.confirmations,
                lag_s=accept.lag_s,
                sponsor=sponsor,
            )
        )
    return tuple(configs)


def _versions(accept: Accept) -> tuple[Version, ...]:
    names = accept.session_protocols
    if not names or not set(names) <= set(VERSIONS) or len(set(names)) != len(names):
        raise ConfigError(f"session_protocols: one or more of {', '.join(VERSIONS)}, each once")
    if accept.escrow is not None and len(names) > 1:
        raise ConfigError("escrow: it speaks one protocol; name that one in session_protocols")
    return tuple(VERSIONS[name] for name in names)


def _require_role(key: PrivateKey, version: Version, recipient: str, operator: str) -> None:
    """That the escrow will let this key settle: vouchers that nobody can settle are worth nothing."""
    if key.address == recipient or (version == V2 and key.address == operator):
        return
    if version == V1 and key.address == operator:
        raise ConfigError("session_key: v1 channels have no operator; only the recipient's own key can settle them")
    raise ConfigError(
        f"session_key: it is the key of {key.address}, which is neither the recipient nor the operator, "
        "so it could settle nothing"
    )


def _escrow(accept: Accept, version: Version, number: int) -> Flow[Escrow]:
    """The pinned escrow or the owner's own, which must sign for the domain that we verify vouchers under."""
    if accept.escrow is not None:
        escrow = Escrow(version, number, setting("escrow", parse_address, accept.escrow))
    else:
        known = pinned_escrow(version, number)
        if known is None:
            raise ConfigError(f"escrow: none is known for session protocol {version.name} on chain {number}; name it")
        escrow = known
    try:
        domain = yield from eth_call(accept.rpc_url, escrow.address, encode_call("domainSeparator()"))
    except RpcRefused:
        domain = b""
    if domain != scheme_of(escrow).domain:  # T07
        raise ConfigError(f"escrow: at {escrow.address} there is no escrow of session protocol {version.name}")
    return escrow


def _units(name: str, text: str | None, asset: Asset, version: Version) -> int | None:
    if text is None:
        return None
    price: Decimal = setting(name, parse_decimal, text)
    units = to_units(price, asset.decimals or 0)
    if units > version.max_units:
        raise ConfigError(f"{name}: more than session protocol {version.name} can hold")
    return units
