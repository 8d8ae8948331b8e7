"""Asking a Solana node about the chain: typed questions, strictly read answers. Every function is a flow (see `drive`).

    RpcUnreachable   no answer, or one that can't be what it claims to be: whether the node acted is not known
    RpcRefused       the node said no

What became of transactions, and sending them, is in `sending`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.answers import elements, members, parse_base64, parse_bool, parse_i64, parse_u64, read
from coinslot.chains.solana.tokens import Mint, TokenAccount, read_mint, read_token_account
from coinslot.drive import Flow, rpc
from coinslot.errors import RpcUnreachable, UsageError

Commitment: TypeAlias = Literal["processed", "confirmed", "finalized"]

# What getMultipleAccounts takes in one call.
MAX_ACCOUNTS = 100
# Accounts of a program that we read in one answer; channels of one payer are a handful.
MAX_PROGRAM_ACCOUNTS = 10_000


@dataclass(frozen=True, slots=True)
class Blockhash:
    """A recent blockhash, the block height up to which it is good, and the slot at which the node said so."""

    blockhash: str
    last_valid_height: int
    slot: int


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the chain as the node saw it at `slot`; `owner` is the program that may write it."""

    address: str
    owner: str
    lamports: int
    data: bytes
    executable: bool
    slot: int


@dataclass(frozen=True, slots=True)
class Memcmp:
    """Only accounts whose data has these bytes at this offset."""

    offset: int
    data: bytes


def genesis_hash(url: str) -> Flow[str]:
    """The hash by which a cluster is known, base58."""
    answer = yield from rpc(url, "getGenesisHash", [])
    return read("getGenesisHash", "hash", parse_address, answer)


def slot(url: str, *, commitment: Commitment = "confirmed") -> Flow[int]:
    """The newest slot."""
    answer = yield from rpc(url, "getSlot", [{"commitment": commitment}])
    return read("getSlot", "slot", parse_u64, answer)


def block_height(url: str, *, commitment: Commitment = "confirmed") -> Flow[int]:
    """The number of blocks so far: what a blockhash's last valid height is compared with."""
    answer = yield from rpc(url, "getBlockHeight", [{"commitment": commitment}])
    return read("getBlockHeight", "height", parse_u64, answer)


def block_time(url: str, slot: int) -> Flow[int | None]:
    """When a slot's block was made, whole seconds since 1970, or None where the node doesn't know."""
    answer = yield from rpc(url, "getBlockTime", [slot])
    return None if answer is None else read("getBlockTime", "time", parse_i64, answer)


def latest_blockhash(url: str, *, commitment: Commitment = "confirmed") -> Flow[Blockhash]:
    """A blockhash for a new transaction."""
    method = "getLatestBlockhash"
    at, value = in_context(method, (yield from rpc(url, method, [{"commitment": commitment}])))
    fields = members(method, value)
    return Blockhash(
        read(method, "blockhash", parse_address, fields.get("blockhash")),
        read(method, "lastValidBlockHeight", parse_u64, fields.get("lastValidBlockHeight")),
        at,
    )


def is_blockhash_valid(url: str, blockhash: str, *, commitment: Commitment = "confirmed") -> Flow[bool]:
    """Whether a transaction with this blockhash can still be taken."""
    method = "isBlockhashValid"
    _, value = in_context(method, (yield from rpc(url, method, [blockhash, {"commitment": commitment}])))
    return read(method, "value", parse_bool, value)


def minimum_balance(url: str, size: int) -> Flow[int]:
    """The lamports that an account of `size` bytes must hold to stay (rent exemption)."""
    answer = yield from rpc(url, "getMinimumBalanceForRentExemption", [size])
    return read("getMinimumBalanceForRentExemption", "lamports", parse_u64, answer)


def balance(url: str, address: str, *, commitment: Commitment = "confirmed") -> Flow[int]:
    """The lamports of an account; 0 where there is none."""
    method = "getBalance"
    _, value = in_context(method, (yield from rpc(url, method, [address, {"commitment": commitment}])))
    return read(method, "lamports", parse_u64, value)


def account(url: str, address: str, *, commitment: Commitment = "confirmed") -> Flow[Account | None]:
    """An account, or None where there is none."""
    method = "getAccountInfo"
    params = [address, {"encoding": "base64", "commitment": commitment}]
    at, value = in_context(method, (yield from rpc(url, method, params)))
    return None if value is None else read_account(method, address, value, at)


