"""The methods that only look: accounts, balances, tokens, slots, blockhashes."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import TypeAlias

from solders.account import Account
from solders.hash import Hash
from solders.message import from_bytes_versioned
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.devnet.svm import base58, render
from coinslot.devnet.svm.chain import Chain, Commitment, blockhash_text, message_of
from coinslot.devnet.svm.params import Config, Params, address, integer, listed, refusal, text
from coinslot.devnet.svm.parsed import Json, ui_amount
from coinslot.devnet.svm.record import is_mint, is_token_account, token_units
from coinslot.devnet.svm.slots import SLOTS_PER_EPOCH

Method: TypeAlias = Callable[[Chain, Params], object]

# What a node takes in one call.
MAX_ACCOUNTS = 100
MAX_FILTERS = 4
# 128 bytes in base58, whose cost grows with the square.
MAX_COMPARED_TEXT = 175
MAX_SPACE = 10 * 1024 * 1024
# The version of the interface that is spoken here.
_VERSION = {"solana-core": "3.0.0", "feature-set": 0}
# Lamports for every signature.
_FEE = 5000


def in_context(chain: Chain, value: object) -> Json:
    """An answer and the slot at which it holds."""
    return {"context": {"slot": chain.slots.slot, "apiVersion": _VERSION["solana-core"]}, "value": value}


def decimals_of(chain: Chain) -> Callable[[str], int]:
    """Looks up the decimals of a mint; 0 where there is none."""

    def look(mint: str) -> int:
        found = chain.account(Pubkey.from_string(mint))
        return found.data[44] if found and is_mint(found, found.data) else 0

    return look


# --- the node ------------------------------------------------------------------------------------


def get_health(chain: Chain, params: Params) -> object:
    """Always well."""
    return "ok"


def get_version(chain: Chain, params: Params) -> object:
    """The version of the interface."""
    return _VERSION


def get_genesis_hash(chain: Chain, params: Params) -> object:
    """The name of this chain: another one for every chain."""
    return blockhash_text(chain.slots.genesis)


def get_slot(chain: Chain, params: Params) -> object:
    """The newest slot."""
    params.config(0).require_slot(chain)
    return chain.slots.slot


def get_block_height(chain: Chain, params: Params) -> object:
    """The number of blocks."""
    params.config(0).require_slot(chain)
    return chain.slots.height


def get_block_time(chain: Chain, params: Params) -> object:
    """When a slot was: exactly for slots with transactions, else reckoned back from now."""
    slot = params.integer(0)
    if slot > chain.slots.slot:
        raise refusal(f"Block not available for slot {slot}", -32004)
    return chain.time_of(slot)


def get_epoch_info(chain: Chain, params: Params) -> object:
    """Where the chain is in its epoch."""
    params.config(0).require_slot(chain)
    slot = chain.slots.slot
    return {
        "absoluteSlot": slot,
        "blockHeight": chain.slots.height,
        "epoch": slot // SLOTS_PER_EPOCH,
        "slotIndex": slot % SLOTS_PER_EPOCH,
        "slotsInEpoch": SLOTS_PER_EPOCH,
        "transactionCount": len(chain.records),
    }


# --- blockhashes and fees ------------------------------------------------------------------------


def get_latest_blockhash(chain: Chain, params: Params) -> object:
    """A blockhash for a new transaction."""
    config = params.config(0)
    config.require_slot(chain)
    blockhash, last_valid = chain.slots.newest(finalized=config.commitment() == "finalized")
    return in_context(chain, {"blockhash": blockhash_text(blockhash), "lastValidBlockHeight": last_valid})


def is_blockhash_valid(chain: Chain, params: Params) -> object:
    """Whether a transaction with this blockhash can still be taken."""
    config = params.config(1)
    config.require_slot(chain)
    try:
        blockhash = bytes(Hash.from_string(params.text(0)))
    except ValueError as error:
        raise refusal("Invalid param: Invalid") from error
    return in_context(chain, chain.slots.is_valid(blockhash, finalized=config.commitment() == "finalized"))


def get_fee_for_message(chain: Chain, params: Params) -> object:
    """What a message costs its fee payer; null where its blockhash is not recent."""
    try:
        raw = b64decode(params.text(0), validate=True)
        message = message_of(VersionedTransaction.populate(from_bytes_versioned(raw), []))
    except (ValueError, binascii.Error) as error:
        raise refusal(f"invalid base64 encoding or message: {error}") from error
    known = chain.slots.is_valid(bytes(message.recent_blockhash))
    return in_context(chain, chain.fee(message) if known else None)


def get_minimum_balance(chain: Chain, params: Params) -> object:
    """The lamports an account of a size must hold to stay."""
    return chain.rent(params.integer(0, most=MAX_SPACE))


def get_recent_prioritization_fees(chain: Chain, params: Params) -> object:
    """Nobody competes here."""
    return [{"slot": chain.slots.slot, "prioritizationFee": 0}]


# --- accounts ------------------------------------------------------------------------------------


def get_account_info(chain: Chain, params: Params) -> object:
    """An account, or null."""
    config = params.config(1)
    config.require_slot(chain)
    found = chain.account(params.address(0), config.commitment())
    return in_context(chain, render.account(found, config, decimals_of(chain)))


def get_multiple_accounts(chain: Chain, params: Params) -> object:
    """Up to 100 accounts as they are at one moment."""
    config = params.config(1)
    config.require_slot(chain)
    asked = listed(params[0], "the addresses")
    if len(asked) > MAX_ACCOUNTS:
        raise refusal(f"Too many inputs provided; max {MAX_ACCOUNTS}")
    found = [chain.account(address(each), config.commitment()) for each in asked]
    return in_context(chain, [render.account(each, config, decimals_of(chain)) for each in found])


def get_balance(chain: Chain, params: Params) -> object:
    """The lamports of an account."""
    config = params.config(1)
    config.require_slot(chain)
    found = chain.account(params.address(0), config.commitment())
    return in_context(chain, found.lamports if found else 0)


def get_program_accounts(chain: Chain, params: Params) -> object:
    """The accounts of a program that pass all filters."""
    config = params.config(1)
    config.require_slot(chain)
    asked = config.items("filters")
    if len(asked) > MAX_FILTERS:
        raise refusal(f"Too many filters provided; max {MAX_FILTERS}")
    filters = [_filter(each) for each in asked]
    owned = chain.owned_by(params.address(0), config.commitment())
    found = [(key, each) for key, each in owned if all(passes(each, each.data) for passes in filters)]
    value = [_keyed(chain, key, each, config) for key, each in found]
    return in_context(chain, value) if config.flag("withContext") else value


_Filter: TypeAlias = Callable[[Account, bytes], bool]


def _filter(asked: object) -> _Filter:
    """One filter of getProgramAccounts. Raises RpcRefused."""
    if asked == "tokenAccountState" or (isinstance(asked, dict) and "tokenAccountState" in asked):
        return is_token_account
    fields = Params([asked]).config(0)
    if (size := fields.integer("dataSize")) is not None:
        return lambda account, data: len(data) == size
    compare = fields.config("memcmp")
    if compare is None:
        raise refusal("Invalid params: a filter is dataSize, memcmp or tokenAccountState.")
    at, wanted = compare.integer("offset"), _bytes(compare)
    if at is None:
        raise refusal("Invalid params: missing field `offset`.")
    return lambda account, data: data[at : at + len(wanted)] == wanted


def _bytes(compare: Config) -> bytes:
    """What memcmp compares with: base58 unless it says otherwise."""
    value = compare.fields.get("bytes")
    if isinstance(value, str | list) and len(value) > MAX_COMPARED_TEXT:
        raise refusal("Invalid param: encoded binary data should be less than 129 bytes")
    try:
        if isinstance(value, list):
            return bytes(integer(each, "a byte", most=255) for each in value)
        if compare.text("encoding") == "base64":
            return b64decode(text(value, "bytes"), validate=True)
        return base58.decode(text(value, "bytes"))
    except (ValueError, binascii.Error) as error:
        raise refusal(f"Invalid param: {error}") from error


def _keyed(chain: Chain, key: Pubkey, account: Account, config: Config) -> Json:
    return {"pubkey": str(key), "account": render.account(account, config, decimals_of(chain))}


# --- tokens --------------------------------------------------------------------------------------


def get_token_account_balance(chain: Chain, params: Params) -> object:
    """What a token account holds."""
    found = chain.account(params.address(0), params.config(1).commitment())
    if found is None:
        raise refusal("Invalid param: could not find account")
    if not is_token_account(found, data := found.data):
        raise refusal("Invalid param: not a Token account")
    decimals = decimals_of(chain)(str(Pubkey.from_bytes(data[:32])))
    return in_context(chain, ui_amount(token_units(data), decimals))


def get_token_supply(chain: Chain, params: Params) -> object:
    """How much of a token there is."""
    found = chain.account(params.address(0), params.config(1).commitment())
    if found is None:
        raise refusal("Invalid param: could not find mint")
    if not is_mint(found, data := found.data):
        raise refusal("Invalid param: not a Token mint")
    return in_context(chain, ui_amount(int.from_bytes(data[36:44], "little"), data[44]))


def get_token_accounts_by_owner(chain: Chain, params: Params) -> object:
    """The token accounts of an owner, of one mint or of one token program."""
    return _token_accounts(chain, params, 32)


def get_token_accounts_by_delegate(chain: Chain, params: Params) -> object:
    """The token accounts that somebody may spend from, of one mint or of one token program."""
    return _token_accounts(chain, params, 76)


def _token_accounts(chain: Chain, params: Params, at: int) -> object:
    config, chosen = params.config(2), params.config(1)
    owner, commitment = bytes(params.address(0)), config.commitment()
    mint, program = chosen.text("mint"), chosen.text("programId")
    if (mint is None) == (program is None):
        raise refusal("Invalid params: give either a mint or a programId.")
    programs = [program] if program else [TOKEN_PROGRAM, TOKEN_2022_PROGRAM]
    if any(each not in {TOKEN_PROGRAM, TOKEN_2022_PROGRAM} for each in programs):
        raise refusal("Invalid param: unrecognized Token program id")
    wanted = bytes(address(mint)) if mint else b""
    found = [pair for each in programs for pair in _held(chain, address(each), commitment)]
    value = [
        _keyed(chain, key, each, config)
        for key, each in found
        if each.data[at : at + 32] == owner and each.data.startswith(wanted) and (at == 32 or each.data[72] == 1)
    ]
    return in_context(chain, value)


def _held(chain: Chain, program: Pubkey, commitment: Commitment) -> list[tuple[Pubkey, Account]]:
    return [(key, each) for key, each in chain.owned_by(program, commitment) if is_token_account(each, each.data)]


METHODS: Mapping[str, Method] = {
    "getHealth": get_health,
    "getVersion": get_version,
    "getGenesisHash": get_genesis_hash,
    "getSlot": get_slot,
    "getBlockHeight": get_block_height,
    "getBlockTime": get_block_time,
    "getEpochInfo": get_epoch_info,
    "getLatestBlockhash": get_latest_blockhash,
    "isBlockhashValid": is_blockhash_valid,
    "getFeeForMessage": get_fee_for_message,
    "getMinimumBalanceForRentExemption": get_minimum_balance,
    "getRecentPrioritizationFees": get_recent_prioritization_fees,
    "getAccountInfo": get_account_info,
    "getMultipleAccounts": get_multiple_accounts,
    "getBalance": get_balance,
    "getProgramAccounts": get_program_accounts,
    "getTokenAccountBalance": get_token_account_balance,
    "getTokenSupply": get_token_supply,
    "getTokenAccountsByOwner": get_token_accounts_by_owner,
    "getTokenAccountsByDelegate": get_token_accounts_by_delegate,
}
