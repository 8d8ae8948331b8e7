"""How a node tells of transactions and accounts in JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence

from solders.account import Account
from solders.message import MessageV0
from solders.transaction import VersionedTransaction

from coinslot.devnet.svm import base58, parsed
from coinslot.devnet.svm.chain import is_writable, message_of
from coinslot.devnet.svm.failures import Failure
from coinslot.devnet.svm.params import INVALID_REQUEST, Config, refusal
from coinslot.devnet.svm.parsed import Json
from coinslot.devnet.svm.record import InnerInstruction, Record, Snapshot

UNSUPPORTED_VERSION = -32015
# What nodes say where rent is never collected.
_RENT_EPOCH = 2**64 - 1
# More is refused in base58, whose cost grows with the square.
_BASE58_BYTES = 128


# --- accounts ------------------------------------------------------------------------------------


def account(account: Account | None, config: Config, decimals_of: Callable[[str], int]) -> Json | None:
    """An account in the encoding that was asked for. Raises RpcRefused for one that isn't known."""
    if account is None:
        return None
    data = account.data
    return {
        "data": _data(account, data, config, decimals_of),
        "executable": account.executable,
        "lamports": account.lamports,
        "owner": str(account.owner),
        "rentEpoch": _RENT_EPOCH,
        "space": len(data),
    }


def _data(account: Account, data: bytes, config: Config, decimals_of: Callable[[str], int]) -> object:
    encoding = config.text("encoding")
    if encoding == "jsonParsed":
        told = parsed.account_fields(account, data, decimals_of)
        if told is not None:
            return told
        encoding = "base64"
    if (part := config.config("dataSlice")) is not None:
        at, length = part.integer("offset") or 0, part.integer("length") or 0
        data = data[at : at + length]
    if encoding == "base64":
        return [b64encode(data).decode(), "base64"]
    if encoding not in {None, "base58", "binary"}:
        raise refusal(f"Invalid params: this chain tells accounts in base64, base58 or jsonParsed, not `{encoding}`.")
    if len(data) > _BASE58_BYTES:
        what = "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding."
        raise refusal(what, INVALID_REQUEST)
    return [base58.encode(data), "base58"] if encoding == "base58" else base58.encode(data)


# --- transactions --------------------------------------------------------------------------------


def transaction(record: Record, config: Config) -> Json:
    """What getTransaction answers. Raises RpcRefused for a version or encoding that wasn't allowed for."""
    told = VersionedTransaction.from_bytes(record.raw)
    encoding = config.text("encoding") or "json"
    version: object = 0 if isinstance(told.message, MessageV0) else "legacy"
    allowed = config.integer("maxSupportedTransactionVersion", 0, 255)
    if version == 0 and allowed is None:
        raise refusal(
            "Transaction version (0) is not supported by the requesting client. Please try the request again with "
            'the following configuration parameter: "maxSupportedTransactionVersion": 0',
            UNSUPPORTED_VERSION,
        )
    is_parsed = encoding == "jsonParsed"
    answer: Json = {
        "slot": record.slot,
        "transaction": _encoded(record, told, encoding),
        "meta": _meta(record, is_parsed),
        "blockTime": record.time_s,
    }
    return answer if allowed is None else answer | {"version": version}


def _encoded(record: Record, told: VersionedTransaction, encoding: str) -> object:
    match encoding:
        case "base64":
            return [b64encode(record.raw).decode(), "base64"]
        case "base58":
            return [base58.encode(record.raw), "base58"]
        case "binary":
            return base58.encode(record.raw)
        case "json" | "jsonParsed":
            return {
                "signatures": [str(each) for each in told.signatures],
                "message": _message(record, told, encoding == "jsonParsed"),
            }
        case _:
            raise refusal(f"Invalid params: unknown variant `{encoding}`, expected `json`, `jsonParsed`, `base64`.")


