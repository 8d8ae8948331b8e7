"""Who a credential says has paid: `did:pkh:eip155:<chain id>:<address>` (TCHG "Source")."""

from __future__ import annotations

import re

from coinslot.core.credential import Credential
from coinslot.errors import UsageError, VerificationFailed

# 77 digits hold any uint256; a longer one is no chain's number.
_SOURCE = re.compile(r"did:pkh:eip155:([1-9][0-9]{0,76}):(0x[0-9a-fA-F]{40})\Z", re.ASCII)


def source_of(chain_id: int, account: str) -> str:
    """The DID of an account on a chain."""
    return f"did:pkh:eip155:{chain_id}:{account}"


def read_source(source: str) -> tuple[int, str]:
    """The chain id and address of a `did:pkh:eip155` DID. Raises UsageError."""
    match = _SOURCE.match(source)
    if match is None:
        raise UsageError("source is not did:pkh:eip155:<chain id>:<address>")
    return int(match[1]), match[2].lower()


def require_source(credential: Credential, chain_id: int, account: str) -> None:
    """That who claims to pay is who pays, where it says so at all (TCHG-028). Raises VerificationFailed."""
    if credential.source is None:
        return
    try:
        named = read_source(credential.source)
    except UsageError as error:
        raise VerificationFailed(str(error)) from None
    if named != (chain_id, account):
        raise VerificationFailed("source names another account or chain than the one that pays")
