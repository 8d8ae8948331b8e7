"""Who gets what of a channel's money: splits, their hash, the program's arithmetic (SSES "Distribution Splits").

    preimage = count (u32 LE) || (recipient (32) || share in basis points (u16 LE)) * count     hash = sha256(preimage)

The payee gets the share that is left. Every payment is the difference of two rounded-down totals, so what rounding
kept back is paid as soon as it makes a whole unit; what is left at the very end goes to the program's treasury.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from coinslot.chains.solana.address import ADDRESS_BYTES, address_bytes, address_text
from coinslot.chains.solana.instruction import U64_MAX, pack_u16, pack_u32, unpack
from coinslot.errors import BadTransaction, UsageError

# Limits of the program; shares are hundredths of a percent.
MAX_RECIPIENTS = 32
# What fits in an opening (SSES-086 names 32, which can't be opened): each split is 34 bytes of its data, and no table
# shortens data. Of 1,232 bytes 719 are gone without any split where the server pays the fee and signs the vouchers:
#   129 two signatures | 7 version, header, counts | 480 fifteen accounts of 32 bytes | 32 blockhash
#   20 limit and price of compute units | 51 open: its program, fourteen places, head and number of the splits
# and 1,232 - 719 = 513 = 15 * 34 + 3. A payer that pays for itself has room for up to 19.
MAX_SPLITS = 15
TOTAL_BPS = 10_000
_ENTRY = ADDRESS_BYTES + 2


@dataclass(frozen=True, slots=True)
class Split:
    """A recipient and its share in basis points, 1 to 10,000."""

    recipient: str
    share_bps: int


@dataclass(frozen=True, slots=True)
class Payout:
    """What one distribution pays, in base units: the recipients in the order of the splits, then the payee."""

    recipients: tuple[int, ...]
    payee_units: int

    @property
    def total_units(self) -> int:
        """All of it."""
        return sum(self.recipients) + self.payee_units


def check_splits(splits: Sequence[Split], channel: str | None = None) -> None:
    """That the program takes these splits, for this channel if it is known. Raises UsageError."""
    if len(splits) > MAX_RECIPIENTS:
        raise UsageError(f"a channel has at most {MAX_RECIPIENTS} split recipients")
    if any(type(split.share_bps) is not int or not 0 < split.share_bps <= TOTAL_BPS for split in splits):
        raise UsageError(f"the share of a split is from 1 to {TOTAL_BPS} basis points")
    if sum(split.share_bps for split in splits) > TOTAL_BPS:
        raise UsageError(f"the shares of all splits are more than {TOTAL_BPS} basis points")
    if len({split.recipient for split in splits}) != len(splits):
        raise UsageError("a recipient stands twice in the splits")
    if any(split.recipient == channel for split in splits):
        raise UsageError("a channel can't be a recipient of its own money")


def preimage(splits: Sequence[Split]) -> bytes:
    """The preimage. Raises UsageError."""
    check_splits(splits)
    entries = [address_bytes(split.recipient) + pack_u16(split.share_bps) for split in splits]
    return pack_u32(len(splits)) + b"".join(entries)


def read_preimage(data: bytes) -> tuple[Split, ...]:
    """The splits of a whole preimage. Raises BadTransaction."""
    count = unpack(data, 0, 4)
    if count > MAX_RECIPIENTS or len(data) != 4 + count * _ENTRY:  # T31
        raise BadTransaction("the splits are not as long as they say")
    splits = tuple(
        Split(address_text(data[at : at + ADDRESS_BYTES]), unpack(data, at + ADDRESS_BYTES, 2))
        for at in range(4, len(data), _ENTRY)
    )
    try:
        check_splits(splits)
    except UsageError as error:
        raise BadTransaction(str(error)) from error
    return splits


def distribution_hash(splits: Sequence[Split]) -> bytes:
    """The 32 bytes that a channel keeps of its splits. Raises UsageError."""
    return sha256(preimage(splits)).digest()


def payouts(splits: Sequence[Split], settled_units: int, watermark_units: int) -> Payout:
    """What `distribute` pays when a channel's watermark goes up to what is settled. Raises UsageError."""
    check_splits(splits)
    if not 0 <= watermark_units <= settled_units <= U64_MAX:
        raise UsageError("what is paid out is not more than what is settled, and both fit in a u64")

    def due(share_bps: int) -> int:
        return settled_units * share_bps // TOTAL_BPS - watermark_units * share_bps // TOTAL_BPS

    rest = TOTAL_BPS - sum(split.share_bps for split in splits)
    return Payout(tuple(due(split.share_bps) for split in splits), due(rest))


def dust(splits: Sequence[Split], settled_units: int) -> int:
    """The base units that rounding leaves for the treasury when a channel ends. Raises UsageError."""
    return settled_units - payouts(splits, settled_units, 0).total_units
