"""What the method solana publishes for sessions; see method.Sessions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from coinslot.drive import Flow
from coinslot.errors import UsageError
from coinslot.method import SessionPayer, SessionSeller
from coinslot.methods.solana.configure import commitment_of
from coinslot.methods.solana.session.configure import session_config
from coinslot.methods.solana.session.payer import SolanaSessionPayer
from coinslot.methods.solana.session.seller import SolanaSessionSeller
from coinslot.methods.solana.session.wallet import session_payer_config
from coinslot.methods.solana.settings import Accept, Wallet


class SolanaSessions:
    """Sellers and payers of sessions, for the same settings as those of charges."""

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[SessionSeller]]:
        """One seller, none without a `session_key`. Asks the node for its cluster, token and channel program.

        Raises ConfigError naming the setting, ChainError.
        """
        if not isinstance(accept, Accept):
            raise UsageError("not settings of a solana seller")
        config = yield from session_config(accept, commitment_of(accept))
        return () if config is None else (SolanaSessionSeller(config),)

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[SessionPayer]]:
        """One payer, none where the wallet wants no channels. Asks the node for its cluster.

        Raises ConfigError naming the setting, ChainError.
        """
        if not isinstance(wallet, Wallet):
            raise UsageError("not settings of a solana wallet")
        if not wallet.sessions:
            return ()
        return (SolanaSessionPayer((yield from session_payer_config(wallet))),)


SESSIONS = SolanaSessions()
