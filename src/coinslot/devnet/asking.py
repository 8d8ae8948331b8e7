"""Asking a local chain that somebody else started for what only such chains do."""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.devnet.door import INVALID_PARAMS, METHOD_NOT_FOUND
from coinslot.drive import RealWorld, rpc, run
from coinslot.errors import ConfigError, RpcRefused, UsageError


def ask_devnet(world: RealWorld, rpc_url: str, method: str, params: Sequence[object]) -> object:
    """The result of a method that a devnet has beside those of its chain.

    Raises ConfigError (not a devnet), UsageError for what it can't do with these, RpcRefused or RpcUnreachable.
    """
    try:
        return run(rpc(rpc_url, method, list(params)), world)
    except RpcRefused as error:
        if error.code == METHOD_NOT_FOUND:
            raise ConfigError(f"{rpc_url} is not a coinslot devnet, so nothing can be minted there") from error
        if error.code == INVALID_PARAMS:
            raise UsageError(str(error)) from error
        raise
