"""What a channel is: who pays whom in which token, and the id that stands for all of it (TSES "Channel Escrow").

A v1 channel's terms are kept by the contract, so that its id is enough. The v2 reserve keeps amounts only: whoever
speaks of a channel brings its descriptor, and the id is computed from it, never believed.

The hash in a v2 descriptor names the very transaction that opened the channel. A channel opened again with the same
terms has another id, and no voucher of the first is worth anything there. T08
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from coinslot.chains.evm.abi import WORD, decode_address, encode_address, encode_uint256
from coinslot.chains.evm.address import ZERO_ADDRESS, address_bytes
from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.keccak import keccak256
from coinslot.errors import BadTransaction, UsageError, VerificationFailed
from coinslot.intents.members import read_object
from coinslot.methods.tempo.session.escrow import V2, Escrow
from coinslot.methods.tempo.session.fields import read_address, read_party, read_word
from coinslot.methods.tempo.transaction.build import encode_for_signing
from coinslot.methods.tempo.transaction.fields import TempoTransaction

# Descriptors come again with every voucher of their session; about 2 KB each.
KEPT_DESCRIPTORS = 4096
_MEMBERS = ("payer", "payee", "operator", "token", "salt", "authorizedSigner", "expiringNonceHash")
DESCRIPTOR_WORDS = len(_MEMBERS)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The terms of a v2 channel: parsed addresses, and 32 bytes each as lower-case hex.

    `operator` and `authorized_signer` are the zero address where there is none.
    """

    payer: str
    payee: str
    operator: str
    token: str
    salt: str
    authorized_signer: str
    expiring_nonce_hash: str

    @property
    def signer(self) -> str:
        """Whose vouchers count."""
        return expected_signer(self.payer, self.authorized_signer)

    def members(self) -> dict[str, str]:
        """As JSON."""
        return dict(zip(_MEMBERS, self._values(), strict=True))

    def _values(self) -> tuple[str, ...]:
        return (
            self.payer,
            self.payee,
            self.operator,
            self.token,
            self.salt,
            self.authorized_signer,
            self.expiring_nonce_hash,
        )


@dataclass(frozen=True, slots=True)
class ChannelRef:
    """How to speak of a channel to its escrow. `id` is lower-case hex; `descriptor` is there for v2 and only there."""

    escrow: Escrow
    id: str
    descriptor: Descriptor | None = None

    def required_descriptor(self) -> Descriptor:
        """The descriptor. Raises UsageError for a v1 channel."""
        if self.descriptor is None:
            raise UsageError("a v2 channel is named by its descriptor, and this one has none")
        return self.descriptor


def expected_signer(payer: str, authorized_signer: str) -> str:
    """Whose vouchers count: the authorized signer where there is one, else the payer. Raises VerificationFailed."""
    signer = payer if authorized_signer == ZERO_ADDRESS else authorized_signer
    if signer == ZERO_ADDRESS:  # T15: nobody's signature must never match nobody
        raise VerificationFailed("the channel has no payer")
    return signer


def read_descriptor(value: object) -> Descriptor:
    """A descriptor from JSON; members that we don't know are passed over. Raises UsageError."""
    return _descriptor(_texts(value))


def _texts(value: object) -> tuple[str, ...]:
    texts: tuple[Any, ...] = tuple(map(read_object(value, "descriptor").get, _MEMBERS))
    for text in texts:
        if type(text) is not str or len(text) > 66:
            raise UsageError("a member of descriptor is missing or not an address or 32 bytes of hex")
    return texts


@lru_cache(maxsize=KEPT_DESCRIPTORS)
def _descriptor(texts: tuple[str, ...]) -> Descriptor:
    payer, payee, operator, token, salt, authorized_signer, nonce_hash = texts
    return Descriptor(
        payer=read_party(payer, "descriptor.payer"),
        payee=read_party(payee, "descriptor.payee"),
        operator=read_address(operator, "descriptor.operator"),
        token=read_party(token, "descriptor.token"),
        salt=read_word(salt, "descriptor.salt"),
        authorized_signer=read_address(authorized_signer, "descriptor.authorizedSigner"),
        expiring_nonce_hash=read_word(nonce_hash, "descriptor.expiringNonceHash"),
    )


