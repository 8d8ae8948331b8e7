"""What becomes of transactions: tried out, sent, looked for. Every function is a flow (see `drive`).

    RpcUnreachable   no answer, or one that can't be what it claims to be: whether the node acted is not known
    RpcRefused       the node said no

A node is not believed about what we can compute ourselves: what it tells of a transaction must carry its signature.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.answers import (
    Failure,
    elements,
    members,
    parse_base64,
    parse_i64,
    parse_u64,
    read,
    read_failure,
)
from coinslot.chains.solana.instruction import U64_MAX, Instruction
from coinslot.chains.solana.message import MAX_KEYS, Transaction, named, read_transaction
from coinslot.chains.solana.rpc import Account, Commitment, in_context, read_account, slot
from coinslot.chains.solana.signature import parse_signature, signature_text
from coinslot.drive import Flow, now, rpc, sleep
from coinslot.errors import RpcRefused, RpcUnreachable, UsageError
from coinslot.money import parse_units

# A slot is 0.4 s and a confirmation takes a few; the caller then looks the signature up by itself.
CONFIRM_WAIT_S = 30.0
# One look per slot: often enough not to be felt, rare enough for metered nodes.
POLL_S = 0.4
# getSignatureStatuses takes no more at once; getSignaturesForAddress tells no more.
MAX_STATUSES = 256
MAX_SIGNATURES = 1000
# A node cuts its logs at 10 kB; a payment has some dozen lines.
MAX_LOG_LINES = 1024
PREFLIGHT_FAILED = -32002
_ORDER: tuple[Commitment, ...] = ("processed", "confirmed", "finalized")


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    """Where a transaction stands. It may have failed: then its fee was taken and nothing else happened."""

    slot: int
    commitment: Commitment
    failure: Failure | None

    def reached(self, commitment: Commitment) -> bool:
        """Whether it is confirmed at least so far."""
        return _ORDER.index(self.commitment) >= _ORDER.index(commitment)


@dataclass(frozen=True, slots=True)
class SignatureInfo:
    """One of an account's transactions."""

    signature: str
    slot: int
    block_time_s: int | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class TokenBalance:
    """What a token account held before or after a transaction. `owner` and `program` are None where not told."""

    account: str
    mint: str
    owner: str | None
    program: str | None
    amount_units: int
    decimals: int


@dataclass(frozen=True, slots=True)
class Landed:
    """A transaction in a block. `accounts` are all of its accounts, those of lookup tables too, with their lamports.

    A token account that didn't exist before or doesn't exist after has no entry there.
    """

    transaction: Transaction
    slot: int
    block_time_s: int | None
    failure: Failure | None
    fee_lamports: int
    accounts: tuple[str, ...]
    lamports_before: tuple[int, ...]
    lamports_after: tuple[int, ...]
    tokens_before: tuple[TokenBalance, ...]
    tokens_after: tuple[TokenBalance, ...]
    logs: tuple[str, ...]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """Its instructions; of accounts in lookup tables the addresses that the node says it loaded."""
        loaded = self.accounts[len(self.transaction.accounts) :]
        return named(self.transaction, dict(zip(self.transaction.looked_up, loaded, strict=True))).instructions


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a transaction would do now. `accounts` are those asked for, as they would be; None: not there."""

    failure: Failure | None
    logs: tuple[str, ...]
    units: int | None
    accounts: tuple[Account | None, ...]
    slot: int


def signature_statuses(
    url: str, signatures: Sequence[str], *, history: bool = False
) -> Flow[tuple[SignatureStatus | None, ...]]:
    """Where up to 256 transactions stand; None: the node knows no such. Old ones are found with `history` only.

    Raises UsageError for more.
    """
    if len(signatures) > MAX_STATUSES:
        raise UsageError(f"a node tells at most {MAX_STATUSES} statuses at once")
    method = "getSignatureStatuses"
    params = [list(signatures), {"searchTransactionHistory": history}]
    _, value = in_context(method, (yield from rpc(url, method, params)))
    found = elements(method, "value", value, MAX_STATUSES)
    if len(found) != len(signatures):
        raise RpcUnreachable(f"{method}: not as many statuses as were asked for")
    return tuple(None if each is None else _status(method, each) for each in found)


def signatures_for_address(
    url: str, address: str, *, limit: int = MAX_SIGNATURES, before: str | None = None, until: str | None = None
) -> Flow[tuple[SignatureInfo, ...]]:
    """The transactions that name an account, newest first, after `until` and before `before` (signatures)."""
    method = "getSignaturesForAddress"
    config: dict[str, object] = {"limit": limit, "commitment": "confirmed"}
    config |= {name: value for name, value in (("before", before), ("until", until)) if value is not None}
    answer = yield from rpc(url, method, [address, config])
    return tuple(_signature_info(method, each) for each in elements(method, "answer", answer, limit))


def get_transaction(url: str, signature: str, *, commitment: Commitment = "confirmed") -> Flow[Landed | None]:
    """A transaction and what it changed, or None: not known, or not yet confirmed so far."""
    method = "getTransaction"
    config = {"encoding": "base64", "commitment": commitment, "maxSupportedTransactionVersion": 0}
    answer = yield from rpc(url, method, [signature, config])
    return None if answer is None else _landed(method, members(method, answer), signature)


def simulate(
    url: str,
    raw: bytes,
    *,
    verify_signatures: bool = False,
    replace_blockhash: bool = False,
    watch: Sequence[str] = (),
    commitment: Commitment = "confirmed",
) -> Flow[Simulation]:
    """What a transaction would do now. A node can't both verify signatures and replace the blockhash they are over."""
    method = "simulateTransaction"
    config: dict[str, object] = {
        "encoding": "base64",
        "commitment": commitment,
        "sigVerify": verify_signatures,
        "replaceRecentBlockhash": replace_blockhash,
    }
    if watch:
        config["accounts"] = {"encoding": "base64", "addresses": list(watch)}
    at, value = in_context(method, (yield from rpc(url, method, [b64encode(raw).decode(), config])))
    fields = members(method, value)
    units = fields.get("unitsConsumed")
    after = elements(method, "accounts", fields.get("accounts"), len(watch)) if watch else []
    if len(after) != len(watch):
        raise RpcUnreachable(f"{method}: not as many accounts as were asked for")
    return Simulation(
        failure=read(method, "err", read_failure, fields.get("err")),
        logs=_logs(method, fields.get("logs")),
        units=None if units is None else read(method, "unitsConsumed", parse_u64, units),
        accounts=tuple(
            None if each is None else read_account(method, address, each, at)
            for address, each in zip(watch, after, strict=True)
        ),
        slot=at,
    )


