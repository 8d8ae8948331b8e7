"""What tests of channels' funding share: both protocols, and the methods of a node that funding asks."""

from __future__ import annotations

import pytest

from coinslot.methods.tempo.session.escrow import V1, V2

VERSIONS = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])


SYNC, RECEIPT, BLOCK = "eth_sendRawTransactionSync", "eth_getTransactionReceipt", "eth_getBlockByNumber"