def _message(record: Record, told: VersionedTransaction, is_parsed: bool) -> Json:
    message = told.message
    calls = [
        InnerInstruction(each.program_id_index, bytes(each.accounts), bytes(each.data), 1)
        for each in message.instructions
    ]
    answer: Json = {
        "accountKeys": _parsed_keys(record, told) if is_parsed else [str(key) for key in message.account_keys],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [_instruction(record.keys, call, is_parsed) for call in calls],
    }
    if not is_parsed:
        header = message.header
        answer["header"] = {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        }
    if isinstance(message, MessageV0):
        answer["addressTableLookups"] = [
            {
                "accountKey": str(lookup.account_key),
                "writableIndexes": list(bytes(lookup.writable_indexes)),
                "readonlyIndexes": list(bytes(lookup.readonly_indexes)),
            }
            for lookup in message.address_table_lookups
        ]
    return answer


def memo(record: Record) -> str | None:
    """The memos of a transaction in one line, each with its length, as lists of transactions tell them."""
    message = VersionedTransaction.from_bytes(record.raw).message
    texts = [bytes(call.data) for call in message.instructions if record.keys[call.program_id_index] in parsed.MEMOS]
    return "; ".join(f"[{len(text)}] {text.decode('utf-8', 'replace')}" for text in texts) or None


def _parsed_keys(record: Record, told: VersionedTransaction) -> list[Json]:
    message = message_of(told)
    own, written = len(message.account_keys), record.loaded[0]
    return [
        {
            "pubkey": key,
            "signer": place < own and message.is_signer(place),
            "writable": is_writable(message, place) if place < own else place < own + written,
            "source": "transaction" if place < own else "lookupTable",
        }
        for place, key in enumerate(record.keys)
    ]


def _instruction(keys: Sequence[str], call: InnerInstruction, is_parsed: bool) -> Json:
    if is_parsed:
        program, accounts = keys[call.program], [keys[place] for place in call.accounts]
        told = parsed.instruction(program, accounts, call.data)
        if told is not None:
            return {**told, "programId": program, "stackHeight": call.height}
        raw: Json = {"programId": program, "accounts": accounts}
    else:
        raw = {"programIdIndex": call.program, "accounts": list(call.accounts)}
    return {**raw, "data": base58.encode(call.data), "stackHeight": call.height}


def inner_instructions(
    keys: Sequence[str], groups: Sequence[Sequence[InnerInstruction]], is_parsed: bool
) -> list[Json]:
    """What programs called, by the place of the instruction that made them do so."""
    return [
        {"index": place, "instructions": [_instruction(keys, call, is_parsed) for call in group]}
        for place, group in enumerate(groups)
        if group
    ]


def status(failure: Failure | None) -> Json:
    """The outcome in the older of the two spellings."""
    return {"Ok": None} if failure is None else {"Err": failure}


def _meta(record: Record, is_parsed: bool) -> Json:
    own = len(record.keys) - sum(record.loaded)
    written = own + record.loaded[0]
    answer: Json = {
        "err": record.error,
        "status": status(record.error),
        "fee": record.fee,
        "preBalances": list(record.before.lamports),
        "postBalances": list(record.after.lamports),
        "innerInstructions": inner_instructions(record.keys, record.inner, is_parsed),
        "logMessages": list(record.logs),
        "preTokenBalances": _token_balances(record.before),
        "postTokenBalances": _token_balances(record.after),
        "rewards": [],
        "computeUnitsConsumed": record.units,
    }
    if not is_parsed:
        answer["loadedAddresses"] = {
            "writable": list(record.keys[own:written]),
            "readonly": list(record.keys[written:]),
        }
    if record.returned is not None:
        answer["returnData"] = returned(record.returned)
    return answer


def returned(told: tuple[str, bytes]) -> Json:
    """What a program gave back, with the program that did."""
    return {"programId": told[0], "data": [b64encode(told[1]).decode(), "base64"]}


def _token_balances(snapshot: Snapshot) -> list[Json]:
    return [
        {
            "accountIndex": each.index,
            "mint": each.mint,
            "owner": each.owner,
            "programId": each.program,
            "uiTokenAmount": parsed.ui_amount(each.units, each.decimals),
        }
        for each in snapshot.tokens
    ]
