"""The Ed25519 precompile: one signature over one message that stands in the instruction itself.

    0   count 1, padding 0
    2   offsets, seven u16: signature 48, its instruction; key 16, its instruction; message 112, size, its instruction
    16  public key (32)        48  signature (64)        112  message

An index of 0xffff means "this instruction". Every other layout is refused: offsets that point into another instruction
let the runtime verify one message while a program reads another.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from coinslot.chains.solana.address import ADDRESS_BYTES, address_bytes, address_text
from coinslot.chains.solana.instruction import Instruction, expect_accounts
from coinslot.chains.solana.programs import ED25519_PROGRAM
from coinslot.chains.solana.signature import SIGNATURE_BYTES
from coinslot.errors import BadTransaction, UsageError

_HEAD = struct.Struct("<BBHHHHHHH")
_KEY_AT = _HEAD.size
_SIGNATURE_AT = _KEY_AT + ADDRESS_BYTES
_MESSAGE_AT = _SIGNATURE_AT + SIGNATURE_BYTES
_HERE = 0xFFFF
# More than this can't stand in a transaction of 1232 bytes.
MAX_MESSAGE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A message and its signature, which the runtime verifies before any program runs."""

    signer: str
    signature: bytes
    message: bytes


def build_ed25519(signed: SignedMessage) -> Instruction:
    """Have the runtime verify one signature. Raises UsageError for wrong sizes; does not verify."""
    if len(signed.signature) != SIGNATURE_BYTES:
        raise UsageError("a signature is 64 bytes")
    if len(signed.message) > MAX_MESSAGE_BYTES:
        raise UsageError(f"a message that is verified on chain has at most {MAX_MESSAGE_BYTES} bytes")
    return Instruction(
        ED25519_PROGRAM,
        (),
        _head(len(signed.message)) + address_bytes(signed.signer) + signed.signature + signed.message,
    )


def read_ed25519(instruction: Instruction) -> SignedMessage:
    """Exactly the canonical layout above. Raises BadTransaction; does not verify the signature."""
    if instruction.program != ED25519_PROGRAM:
        raise BadTransaction("ed25519: another program is called")
    expect_accounts(instruction, "ed25519", ())
    data = instruction.data
    size = len(data) - _MESSAGE_AT
    if not 0 <= size <= MAX_MESSAGE_BYTES or data[:_KEY_AT] != _head(size):
        raise BadTransaction("ed25519: not one signature over one message in its canonical layout")
    return SignedMessage(address_text(data[_KEY_AT:_SIGNATURE_AT]), data[_SIGNATURE_AT:_MESSAGE_AT], data[_MESSAGE_AT:])


def _head(size: int) -> bytes:
    return _HEAD.pack(1, 0, _SIGNATURE_AT, _HERE, _KEY_AT, _HERE, _MESSAGE_AT, size, _HERE)
