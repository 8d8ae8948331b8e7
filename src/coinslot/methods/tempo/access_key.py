"""What the chain knows of access keys (the keychain precompile)."""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.evm.abi import decode_uint256, encode_address, encode_call, split_words
from coinslot.methods.tempo.transaction.fields import Call

KEYCHAIN = "0xaaaaaaaa00000000000000000000000000000000"


@dataclass(frozen=True, slots=True)
class KeyState:
    """Whether a key was authorized, until when (seconds since 1970), and whether it was revoked."""

    known: bool
    expires_at: int
    revoked: bool

    def holds_until(self, time_s: int) -> bool:
        """Whether the key may sign up to that time."""
        return self.known and not self.revoked and self.expires_at > time_s


def key_call(account: str, key: str) -> Call:
    """The call that asks for the state of an access key."""
    return Call(KEYCHAIN, 0, encode_call("getKey(address,address)", encode_address(account), encode_address(key)))


def read_key_state(returned: bytes) -> KeyState:
    """The answer to `key_call`. Raises BadTransaction."""
    _, key, expiry, _, revoked = split_words(returned, 5)
    return KeyState(any(key), decode_uint256(expiry), any(revoked))
