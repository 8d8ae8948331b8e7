"""What either side keeps of a channel besides its amounts: all that it takes to speak of it to the chain, as JSON.

The id is derived from these parts whenever they are read, under the channel's own program, so that a record that was
changed is no record. T08

A server keeps of the proof of a payer only a hash, and a payer keeps the challenge that its proofs must echo.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.programs import TOKEN_PROGRAMS
from coinslot.core.canonical import Json, canonical, parse_object
from coinslot.errors import MalformedHeader, UsageError
from coinslot.intents.acts import Held
from coinslot.methods.solana.session.channel import Seeds, derive_channel
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.fields import (
    MAX_IDLE_S,
    read_address,
    read_count,
    read_flag,
    read_text,
    read_units,
)
from coinslot.methods.solana.session.terms import read_splits, splits_members

NAME = "solana"
# Records of channels come again with each voucher; about 2 KB each.
KEPT_RECORDS = 4096
# A challenge as an Authorization header carries it back; headers are shorter than this.
MAX_ECHO = 16_384


def channel_key(network: str, channel_id: str) -> str:
    """The name of a channel in every store. Base58 and these networks' names know case, so the id goes in as hex."""
    return f"{network}/{address_bytes(channel_id).hex()}".lower()


def proof_hash(signature: bytes) -> str:
    """What is kept of the proof of a payer: enough to know it again, nothing to present. Hex."""
    return hashlib.sha256(signature).hexdigest()


@dataclass(frozen=True, slots=True)
class Recorded:
    """A channel of the channel program. `network` is a CAIP-2 id; addresses are base58, times seconds.

    `idle_s` is what was agreed (None: the payer does not know yet). Where the server signs the vouchers, `operator` is
    true and `challenge_id` names the challenge of the opening; `proof` is the server's (see proof_hash), `echo` the
    payer's: the JSON text of that challenge.
    """

    network: str
    program: str
    seeds: Seeds
    token_program: str
    rent_payer: str
    grace_s: int
    splits: tuple[Split, ...] = ()
    idle_s: int | None = None
    operator: bool = False
    challenge_id: str | None = None
    proof: str | None = None
    echo: str | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """The channel's address."""
        return derive_channel(self.program, self.seeds)

    @property
    def key(self) -> str:
        """The channel's name in every store."""
        return channel_key(self.network, self.id)

    def held(self, deposit_units: int) -> Held:
        """A payer's first record of the channel: nothing signed yet, and nothing known of where it stands."""
        return Held(
            key=self.key,
            channel_id=self.id,
            network=self.network,
            method=NAME,
            payer=self.seeds.payer,
            payee=self.seeds.payee,
            asset=f"{self.network}/{self.seeds.mint}",
            signer=self.seeds.authorized_signer,
            deposit_units=deposit_units,
            state=self.encode(),
        )

    def encode(self) -> bytes:
        """As it is kept; `read_record` reads the same."""
        seeds = self.seeds
        told: dict[str, Json] = {
            "network": self.network,
            "program": self.program,
            "payer": seeds.payer,
            "payee": seeds.payee,
            "mint": seeds.mint,
            "authorizedSigner": seeds.authorized_signer,
            "salt": str(seeds.salt),
            "openSlot": str(seeds.open_slot),
            "tokenProgram": self.token_program,
            "rentPayer": self.rent_payer,
            "graceSeconds": self.grace_s,
        }
        optional: tuple[tuple[str, Any], ...] = (
            ("splits", splits_members(self.splits) or None),
            ("idleSeconds", self.idle_s),
            ("operator", True if self.operator else None),
            ("challengeId", self.challenge_id),
            ("proof", self.proof),
            ("echo", self.echo),
        )
        told |= {name: value for name, value in optional if value is not None}
        return canonical(told)


@lru_cache(maxsize=KEPT_RECORDS)
def read_record(state: bytes) -> Recorded:
    """A record as it was kept. Raises UsageError, which never repeats it."""
    try:
        told = parse_object(state)
        return Recorded(
            network=read_text(told.get("network"), "network"),
            program=read_address(told.get("program"), "program"),
            seeds=Seeds(
                payer=read_address(told.get("payer"), "payer"),
                payee=read_address(told.get("payee"), "payee"),
                mint=read_address(told.get("mint"), "mint"),
                authorized_signer=read_address(told.get("authorizedSigner"), "authorizedSigner"),
                salt=read_units(told.get("salt"), "salt"),
                open_slot=read_units(told.get("openSlot"), "openSlot"),
            ),
            token_program=_token_program(told.get("tokenProgram")),
            rent_payer=read_address(told.get("rentPayer"), "rentPayer"),
            grace_s=read_count(told.get("graceSeconds"), "graceSeconds", 1),
            splits=read_splits(told.get("splits"), "splits"),
            idle_s=_optional_idle(told.get("idleSeconds")),
            operator=read_flag(told.get("operator"), "operator"),
            challenge_id=_optional_text(told.get("challengeId"), "challengeId"),
            proof=_optional_text(told.get("proof"), "proof"),
            echo=_optional_text(told.get("echo"), "echo", MAX_ECHO),
        )
    except (MalformedHeader, UsageError) as error:
        raise UsageError(f"not the record of a solana channel: {error}") from None


def _token_program(value: object) -> str:
    if type(value) is not str or value not in TOKEN_PROGRAMS:
        raise UsageError("tokenProgram is neither SPL Token nor Token-2022")
    return value


def _optional_idle(value: object) -> int | None:
    return None if value is None else read_count(value, "idleSeconds", 1, MAX_IDLE_S)


def _optional_text(value: object, name: str, most: int = 512) -> str | None:
    return None if value is None else read_text(value, name, most)


def recorded_of(state: bytes, channel_id: str) -> Recorded:
    """The record of this very channel. Raises UsageError. T08"""
    recorded = read_record(state)
    if recorded.id != channel_id:  # T08
        raise UsageError("the record is of another channel")
    return recorded
