"""keccak256, from a native library only."""

from __future__ import annotations

from coinslot.errors import MissingDependency

try:
    from sha3 import keccak_256 as _native
except ImportError as error:
    # A pure Python keccak is 100 times slower: better no start than a server that stalls under load.
    raise MissingDependency("keccak256 needs safe-pysha3", extra="tempo") from error


def keccak256(data: bytes) -> bytes:
    """The 32-byte keccak256 of `data` (the hash before SHA-3 was finished, as used by the EVM)."""
    digest: bytes = _native(data).digest()
    return digest
