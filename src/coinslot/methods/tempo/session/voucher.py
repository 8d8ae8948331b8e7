"""Vouchers: signed promises of a channel's whole amount so far (TSES "Voucher Signing Format").

What is taken here is a part of what the chain takes when a voucher is settled, tested variant by variant against the
chain's own verifier (TIP-1020):

    65 bytes r || s || v, v 27 or 28, s low      taken
    the same with v 0, 1 or as in EIP-155        the chain takes them; second spellings of one signature, refused here
    s high; 64 bytes (EIP-2098)                  the chain refuses them, whatever the document says of EIP-2098
    0x01 P-256, 0x02 WebAuthn                    the chain would take them from v2 channels; refused by name
    0x03, 0x04 access key for an account         the chain refuses them; such a key is named as authorized signer
    magic bytes after a signature                the chain refuses them
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.eip712 import domain_separator, type_hash
from coinslot.chains.evm.keccak import keccak256
from coinslot.chains.evm.signature import COMPACT_BYTES, SIGNATURE_BYTES, PrivateKey, recover
from coinslot.errors import BadSignature, InvalidVoucher, SignerMismatch, UsageError
from coinslot.methods.tempo.session.escrow import Escrow

# The longest signature that the chain's verifier looks at (WebAuthn); a longer one is none.
MAX_SIGNATURE_BYTES = 2049
_DOMAIN_VERSION = "1"
_NOT_TAKEN = {
    0x01: "P-256",
    0x02: "WebAuthn",
    0x03: "access key, version 1; sign with the key itself and name it as authorized signer",
    0x04: "access key; sign with the key itself and name it as authorized signer",
    0x05: "multisig",
}


@dataclass(frozen=True, slots=True)
class VoucherScheme:
    """How vouchers of one escrow are signed and verified. Made once per escrow and kept: its domain never changes."""

    escrow: Escrow
    _prefix: bytes = field(init=False, repr=False)
    _type: bytes = field(init=False, repr=False)
    _most: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compute what never changes."""
        version = self.escrow.version
        domain = domain_separator(version.domain_name, _DOMAIN_VERSION, self.escrow.chain_id, self.escrow.address)
        object.__setattr__(self, "_prefix", b"\x19\x01" + domain)  # T07
        object.__setattr__(self, "_type", type_hash(version.voucher_type))
        object.__setattr__(self, "_most", version.max_units)

    @property
    def domain(self) -> bytes:
        """The domain separator."""
        return self._prefix[2:]

    def digest(self, channel_id: str, cumulative_units: int) -> bytes:
        """The 32 bytes to sign; `channel_id` is 32 bytes as lower-case hex.

        Raises UsageError for an amount that this protocol can't hold.
        """
        if not 0 <= cumulative_units <= self._most:  # TSES-018
            raise UsageError("the amount is not in the range of this session protocol")
        words = bytes.fromhex(channel_id[2:]) + cumulative_units.to_bytes(32, "big")
        return keccak256(self._prefix + keccak256(self._type + words))

    def sign(self, key: PrivateKey, channel_id: str, cumulative_units: int) -> bytes:
        """65 bytes r || s || v, v 27 or 28, s low. Raises UsageError."""
        return key.sign_digest(self.digest(channel_id, cumulative_units))

    def verify(self, channel_id: str, cumulative_units: int, signature: bytes, signer: str) -> None:
        """That `signer` signed this voucher in a form that the chain takes.

        `signer` is the channel's authorized signer or else its payer, as the chain knows them (see
        `channel.expected_signer`), never what a request says. Raises InvalidVoucher, SignerMismatch.
        """
        if len(signature) != SIGNATURE_BYTES:  # T13 T14 T18
            raise InvalidVoucher(_why_not(signature), channel_id=channel_id)
        if signer == ZERO_ADDRESS:  # T15
            raise SignerMismatch("the channel has no signer", channel_id=channel_id)
        try:
            found = recover(self.digest(channel_id, cumulative_units), signature)
        except (BadSignature, UsageError) as error:
            raise InvalidVoucher(str(error), channel_id=channel_id) from None
        if found != signer:  # T15
            raise SignerMismatch("the voucher was signed by somebody else", channel_id=channel_id)


def _why_not(signature: bytes) -> str:
    """The name of what is not taken."""
    if len(signature) == COMPACT_BYTES:
        return "a voucher's signature is 65 bytes; the chain does not take the 64 of EIP-2098"
    kind = _NOT_TAKEN.get(signature[0]) if signature else None
    if kind is not None:
        return f"unsupported signature type: {kind}"
    return "a voucher's signature is 65 bytes: r, s and v"
