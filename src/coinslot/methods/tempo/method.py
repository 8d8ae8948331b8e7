"""The payment method `tempo`: TIP-20 tokens on the Tempo chains (documents TCHG and TSES)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coinslot.chains.evm.address import parse_address
from coinslot.chains.evm.hexdata import parse_hex
from coinslot.drive import Flow
from coinslot.errors import ConfigError, UsageError
from coinslot.method import ChargePayer, ChargeSeller, Keyed, Sessions
from coinslot.methods.tempo.charge_payer import TempoChargePayer
from coinslot.methods.tempo.charge_seller import NAME, SellerConfig, TempoChargeSeller
from coinslot.methods.tempo.configure import asked_asset, own_chain, payer_config, sponsor_of, token_setting
from coinslot.methods.tempo.keys import KEYS
from coinslot.methods.tempo.proof import VERSIONS
from coinslot.methods.tempo.reading import read_recorded
from coinslot.methods.tempo.session.method import SESSIONS
from coinslot.methods.tempo.settings import Accept, Wallet
from coinslot.methods.tempo.terms import MODES, PULL
from coinslot.methods.tempo.tokens import known_asset
from coinslot.settings import setting


class TempoMethod:
    """What is published under the entry point; see method.Method."""

    name = NAME
    Accept: type[msgspec.Struct] = Accept
    Wallet: type[msgspec.Struct] = Wallet
    keys: Keyed = KEYS
    sessions: Sessions = SESSIONS
    read_terms = staticmethod(read_recorded)
    known_asset = staticmethod(known_asset)

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[ChargeSeller]]:
        """One seller. Asks the node for its chain and the token for its decimals.

        Raises ConfigError naming the setting, ChainError.
        """
        if not isinstance(accept, Accept):
            raise UsageError("not settings of a tempo seller")
        token_setting("currency", accept.currency)
        recipient = setting("recipient", parse_address, accept.recipient)
        memo = None if accept.memo is None else setting("memo", parse_hex, accept.memo, size=32)
        sponsor = sponsor_of(accept)
        modes = _modes(accept)
        versions = accept.proof_versions
        if not versions or not set(versions) <= set(VERSIONS):
            raise ConfigError(f"proof_versions: at least one of {', '.join(VERSIONS)}")
        number = yield from own_chain(accept.rpc_url, accept.chain_id)
        config = SellerConfig(
            rpc_url=accept.rpc_url,
            chain_id=number,
            asset=(yield from asked_asset(accept, number)),
            recipient=recipient,
            memo=memo,
            modes=modes,
            plain_allowed=accept.allow_plain_transfer,
            proof_versions=versions,
            simulate=accept.simulate,
            confirmations=accept.confirmations,
            lag_s=accept.lag_s,
            sponsor=sponsor,
        )
        return (TempoChargeSeller(config),)

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[ChargePayer]]:
        """One payer. Asks the node for its chain. Raises ConfigError naming the setting, ChainError."""
        if not isinstance(wallet, Wallet):
            raise UsageError("not settings of a tempo wallet")
        return (TempoChargePayer((yield from payer_config(wallet))),)


def _modes(accept: Accept) -> tuple[str, ...]:
    """Pull and push, in the order of the document, as far as the other settings allow them."""
    pull_only = accept.memo is not None or accept.fee_payer_key is not None
    chosen = accept.modes if accept.modes is not None else ((PULL,) if pull_only else MODES)
    if not chosen or not set(chosen) <= set(MODES):
        raise ConfigError(f"modes: at least one of {', '.join(MODES)}")
    if pull_only and set(chosen) != {PULL}:
        raise ConfigError("modes: with a memo of your own, or with sponsored fees, payments are pulled only")
    return tuple(mode for mode in MODES if mode in chosen)


METHOD = TempoMethod()
