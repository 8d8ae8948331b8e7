"""Lookup tables for payouts among more recipients than a transaction can name (SSES "distribute").

Naming a recipient costs a transaction 33 bytes, its share 34 more; with the ninth or tenth recipient 1,232 bytes are
full. So the accounts of such a payout are first written to a table of the chain, at our cost, and then named by one
byte each. The address of a table is known before it is there: the transactions that make it and the one that uses it
are signed and recorded together. F09

Nothing of ours can land any more when its blockhash is long dead. Then a table is deactivated, later closed, and its
rent is ours again; by its first address, which stands in no other table, we know it for one that was made here.
"""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.budget import build_unit_limit
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.lookup import (
    AUTHORITY_AT,
    COOL_DOWN_SLOTS,
    HAS_AUTHORITY,
    TableAccount,
    build_close_table,
    build_create_table,
    build_deactivate_table,
    build_extend_table,
    derive_table,
    read_table,
)
from coinslot.chains.solana.message import Table, build_message, sign_partially
from coinslot.chains.solana.programs import LOOKUP_PROGRAM
from coinslot.chains.solana.rpc import Commitment, Memcmp, accounts, latest_blockhash, program_accounts, slot
from coinslot.chains.solana.sending import await_status, send_transaction
from coinslot.chains.solana.signature import Key
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, ChainError, RpcUnreachable
from coinslot.methods.solana.session.channel import event_authority
from coinslot.methods.solana.session.parcel import Step

# Payouts among so many are named in full, in a transaction of their own.
FEW_SPLITS = 8
# 640 bytes of addresses in a transaction of 1,232.
EXTEND_AT_ONCE = 20
# Creating derives an address and allocates twice; both were measured at 12,000.
TABLE_UNITS = 30_000
# Ten minutes at 0.4 s; a parcel dies with its blockhash after one.
IN_USE_SLOTS = 1_500
# 36 bytes each, next to some 200 of the transaction itself.
AT_ONCE = 20


def plan_table(program: str, steps: Sequence[Step], authority: str, at_slot: int) -> tuple[Table, list[Step]]:
    """A table of all that these steps can look up, and the steps that make it. Raises UsageError."""
    address, _ = derive_table(authority, at_slot)
    calls = [call for step in steps for call in step.instructions]
    never = {authority} | {call.program for call in calls}
    never |= {account.address for call in calls for account in call.accounts if account.signer}
    wanted = dict.fromkeys((event_authority(program),))
    wanted |= dict.fromkeys(account.address for call in calls for account in call.accounts)
    addresses = tuple(each for each in wanted if each not in never)
    making = [Step((build_create_table(authority, at_slot),), TABLE_UNITS)]
    for first in range(0, len(addresses), EXTEND_AT_ONCE):
        extend = build_extend_table(address, authority, addresses[first : first + EXTEND_AT_ONCE])
        making.append(Step((extend,), TABLE_UNITS))
    return Table(address, addresses), making


def require_filled(url: str, tables: Sequence[Table], commitment: Commitment) -> Flow[None]:
    """That the chain's tables say what was meant. Two payouts that were made in one slot have a table of one address,
    and who filled it second would be paying out another channel: it must not be sent, and is made anew when it is dead.

    Raises RpcUnreachable for one that is not to be seen yet, ChainError for one that says something else.
    """
    found = yield from accounts(url, [one.address for one in tables], commitment=commitment)
    for table, account in zip(tables, found, strict=True):
        if account is None:
            raise RpcUnreachable(f"the lookup table {table.address} is not to be seen yet")
        try:
            listed = read_table(account.owner, account.data).addresses
        except BadTransaction as error:
            raise ChainError(f"the lookup table {table.address} can't be read: {error}") from None
        if listed[: len(table.addresses)] != table.addresses:  # T30
            raise ChainError(f"the lookup table {table.address} was filled by another payout; this one is made anew")


def collect_tables(url: str, program: str, payer: Key, commitment: Commitment) -> Flow[int]:
    """End tables that nothing of ours can use any more, and take the rent of ended ones back. How many were closed.

    Raises ChainError.
    """
    where = (Memcmp(AUTHORITY_AT, HAS_AUTHORITY + address_bytes(payer.address)),)
    found = yield from program_accounts(url, LOOKUP_PROGRAM, where=where, commitment=commitment)
    newest = yield from slot(url, commitment=commitment)
    ends: list[Instruction] = []
    closed: list[Instruction] = []
    for each in found:
        table = _ours(program, each.owner, each.data)
        if table is None:  # whoever holds this key may have tables of its own
            continue
        if table.deactivated_slot is not None and newest > table.deactivated_slot + COOL_DOWN_SLOTS:
            closed.append(build_close_table(each.address, payer.address))
        elif table.deactivated_slot is None and newest > table.extended_slot + IN_USE_SLOTS:  # F09
            ends.append(build_deactivate_table(each.address, payer.address))
    calls = (closed + ends)[:AT_ONCE]
    if calls:
        recent = yield from latest_blockhash(url, commitment=commitment)
        limit = build_unit_limit(TABLE_UNITS * len(calls))
        raw = sign_partially(build_message(payer.address, [limit, *calls], recent.blockhash), (payer,))
        yield from await_status(
            url, (yield from send_transaction(url, raw, commitment=commitment)), commitment=commitment
        )
    return min(len(closed), AT_ONCE)


def _ours(program: str, owner: str, data: bytes) -> TableAccount | None:
    try:
        table = read_table(owner, data)
    except BadTransaction:
        return None
    return table if table.addresses[:1] == (event_authority(program),) else None