# --- the irreversible one ------------------------------------------------------------------------


def send_transaction(
    url: str, raw: bytes, *, skip_preflight: bool = False, commitment: Commitment = "confirmed"
) -> Flow[str]:
    """Hand a signed transaction to the network; its signature, not its end: see `await_status`.

    Sending the same bytes twice does no harm: the chain takes them once. Raises RpcRefused only if the node said no
    and knows no such transaction (`preflight_failure` says why); RpcUnreachable if it is not known whether the
    network has it; BadTransaction or BadSignature for bytes that are none, or that the payer hasn't signed.
    """
    signature = read_transaction(raw).signature
    method = "sendTransaction"
    config = {"encoding": "base64", "skipPreflight": skip_preflight, "preflightCommitment": commitment}
    try:
        answer = yield from rpc(url, method, [b64encode(raw).decode(), config])
    except RpcRefused as refusal:
        # A node refuses what is on the chain already ("already processed"): that is no refusal of ours.
        if (yield from signature_statuses(url, [signature], history=True)) == (None,):
            raise refusal
        return signature
    _own_signature(method, answer, signature)
    return signature


def preflight_failure(refusal: RpcRefused) -> Failure | None:
    """Why a transaction was refused when it was tried out before sending; None for every other refusal."""
    if refusal.code != PREFLIGHT_FAILED or not isinstance(refusal.data, dict):
        return None
    try:
        return read_failure(refusal.data.get("err"))
    except UsageError:
        return None


def await_status(
    url: str, signature: str, *, commitment: Commitment = "confirmed", wait_s: float = CONFIRM_WAIT_S
) -> Flow[SignatureStatus]:
    """Ask for a transaction until it is confirmed so far, well or failed.

    Raises RpcUnreachable after `wait_s` seconds: the end is not known.
    """
    deadline = (yield from now()) + wait_s
    reason: Exception | None = None
    while True:
        try:
            (status,) = yield from signature_statuses(url, [signature])
            if status is not None and status.reached(commitment):
                return status
        except (RpcRefused, RpcUnreachable) as error:  # a node that is behind, or busy: ask again
            reason = error
        if (yield from now()) >= deadline:
            raise RpcUnreachable(f"{signature} is not {commitment} within {wait_s:g} s") from reason
        yield from sleep(POLL_S)


def await_slot(
    url: str, least: int, *, commitment: Commitment = "confirmed", wait_s: float = CONFIRM_WAIT_S
) -> Flow[int]:
    """Ask until the chain is at a slot, or past it; the slot. Raises RpcUnreachable after `wait_s` seconds."""
    deadline = (yield from now()) + wait_s
    while (at := (yield from slot(url, commitment=commitment))) < least:
        if (yield from now()) >= deadline:
            raise RpcUnreachable(f"slot {least} is not {commitment} within {wait_s:g} s")
        yield from sleep(POLL_S)
    return at


# --- reading answers -----------------------------------------------------------------------------


def _status(method: str, answer: object) -> SignatureStatus:
    fields = members(method, answer)
    return SignatureStatus(
        read(method, "slot", parse_u64, fields.get("slot")),
        read(method, "confirmationStatus", _commitment, fields.get("confirmationStatus")),
        read(method, "err", read_failure, fields.get("err")),
    )


