"""The payment method `solana`: SOL, SPL Token and Token-2022 on the Solana clusters (document SCHG)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coinslot.drive import Flow
from coinslot.errors import ConfigError, UsageError
from coinslot.method import ChargePayer, ChargeSeller, Keyed, Sessions
from coinslot.methods.solana.charge_payer import SolanaChargePayer
from coinslot.methods.solana.charge_seller import NAME, SellerConfig, SolanaChargeSeller
from coinslot.methods.solana.configure import (
    asked_currency,
    commitment_of,
    own_cluster,
    payer_config,
    require_payable,
    sponsor_of,
)
from coinslot.methods.solana.keys import KEYS
from coinslot.methods.solana.reading import read_recorded
from coinslot.methods.solana.session.method import SESSIONS
from coinslot.methods.solana.settings import Accept, Wallet
from coinslot.methods.solana.terms import MODES, PULL
from coinslot.methods.solana.tokens import known_asset


class SolanaMethod:
    """What is published under the entry point; see method.Method."""

    name = NAME
    Accept: type[msgspec.Struct] = Accept
    Wallet: type[msgspec.Struct] = Wallet
    keys: Keyed = KEYS
    sessions: Sessions = SESSIONS
    read_terms = staticmethod(read_recorded)
    known_asset = staticmethod(known_asset)

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[ChargeSeller]]:
        """One seller. Asks the node for its cluster, the token, and the recipient's account of it.

        Raises ConfigError naming the setting, ChainError.
        """
        if not isinstance(accept, Accept):
            raise UsageError("not settings of a solana seller")
        modes = _modes(accept)
        cluster = yield from own_cluster(accept.rpc_url, accept.network)
        currency = yield from asked_currency(accept, cluster)
        config = SellerConfig(
            rpc_url=accept.rpc_url,
            cluster=cluster.name,
            asset=currency.asset,
            token_program=currency.token_program,
            recipient=(yield from require_payable(accept, currency)),
            modes=modes,
            plain_push=accept.allow_plain_push,
            reference=accept.reference,
            blockhash=accept.recent_blockhash,
            create_accounts=accept.create_split_accounts and currency.token_program is not None,
            trusted=currency.trusted,
            simulate=accept.simulate,
            commitment=commitment_of(accept),
            lag_s=accept.lag_s,
            sponsor=(yield from sponsor_of(accept, currency.token_program)),
        )
        return (SolanaChargeSeller(config),)

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[ChargePayer]]:
        """One payer. Asks the node for its cluster. Raises ConfigError naming the setting, ChainError."""
        if not isinstance(wallet, Wallet):
            raise UsageError("not settings of a solana wallet")
        return (SolanaChargePayer((yield from payer_config(wallet))),)


def _modes(accept: Accept) -> tuple[str, ...]:
    """Pull and push, as far as the other settings allow them."""
    sponsored = accept.fee_payer_key is not None
    chosen = accept.modes if accept.modes is not None else ((PULL,) if sponsored else MODES)
    if not chosen or not set(chosen) <= set(MODES):
        raise ConfigError(f"modes: at least one of {', '.join(MODES)}")
    if sponsored and PULL not in chosen:
        raise ConfigError("modes: with sponsored fees, payments are pulled")
    return tuple(mode for mode in MODES if mode in chosen)


METHOD = SolanaMethod()
