"""What either side keeps of a channel besides its amounts: all that it takes to speak of it to its escrow, as JSON.

A channel's id is computed from these terms whenever they are read, so that a record that was changed is no record. T08
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeAlias

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.core.canonical import Json, canonical, parse_object
from coinslot.errors import MalformedHeader, UsageError
from coinslot.intents.acts import Held
from coinslot.intents.members import read_object
from coinslot.methods.tempo.paying import NAME
from coinslot.methods.tempo.session.channel import (
    ChannelRef,
    Descriptor,
    StreamChannel,
    channel_ref,
    read_descriptor,
    stream_channel_id,
)
from coinslot.methods.tempo.session.escrow import V2, VERSIONS, Escrow
from coinslot.methods.tempo.session.fields import read_address, read_chain_id, read_party, read_word
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.tokens import network

ChannelTerms: TypeAlias = Descriptor | StreamChannel

# Records of channels come again with each voucher; about 3 KB each.
KEPT_RECORDS = 1024
# Pinned escrows, and those of an owner's settings.
KEPT_SCHEMES = 64


@dataclass(frozen=True, slots=True)
class Recorded:
    """A channel and the terms that its id stands for."""

    ref: ChannelRef
    terms: ChannelTerms

    @property
    def operator(self) -> str:
        """Who may act for the payee, or the zero address."""
        return self.terms.operator if isinstance(self.terms, Descriptor) else ZERO_ADDRESS

    def held(self, deposit_units: int) -> Held:
        """A payer's first record of the channel: nothing signed yet, and nothing known of where it stands."""
        chain = network(self.ref.escrow.chain_id)
        return Held(
            key=f"{chain}/{self.ref.id}",
            channel_id=self.ref.id,
            network=chain,
            method=NAME,
            payer=self.terms.payer,
            payee=self.terms.payee,
            asset=f"{chain}/{self.terms.token}",
            signer=self.terms.signer,
            deposit_units=deposit_units,
            state=self.encode(),
        )

    def encode(self) -> bytes:
        """As it is kept; `read_record` reads the same."""
        escrow, terms = self.ref.escrow, self.terms
        told: dict[str, Json] = {
            "chainId": escrow.chain_id,
            "escrow": escrow.address,
            "protocol": escrow.version.name,
        }
        if isinstance(terms, Descriptor):
            told["descriptor"] = terms.members()
        else:
            told["channel"] = {
                "payer": terms.payer,
                "payee": terms.payee,
                "token": terms.token,
                "salt": terms.salt,
                "authorizedSigner": terms.authorized_signer,
            }
        return canonical(told)


def record(escrow: Escrow, terms: ChannelTerms) -> Recorded:
    """The record of a channel of these terms on this escrow. Raises UsageError if they are of different protocols."""
    if isinstance(terms, Descriptor):
        return Recorded(channel_ref(escrow, terms), terms)
    if escrow.version == V2:
        raise UsageError("a v2 channel is named by its descriptor, and this one has none")
    return Recorded(ChannelRef(escrow, stream_channel_id(escrow, terms)), terms)


class Opened(Protocol):
    """What opens a channel: a call, or the event of it."""

    @property
    def payee(self) -> str:
        """Who is paid."""

    @property
    def token(self) -> str:
        """The token's address."""

    @property
    def salt(self) -> str:
        """32 bytes as lower-case hex."""

    @property
    def authorized_signer(self) -> str:
        """Whose vouchers count, or the zero address."""


def record_opened(ref: ChannelRef, payer: str, opened: Opened) -> Recorded:
    """The record of a channel that was opened so. Raises UsageError if its id is not that of its terms."""
    if ref.descriptor is not None:
        return record(ref.escrow, ref.descriptor)
    terms = StreamChannel(payer, opened.payee, opened.token, opened.salt, opened.authorized_signer)
    recorded = record(ref.escrow, terms)
    if recorded.ref != ref:  # T08
        raise UsageError("the channel's id is not that of its terms")
    return recorded


@lru_cache(maxsize=KEPT_RECORDS)
def read_record(state: bytes) -> Recorded:
    """A record as it was kept. Raises UsageError, which never repeats it."""
    try:
        told = parse_object(state)
        version = VERSIONS.get(str(told.get("protocol")))
        if version is None:
            raise UsageError("protocol is neither v1 nor v2")
        chain_id = read_chain_id(told.get("chainId"), "chainId")
        escrow = Escrow(version, chain_id, read_party(told.get("escrow"), "escrow"))
        terms = read_descriptor(told.get("descriptor")) if version == V2 else _stream_channel(told.get("channel"))
        return record(escrow, terms)
    except (MalformedHeader, UsageError) as error:
        raise UsageError(f"not the record of a tempo channel: {error}") from None


def _stream_channel(value: object) -> StreamChannel:
    given = read_object(value, "channel")
    return StreamChannel(
        payer=read_party(given.get("payer"), "channel.payer"),
        payee=read_party(given.get("payee"), "channel.payee"),
        token=read_party(given.get("token"), "channel.token"),
        salt=read_word(given.get("salt"), "channel.salt"),
        authorized_signer=read_address(given.get("authorizedSigner"), "channel.authorizedSigner"),
    )


@lru_cache(maxsize=KEPT_SCHEMES)
def scheme_of(escrow: Escrow) -> VoucherScheme:
    """How vouchers of an escrow are signed; made once, since its domain never changes."""
    return VoucherScheme(escrow)