def accounts(
    url: str, addresses: Sequence[str], *, commitment: Commitment = "confirmed"
) -> Flow[tuple[Account | None, ...]]:
    """Up to 100 accounts as they were at one slot, None where there is none. Raises UsageError for more."""
    if len(addresses) > MAX_ACCOUNTS:
        raise UsageError(f"a node tells at most {MAX_ACCOUNTS} accounts at once")
    method = "getMultipleAccounts"
    params = [list(addresses), {"encoding": "base64", "commitment": commitment}]
    at, value = in_context(method, (yield from rpc(url, method, params)))
    found = elements(method, "value", value, MAX_ACCOUNTS)
    if len(found) != len(addresses):
        raise RpcUnreachable(f"{method}: not as many accounts as were asked for")
    return tuple(
        None if each is None else read_account(method, address, each, at)
        for address, each in zip(addresses, found, strict=True)
    )


def program_accounts(
    url: str,
    program: str,
    *,
    size: int | None = None,
    where: Sequence[Memcmp] = (),
    commitment: Commitment = "confirmed",
) -> Flow[tuple[Account, ...]]:
    """The accounts a program owns, of a data size and with bytes at places. Raises RpcUnreachable for over 10,000."""
    method = "getProgramAccounts"
    filters: list[object] = [] if size is None else [{"dataSize": size}]
    filters += [
        {"memcmp": {"offset": each.offset, "bytes": b64encode(each.data).decode(), "encoding": "base64"}}
        for each in where
    ]
    config = {"encoding": "base64", "commitment": commitment, "withContext": True, "filters": filters}
    at, value = in_context(method, (yield from rpc(url, method, [program, config])))
    found = []
    for each in elements(method, "value", value, MAX_PROGRAM_ACCOUNTS):
        fields = members(method, each)
        address = read(method, "pubkey", parse_address, fields.get("pubkey"))
        found.append(read_account(method, address, fields.get("account"), at))
    for told in found:  # T33: a node may ignore a filter; who then reads the account must not
        if told.owner != program or (size is not None and len(told.data) != size):
            raise RpcUnreachable(f"{method}: an account that was not asked for")
        if any(told.data[each.offset : each.offset + len(each.data)] != each.data for each in where):
            raise RpcUnreachable(f"{method}: an account that was not asked for")
    return tuple(found)


def token_account(url: str, address: str, *, commitment: Commitment = "confirmed") -> Flow[TokenAccount | None]:
    """A token account, or None where no account is. Raises RpcUnreachable for an account that is something else."""
    found = yield from account(url, address, commitment=commitment)
    return None if found is None else read("getAccountInfo", "token account", _as_token_account, found)


def mint(url: str, address: str, *, commitment: Commitment = "confirmed") -> Flow[Mint | None]:
    """A mint, or None where no account is. Raises RpcUnreachable for an account that is something else."""
    found = yield from account(url, address, commitment=commitment)
    return None if found is None else read("getAccountInfo", "mint", _as_mint, found)


def _as_token_account(found: Account) -> TokenAccount:
    return read_token_account(found.owner, found.data)


def _as_mint(found: Account) -> Mint:
    return read_mint(found.owner, found.data)


# --- reading answers -----------------------------------------------------------------------------


def read_account(method: str, address: str, answer: object, at: int) -> Account:
    """An account in the node's JSON with base64 data. Raises RpcUnreachable."""
    fields = members(method, answer)
    return Account(
        address,
        owner=read(method, "owner", parse_address, fields.get("owner")),
        lamports=read(method, "lamports", parse_u64, fields.get("lamports")),
        data=read(method, "data", parse_base64, fields.get("data")),
        executable=read(method, "executable", parse_bool, fields.get("executable")),
        slot=at,
    )


def in_context(method: str, answer: object) -> tuple[int, object]:
    """The slot at which an answer holds, and the answer."""
    fields = members(method, answer)
    if "value" not in fields:
        raise RpcUnreachable(f"{method}: the answer has no value")
    context = members(method, fields.get("context"))
    return read(method, "slot", parse_u64, context.get("slot")), fields["value"]
