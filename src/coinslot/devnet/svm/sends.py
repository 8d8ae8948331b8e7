"""The methods about transactions: try, send, look for.

A transaction lands the moment it is sent. Told as processed at once, it is confirmed after the chain's delay and
finalized after 32 slots. One that landed before is refused by the preflight as a node refuses it: error -32002,
"This transaction has already been processed" (helius-labs/helius-sdk#176 shows the wire), and past its blockhash's age
"Blockhash not found". Without preflight a node answers the signature, whatever becomes of the transaction.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING

from solders.account import Account
from solders.hash import Hash
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.transaction import SanitizeError, VersionedTransaction

from coinslot.devnet.svm import base58, failures, render
from coinslot.devnet.svm.chain import AnyMessage, Chain, Trial, blockhash_text, message_of
from coinslot.devnet.svm.params import Config, Params, address, listed, refusal, signature
from coinslot.devnet.svm.parsed import Json
from coinslot.devnet.svm.reads import MAX_ACCOUNTS, Method, decimals_of, in_context
from coinslot.devnet.svm.record import Record

if TYPE_CHECKING:
    from coinslot.devnet.svm.failures import Failure

PREFLIGHT_FAILED = -32002
SIGNATURE_FAILED = -32003
# A transaction fits one packet; in text it is a third longer.
MAX_BYTES = 1232
MAX_TEXT = {"base64": 1644, "base58": 1683}
UNSOUND = "invalid transaction: Transaction failed to sanitize accounts offsets correctly"
MAX_STATUSES = 256
MAX_SIGNATURES = 1000
# Older transactions are found only where the history is searched: nodes keep so many slots at hand.
RECENT_SLOTS = 300


def _read(params: Params, config: Config) -> tuple[VersionedTransaction, bytes]:
    """The transaction of the first parameter. Raises RpcRefused."""
    encoding = config.text("encoding") or "base58"
    told, name = params.text(0), "solana_transaction::versioned::VersionedTransaction"
    if encoding not in MAX_TEXT:
        raise refusal(f"unsupported encoding: {encoding}. Supported encodings: base58, base64")
    if len(told) > MAX_TEXT[encoding]:
        limits = f"{len(told)} bytes (max: encoded/raw {MAX_TEXT[encoding]}/{MAX_BYTES})"
        raise refusal(f"{encoding} encoded {name} too large: {limits}")
    try:
        raw = b64decode(told, validate=True) if encoding == "base64" else base58.decode(told)
    except (binascii.Error, ValueError) as error:
        raise refusal(f"invalid {encoding} encoding: {error}") from error
    if len(raw) > MAX_BYTES:
        raise refusal(f"decoded {name} too large: {len(raw)} bytes (max: {MAX_BYTES} bytes)")
    try:
        transaction = VersionedTransaction.from_bytes(raw)
    except ValueError as error:
        raise refusal(f"failed to deserialize {name}: {error}") from error
    message_of(transaction)
    signers = transaction.message.header.num_required_signatures
    if bytes(transaction) != raw or len(transaction.signatures) != signers:
        raise refusal(UNSOUND)
    try:
        transaction.sanitize()
    except SanitizeError as error:
        raise refusal(UNSOUND) from error
    return transaction, raw


def _verified(transaction: VersionedTransaction) -> bool:
    return all(transaction.verify_with_results())


def _require_signatures(transaction: VersionedTransaction) -> None:
    if not _verified(transaction):
        raise refusal("Transaction signature verification failure", SIGNATURE_FAILED)


def _trial_fields(trial: Trial) -> Json:
    """What sendTransaction and simulateTransaction both tell of a trial."""
    return {
        "err": trial.failure,
        "logs": list(trial.logs),
        "accounts": None,
        "unitsConsumed": trial.units,
        "returnData": render.returned(trial.returned) if trial.returned else None,
        "innerInstructions": None,
        "replacementBlockhash": None,
    }


# --- sending -------------------------------------------------------------------------------------


def send_transaction(chain: Chain, params: Params) -> object:
    """Take a transaction; its signature."""
    config = params.config(1)
    transaction, raw = _read(params, config)
    config.commitment("preflightCommitment")
    if not config.flag("skipPreflight"):
        _require_signatures(transaction)
        config.require_slot(chain)
        failure = chain.check(transaction)
        trial = Trial(failure) if failure is not None else chain.simulate(transaction)
        if trial.failure is not None:
            what = f"Transaction simulation failed: {failures.sentence(trial.failure)}"
            raise refusal(what, PREFLIGHT_FAILED, _trial_fields(trial))
    elif not _verified(transaction):
        return str(transaction.signatures[0])  # it is passed on, and whoever makes the next block drops it
    delay = chain.faults.next_delay()
    if delay is not None:
        chain.land_after(delay, transaction, raw)
    return str(transaction.signatures[0])


def simulate_transaction(chain: Chain, params: Params) -> object:
    """What a transaction would do now."""
    config = params.config(1)
    transaction, _ = _read(params, config)
    config.require_slot(chain)
    is_checked, is_replaced = config.flag("sigVerify"), config.flag("replaceRecentBlockhash")
    if is_checked and is_replaced:
        raise refusal("sigVerify may not be used with replaceRecentBlockhash")
    replacement: Json | None = None
    if is_replaced:
        blockhash, last_valid = chain.slots.newest()
        replacement = {"blockhash": blockhash_text(blockhash), "lastValidBlockHeight": last_valid}
        message = _with_blockhash(message_of(transaction), Hash.from_bytes(blockhash))
        transaction = VersionedTransaction.populate(message, transaction.signatures)
    if is_checked:
        _require_signatures(transaction)
    failure: Failure | None = None if is_replaced else chain.check(transaction)
    trial = Trial(failure) if failure else chain.simulate(transaction)
    fields = _trial_fields(trial) | {"replacementBlockhash": replacement}
    if config.flag("innerInstructions"):
        keys = [str(key) for key in transaction.message.account_keys]
        fields["innerInstructions"] = render.inner_instructions(keys, trial.inner, is_parsed=True)
    if (watched := config.config("accounts")) is not None:
        fields["accounts"] = _watched(chain, watched, trial)
    return in_context(chain, fields)


def _with_blockhash(message: AnyMessage, blockhash: Hash) -> Message | MessageV0:
    """The same message over another blockhash."""
    if isinstance(message, MessageV0):
        return MessageV0(
            message.header, message.account_keys, blockhash, message.instructions, message.address_table_lookups
        )
    header = message.header
    counts = (
        header.num_required_signatures,
        header.num_readonly_signed_accounts,
        header.num_readonly_unsigned_accounts,
    )
    return Message.new_with_compiled_instructions(*counts, message.account_keys, blockhash, message.instructions)


def _watched(chain: Chain, asked: Config, trial: Trial) -> object:
    """Accounts as they would be; where the trial failed, nodes tell none of them."""
    addresses = [address(each) for each in asked.items("addresses")]
    if len(addresses) > MAX_ACCOUNTS:
        raise refusal(f"Too many accounts provided; max {MAX_ACCOUNTS}")
    if asked.text("encoding") in {"binary", "base58"}:
        raise refusal("base58 encoding not supported")
    told = Config({"encoding": asked.text("encoding") or "base64"})
    if trial.failure is not None:
        return [None] * len(addresses)

    def after(key: Pubkey) -> Account | None:
        found = trial.after.get(key) or chain.account(key)
        return found if found and found.lamports else None

    return [render.account(after(key), told, decimals_of(chain)) for key in addresses]


# --- looking for them ----------------------------------------------------------------------------


def get_signature_statuses(chain: Chain, params: Params) -> object:
    """Where transactions stand; null for those that are not known."""
    asked = listed(params[0], "the signatures")
    if len(asked) > MAX_STATUSES:
        raise refusal(f"Too many inputs provided; max {MAX_STATUSES}")
    least = 0 if params.config(1).flag("searchTransactionHistory") else chain.slots.slot - RECENT_SLOTS
    found = (chain.records.get(signature(each)) for each in asked)
    return in_context(chain, [_status(chain, each) if each and each.slot >= least else None for each in found])


def _status(chain: Chain, record: Record) -> Json:
    commitment = chain.reached(record)
    return {
        "slot": record.slot,
        "confirmations": None if commitment == "finalized" else chain.slots.slot - record.slot,
        "status": render.status(record.error),
        "err": record.error,
        "confirmationStatus": commitment,
    }


def get_transaction(chain: Chain, params: Params) -> object:
    """A transaction and what it changed, or null."""
    # the encoding may be given as text in place of the options
    config = Config({"encoding": params[1]}) if isinstance(params[1], str) else params.config(1)
    commitment = config.commitment()
    if commitment == "processed":
        raise refusal("Method does not support commitment below `confirmed`")
    record = chain.records.get(signature(params[0]))
    if record is None or not chain.is_reached(record, commitment):
        return None
    return render.transaction(record, config)


def get_signatures_for_address(chain: Chain, params: Params) -> object:
    """The transactions that name an account, newest first."""
    config = params.config(1)
    config.require_slot(chain)
    commitment, limit = config.commitment(), config.integer("limit", 1, MAX_SIGNATURES) or MAX_SIGNATURES
    before, until = config.text("before"), config.text("until")
    found: list[Json] = []
    begun = before is None
    for record in reversed(chain.by_account.get(str(params.address(0)), [])):
        if record.signature == until or len(found) == limit:
            break
        if begun and chain.is_reached(record, commitment):
            found.append(
                {
                    "signature": record.signature,
                    "slot": record.slot,
                    "err": record.error,
                    "memo": render.memo(record),
                    "blockTime": record.time_s,
                    "confirmationStatus": chain.reached(record),
                }
            )
        begun = begun or record.signature == before
    return found


METHODS: Mapping[str, Method] = {
    "sendTransaction": send_transaction,
    "simulateTransaction": simulate_transaction,
    "getSignatureStatuses": get_signature_statuses,
    "getTransaction": get_transaction,
    "getSignaturesForAddress": get_signatures_for_address,
}
