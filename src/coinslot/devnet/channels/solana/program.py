"""The compiled channel program for local chains: its bytes, its address, and who owns its treasury.

An independent test implementation of the published interface of the Solana payment-channels program, not the audited
program: docs/methods/solana-channel-program.md says what differs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from coinslot.chains.solana.address import address_bytes
from coinslot.errors import ConfigError

# Where the published program stands on every cluster; ours is put there on a local chain.
PROGRAM_ID = "CHNLxYvVA28MJP9PrFuDXccuoGXAx7jBacfLEkahyGsX"
# The placeholder 0xBEEF x 16 that the published interface names for local networks: nobody has a key to it.
TREASURY_OWNER = "DrLViEZBgqj6TgP8vKqu22uvLgV6p3tfkvCYfG8yqSUn"
# Who owns the treasury of the published program on mainnet: some peers know no other, on whatever cluster.
MAINNET_TREASURY_OWNER = "Cs2zdfUNonRdRGsiZUQQLdTxzxVvJZmgiX2mpLYKuEqP"
# Of channel.so as `python -m coinslot.devnet.channels.solana.build` writes it.
SHA256 = "38685f6173aea817d01c5ca4448fcd4b46b7bb155eca161d95e2ba486748d476"
PROGRAM = Path(__file__).with_name("channel.so")


def elf(treasury_owner: str = TREASURY_OWNER) -> bytes:
    """The program as the chain's loader takes it, with the treasury of `treasury_owner` (base58).

    Raises ConfigError when the file is not the one that was pinned here, UsageError for no address.
    """
    code = PROGRAM.read_bytes()
    if (found := hashlib.sha256(code).hexdigest()) != SHA256:
        raise ConfigError(f"{PROGRAM.name} is not the pinned program: its SHA-256 is {found}")
    # the one constant that differs between the published program's clusters
    return code.replace(address_bytes(TREASURY_OWNER), address_bytes(treasury_owner))