def _signature_info(method: str, answer: object) -> SignatureInfo:
    fields = members(method, answer)
    return SignatureInfo(
        signature_text(read(method, "signature", parse_signature, fields.get("signature"))),
        read(method, "slot", parse_u64, fields.get("slot")),
        _block_time(method, fields),
        read(method, "err", read_failure, fields.get("err")),
    )


def _landed(method: str, fields: Mapping[str, object], signature: str) -> Landed:
    raw = read(method, "transaction", parse_base64, fields.get("transaction"))
    transaction = read(method, "transaction", read_transaction, raw)
    _own_signature(method, signature_text(transaction.signatures[0]), signature)
    meta = members(method, fields.get("meta"))
    accounts = _accounts(method, transaction, meta)
    return Landed(
        transaction,
        slot=read(method, "slot", parse_u64, fields.get("slot")),
        block_time_s=_block_time(method, fields),
        failure=read(method, "err", read_failure, meta.get("err")),
        fee_lamports=read(method, "fee", parse_u64, meta.get("fee")),
        accounts=accounts,
        lamports_before=_lamports(method, meta.get("preBalances"), accounts),
        lamports_after=_lamports(method, meta.get("postBalances"), accounts),
        tokens_before=_token_balances(method, meta.get("preTokenBalances"), accounts),
        tokens_after=_token_balances(method, meta.get("postTokenBalances"), accounts),
        logs=_logs(method, meta.get("logMessages")),
    )


def _accounts(method: str, transaction: Transaction, meta: Mapping[str, object]) -> tuple[str, ...]:
    """The keys of the message, then those of tables as the runtime loaded them: as many as were looked up."""
    own = tuple(account.address for account in transaction.accounts)
    if not transaction.lookups:
        return own
    loaded = members(method, meta.get("loadedAddresses"))
    groups = (
        ("writable", sum(len(look.writable) for look in transaction.lookups)),
        ("readonly", sum(len(look.readonly) for look in transaction.lookups)),
    )
    for name, count in groups:
        found = elements(method, name, loaded.get(name), MAX_KEYS)
        if len(found) != count:
            raise RpcUnreachable(f"{method}: not as many addresses as were looked up")
        own += tuple(read(method, name, parse_address, each) for each in found)
    return own


def _lamports(method: str, answer: object, accounts: tuple[str, ...]) -> tuple[int, ...]:
    found = elements(method, "balances", answer, len(accounts))
    if len(found) != len(accounts):
        raise RpcUnreachable(f"{method}: not as many balances as accounts")
    return tuple(read(method, "balance", parse_u64, each) for each in found)


def _token_balances(method: str, answer: object, accounts: tuple[str, ...]) -> tuple[TokenBalance, ...]:
    balances = tuple(
        _token_balance(method, members(method, each), accounts)
        for each in elements(method, "token balances", answer, len(accounts))
    )
    if len({each.account for each in balances}) != len(balances):
        raise RpcUnreachable(f"{method}: two token balances of one account")
    return balances


def _token_balance(method: str, fields: Mapping[str, object], accounts: tuple[str, ...]) -> TokenBalance:
    place = read(method, "accountIndex", parse_u64, fields.get("accountIndex"))
    if place >= len(accounts):
        raise RpcUnreachable(f"{method}: a token balance of no account")
    amount = members(method, fields.get("uiTokenAmount"))
    decimals = read(method, "decimals", parse_u64, amount.get("decimals"))
    if decimals > 255:
        raise RpcUnreachable(f"{method}: decimals are one byte")
    owner, program = fields.get("owner"), fields.get("programId")
    return TokenBalance(
        accounts[place],
        mint=read(method, "mint", parse_address, fields.get("mint")),
        owner=None if owner is None else read(method, "owner", parse_address, owner),
        program=None if program is None else read(method, "programId", parse_address, program),
        amount_units=read(method, "amount", _amount, amount.get("amount")),
        decimals=decimals,
    )


def _amount(value: object) -> int:
    amount = parse_units(value)
    if amount > U64_MAX:
        raise UsageError("an amount is at most 2**64 - 1")
    return amount


def _logs(method: str, answer: object) -> tuple[str, ...]:
    """The lines; none where the node doesn't record them."""
    if answer is None:
        return ()
    lines = elements(method, "logs", answer, MAX_LOG_LINES)
    return tuple(read(method, "log", _line, line) for line in lines)


def _line(value: object) -> str:
    if type(value) is not str:
        raise UsageError("a line of a log is text")
    return value


def _block_time(method: str, fields: Mapping[str, object]) -> int | None:
    time = fields.get("blockTime")
    return None if time is None else read(method, "blockTime", parse_i64, time)


def _commitment(value: object) -> Commitment:
    for known in _ORDER:
        if value == known:
            return known
    raise UsageError("no commitment that we know")


def _own_signature(method: str, answer: object, signature: str) -> None:
    """T33: an answer about another transaction is no answer."""
    if answer != signature:
        raise RpcUnreachable(f"{method}: the answer is about another transaction")