def encode_descriptor(descriptor: Descriptor) -> bytes:
    """The descriptor as calldata: seven words."""
    return b"".join(
        encode_address(value) if len(value) == len(ZERO_ADDRESS) else bytes.fromhex(value[2:])
        for value in descriptor._values()
    )


def decode_descriptor(words: tuple[bytes, ...]) -> Descriptor:
    """The descriptor in seven words. Raises BadTransaction."""
    if len(words) != DESCRIPTOR_WORDS or any(len(word) != WORD for word in words):
        raise BadTransaction("a descriptor is seven words")
    payer, payee, operator, token, salt, authorized_signer, nonce_hash = words
    return Descriptor(
        payer=decode_address(payer),
        payee=decode_address(payee),
        operator=decode_address(operator),
        token=decode_address(token),
        salt=to_hex(salt),
        authorized_signer=decode_address(authorized_signer),
        expiring_nonce_hash=to_hex(nonce_hash),
    )


@lru_cache(maxsize=KEPT_DESCRIPTORS)
def channel_id(escrow: Escrow, descriptor: Descriptor) -> str:
    """The id of a v2 channel, lower-case hex (TSES-011)."""
    place = encode_address(escrow.address) + encode_uint256(escrow.chain_id)  # T07
    return to_hex(keccak256(encode_descriptor(descriptor) + place))


@lru_cache(maxsize=KEPT_DESCRIPTORS)
def channel_ref(escrow: Escrow, descriptor: Descriptor) -> ChannelRef:
    """How to speak of a v2 channel. Raises UsageError for an escrow of another protocol."""
    if escrow.version != V2:
        raise UsageError("only v2 channels have descriptors")
    return ChannelRef(escrow, channel_id(escrow, descriptor), descriptor)


def read_channel_ref(escrow: Escrow, value: object) -> ChannelRef:
    """The v2 channel of a descriptor as it stands in JSON. Raises UsageError, VerificationFailed.

    Vouchers bring the same descriptor again and again, so the same texts are read once.
    """
    return _known_ref(escrow, _texts(value))


@lru_cache(maxsize=KEPT_DESCRIPTORS)
def _known_ref(escrow: Escrow, texts: tuple[str, ...]) -> ChannelRef:
    return channel_ref(escrow, _descriptor(texts))


@dataclass(frozen=True, slots=True)
class StreamChannel:
    """The terms of a v1 channel as it is opened; the contract keeps all but the salt (32 bytes as lower-case hex)."""

    payer: str
    payee: str
    token: str
    salt: str
    authorized_signer: str

    @property
    def signer(self) -> str:
        """Whose vouchers count."""
        return expected_signer(self.payer, self.authorized_signer)


def stream_channel_id(escrow: Escrow, channel: StreamChannel) -> str:
    """The id of a v1 channel, lower-case hex (TSES-009)."""
    words = (
        encode_address(channel.payer),
        encode_address(channel.payee),
        encode_address(channel.token),
        bytes.fromhex(channel.salt[2:]),
        encode_address(channel.authorized_signer),
        encode_address(escrow.address),  # T07
        encode_uint256(escrow.chain_id),
    )
    return to_hex(keccak256(b"".join(words)))


def expiring_nonce_hash(tx: TempoTransaction, sender: str) -> str:
    """What ties a v2 channel to the transaction that opens it: the hash of what its sender signs, and of the sender.

    The sponsor and the fee token of a sponsored transaction are not part of it, so the payer knows it before the
    sponsor has signed (TIP-1034 "Channel Identity").
    """
    return to_hex(keccak256(encode_for_signing(tx) + address_bytes(sender)))
