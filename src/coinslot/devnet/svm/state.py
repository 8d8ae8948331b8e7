"""A chain's state in a file: what accounts hold, which blockhashes are recent, and the past.

It is written when the chain is closed; one that is killed goes on from where it was started. Programs come with the
devnet and are not in it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from solders.account import Account
from solders.pubkey import Pubkey

from coinslot.devnet.svm.chain import Chain
from coinslot.devnet.svm.record import Record
from coinslot.devnet.svm.slots import Slots
from coinslot.errors import UsageError

# Raised whenever an older file could be misunderstood.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class SavedAccount:
    """One account."""

    address: str
    lamports: int
    owner: str
    executable: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Saved:
    """All that is kept."""

    format: int
    genesis: bytes
    slot: int
    generation: int
    hashes: list[tuple[bytes, int]]
    skew_s: int
    accounts: list[SavedAccount]
    records: list[Record]


def save(chain: Chain, file: Path) -> None:
    """Write the state, whole or not at all."""
    with chain.now():
        slots = chain.slots
        saved = Saved(
            FORMAT,
            slots.genesis,
            slots.slot,
            slots.generation,
            list(slots.hashes.items()),
            chain.skew_s,
            [
                SavedAccount(str(address), account.lamports, str(account.owner), account.executable, account.data)
                for address, account in chain.written().items()
            ],
            list(chain.records.values()),
        )
    new = file.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(saved))
    os.replace(new, file)


def load(file: Path) -> Saved | None:
    """What was kept, or None where nothing was. Raises UsageError for a file that is something else."""
    if not file.exists():
        return None
    try:
        saved = msgspec.json.decode(file.read_bytes(), type=Saved)
    except (msgspec.DecodeError, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} holds no chain that can be read ({error}); nothing was changed") from error
    if saved.format != FORMAT:
        raise UsageError(f"{file} was written by another version of coinslot; nothing was changed")
    return saved


def slots_of(saved: Saved, monotonic: Callable[[], float], slot_s: float) -> Slots:
    """The slots as they were."""
    return Slots(saved.genesis, monotonic, slot_s, saved.slot, saved.generation, dict(saved.hashes))


def restore(chain: Chain, saved: Saved) -> None:
    """Put the kept accounts and the past on a chain that was made with the kept slots."""
    chain.skew_s = saved.skew_s
    # a program's account is only taken when the one that holds its code is there
    for each in sorted(saved.accounts, key=lambda account: account.executable):
        account = Account(each.lamports, each.data, Pubkey.from_string(each.owner), each.executable)
        chain.put(Pubkey.from_string(each.address), account)
    for record in saved.records:
        chain.remember(replace(record, landed_at=0.0))  # the monotonic clock of another process means nothing here
