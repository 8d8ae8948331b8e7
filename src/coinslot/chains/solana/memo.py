"""The Memo program (version 2): text in the log of a transaction."""

from __future__ import annotations

from dataclasses import dataclass

from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.instruction import signer as signing
from coinslot.chains.solana.programs import MEMO_PROGRAM
from coinslot.errors import BadTransaction, UsageError

# What the program's log can hold beside a transfer in a transaction of 1232 bytes; the charge document says the same.
MAX_MEMO_BYTES = 566


@dataclass(frozen=True, slots=True)
class Memo:
    """The text, and who had to sign for it."""

    text: str
    signers: tuple[str, ...] = ()


def build_memo(memo: Memo) -> Instruction:
    """Say a text. Raises UsageError: more than 566 bytes, or no valid Unicode."""
    try:
        data = memo.text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("a memo is valid Unicode") from error
    if len(data) > MAX_MEMO_BYTES:
        raise UsageError(f"a memo has at most {MAX_MEMO_BYTES} bytes")
    return Instruction(MEMO_PROGRAM, tuple(signing(address) for address in memo.signers), data)


def read_memo(instruction: Instruction) -> Memo:
    """Exactly a memo: UTF-8, at most 566 bytes, and every account given to it signs. Raises BadTransaction."""
    if instruction.program != MEMO_PROGRAM:
        raise BadTransaction("memo: another program is called")
    if len(instruction.data) > MAX_MEMO_BYTES:
        raise BadTransaction(f"memo: more than {MAX_MEMO_BYTES} bytes")
    if not all(account.signer for account in instruction.accounts):
        raise BadTransaction("memo: an account doesn't sign")
    try:
        text = instruction.data.decode()
    except UnicodeDecodeError as error:
        raise BadTransaction("memo: not UTF-8") from error
    return Memo(text, tuple(account.address for account in instruction.accounts))
