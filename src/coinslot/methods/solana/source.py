"""Who a credential says has paid: `did:pkh:solana:<reference>:<address>`, or the bare address (SCHG "source")."""

from __future__ import annotations

from coinslot.core.credential import Credential
from coinslot.errors import VerificationFailed

_DID = "did:pkh:"


def source_of(network: str, account: str) -> str:
    """The source that names an account on a network (its CAIP-2 id)."""
    return f"{_DID}{network}:{account}"


def require_source(credential: Credential, network: str, payer: str) -> None:
    """That a credential which names its payer names the one who paid. Raises VerificationFailed. T05"""
    if credential.source not in (None, payer, source_of(network, payer)):
        raise VerificationFailed("source names another account than the one that pays")
