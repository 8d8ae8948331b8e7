"""What the method tempo publishes for sessions; see method.Sessions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coinslot.chains.evm.address import parse_address
from coinslot.chains.evm.signature import PrivateKey
from coinslot.drive import Flow
from coinslot.errors import ConfigError, UsageError
from coinslot.method import SessionPayer, SessionSeller
from coinslot.methods.tempo.configure import payer_config
from coinslot.methods.tempo.session.configure import session_configs
from coinslot.methods.tempo.session.escrow import VERSIONS
from coinslot.methods.tempo.session.payer import SessionPayerConfig, TempoSessionPayer
from coinslot.methods.tempo.session.seller import TempoSessionSeller
from coinslot.methods.tempo.settings import Accept, Wallet
from coinslot.settings import setting


class TempoSessions:
    """Sellers and payers of sessions, for the same settings as those of charges."""

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[SessionSeller]]:
        """One seller for each protocol offered, none without a `session_key`. Asks the node for its chain and escrow.

        Raises ConfigError naming the setting, ChainError.
        """
        if not isinstance(accept, Accept):
            raise UsageError("not settings of a tempo seller")
        configs = yield from session_configs(accept)
        return tuple(TempoSessionSeller(config) for config in configs)

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[SessionPayer]]:
        """One payer, none where the wallet takes no session protocol. Asks the node for its chain.

        Raises ConfigError naming the setting, ChainError.
        """
        if not isinstance(wallet, Wallet):
            raise UsageError("not settings of a tempo wallet")
        protocols = frozenset(wallet.session_protocols)
        if not protocols <= set(VERSIONS):
            raise ConfigError(f"session_protocols: any of {', '.join(VERSIONS)}")
        if not protocols:
            return ()
        escrows = frozenset(setting("escrows", parse_address, one) for one in wallet.escrows)
        voucher_key = wallet.private_key if wallet.voucher_key is None else wallet.voucher_key
        config = SessionPayerConfig(
            wallet=(yield from payer_config(wallet)),
            voucher_key=setting("voucher_key", PrivateKey.from_hex, voucher_key),
            escrows=escrows,
            protocols=protocols,
        )
        return (TempoSessionPayer(config),)


SESSIONS = TempoSessions()
