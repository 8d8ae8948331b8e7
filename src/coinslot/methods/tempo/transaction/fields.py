"""What a Tempo transaction (type 0x76) holds.

On the wire it is 0x76 followed by the RLP list

    [chain_id, max_priority_fee_per_gas, max_fee_per_gas, gas_limit, calls, access_list, nonce_key, nonce,
     valid_before, valid_after, fee_token, fee_payer_signature, authorization_list,
     key_authorization (left out if there is none), sender_signature]

and, handed from a sender to a sponsor before the sponsor has signed, either the same with 0x00 as
fee_payer_signature, or 0x78 with the sender's address in that place.
"""

from __future__ import annotations

from dataclasses import dataclass

TRANSACTION_TYPE = 0x76
# The first byte of what a fee payer signs, and of the envelope some clients hand over.
FEE_PAYER_TYPE = 0x78
# In the place of a sponsor's signature: the sender asks for one, and leaves the choice of the fee token to it.
AWAITING_FEE_PAYER = b"\x00"
# This nonce key makes a transaction unique by its hash until `valid_before`: no nonce to look up or to block.
EXPIRING_NONCE_KEY = 2**256 - 1


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a batch. `to` is a parsed address, `value` native units (a Tempo chain takes 0 only)."""

    to: str
    value: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """One entry of an EIP-2930 access list: a parsed address and 32-byte storage keys."""

    address: str
    storage_keys: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class TempoTransaction:
    """A transaction of type 0x76, signed or not.

    Fees are per gas in units of 10**-18 of a dollar token; times are whole seconds since 1970. `valid_before` is
    exclusive. `fee_payer_signature` is None (the sender pays its fee), AWAITING_FEE_PAYER, or 65 bytes
    r || s || v with v 27 or 28. `sender_signature` is b"" until signed. `key_authorization` is the RLP of a signed
    KeyAuthorization, which makes the chain accept an access key from this transaction on. Authorization lists
    (EIP-7702) don't exist here: nothing we pay or accept needs one.
    """

    chain_id: int
    calls: tuple[Call, ...]
    gas_limit: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int = 0
    access_list: tuple[AccessEntry, ...] = ()
    nonce_key: int = 0
    nonce: int = 0
    valid_before: int | None = None
    valid_after: int | None = None
    fee_token: str | None = None
    fee_payer_signature: bytes | None = None
    key_authorization: bytes | None = None
    sender_signature: bytes = b""

    @property
    def sponsored(self) -> bool:
        """Whether somebody else pays the fee, or is asked to."""
        return self.fee_payer_signature is not None

    @property
    def awaiting_fee_payer(self) -> bool:
        """Whether the sponsor's signature is still missing."""
        return self.fee_payer_signature == AWAITING_FEE_PAYER

    @property
    def max_fee(self) -> int:
        """The most that this transaction can cost its fee payer, in units of 10**-18 of a dollar token."""
        return self.gas_limit * self.max_fee_per_gas
