"""What only a local chain does: money from nowhere, accounts as you like them, time travel, and faults.

Surfpool's names (`surfnet_...`) stand beside our own (`svm_...`), for tests that were written for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from solders.account import Account
from solders.pubkey import Pubkey

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.devnet.svm import faucet, genesis
from coinslot.devnet.svm.chain import Chain
from coinslot.devnet.svm.faults import ANY, SEND
from coinslot.devnet.svm.params import Config, Params, address, refusal, units
from coinslot.devnet.svm.reads import MAX_SPACE, Method, in_context

# Methods of ours: no fault spoils them, so that a chain can always be mended.
OWN = "svm_"
# A year of slots and of seconds: more is a mistake.
MAX_SLOTS = 80_000_000
MAX_SECONDS = 366 * 86400
MAX_DELAY_MS = 60_000
MAX_COUNT = 1_000_000
_STATES = {"uninitialized": 0, "initialized": 1, "frozen": 2}


# --- money ---------------------------------------------------------------------------------------


def request_airdrop(chain: Chain, params: Params) -> object:
    """Lamports for an address; the transaction's signature."""
    asset = faucet.find_asset(chain, genesis.SOL)
    return faucet.give(chain, str(params.address(0)), params.integer(1, least=1), asset)


def mint(chain: Chain, params: Params) -> object:
    """[address, base units as text, token or null]: tokens for an address, their account made; the signature."""
    asset = faucet.find_asset(chain, None if params[2] is None else params.text(2))
    signature = faucet.give(chain, str(params.address(0)), units(params[1], "an amount"), asset)
    return {
        "signature": signature,
        "mint": asset.mint or genesis.SOL,
        "symbol": asset.symbol,
        "decimals": asset.decimals,
        "balance": str(faucet.holding(chain, str(params.address(0)), asset)),
    }


def token(chain: Chain, params: Params) -> object:
    """[token or null]: what is known of a token: symbol, mint, program, decimals."""
    asset = faucet.find_asset(chain, None if params[0] is None else params.text(0))
    return {
        "symbol": asset.symbol,
        "mint": asset.mint or genesis.SOL,
        "programId": asset.program,
        "decimals": asset.decimals,
    }


# --- accounts ------------------------------------------------------------------------------------


def set_account(chain: Chain, params: Params) -> object:
    """[address, {lamports, data (hex), owner, executable}]: place an account; what isn't named stays as it is."""
    at, config = params.address(0), params.config(1)
    old = chain.account(at) or Account(0, b"", Pubkey.from_string(SYSTEM_PROGRAM))
    data, owner = config.text("data"), config.text("owner")
    lamports = config.integer("lamports")
    chain.put(
        at,
        Account(
            old.lamports if lamports is None else lamports,
            old.data if data is None else _hex(data),
            old.owner if owner is None else address(owner),
            old.executable if config.fields.get("executable") is None else config.flag("executable"),
        ),
    )
    return in_context(chain, None)


def set_token_account(chain: Chain, params: Params) -> object:
    """[owner, mint, {amount, state, delegate, delegatedAmount}, token program]: place an associated token account."""
    owner, config = params.address(0), params.config(2)
    asset = faucet.find_asset(chain, params.text(1))
    if asset.mint is None or (params[3] is not None and params.text(3) != asset.program):
        raise refusal("Invalid params: the mint is of another token program")
    at = Pubkey.from_string(derive_ata(str(owner), asset.mint, asset.program))
    found = chain.account(at)
    data = bytearray(found.data if found and found.data else _empty(asset, owner))
    if config.fields.get("amount") is not None:
        data[64:72] = units(config.fields["amount"], "amount").to_bytes(8, "little")
    if (state := config.text("state")) is not None:
        if state not in _STATES:
            raise refusal(f"Invalid params: a state is one of {', '.join(_STATES)}")
        data[108] = _STATES[state]
    if (delegate := config.text("delegate")) is not None:
        data[72:108] = b"\1\0\0\0" + bytes(address(delegate))
        data[121:129] = units(config.fields.get("delegatedAmount", 0), "delegatedAmount").to_bytes(8, "little")
    faucet.put_token_account(chain, str(owner), asset, bytes(data))
    return in_context(chain, None)


def _empty(asset: faucet.Asset, owner: Pubkey) -> bytes:
    return genesis.token_account_data(Pubkey.from_string(str(asset.mint)), owner, 0, asset.program)


def set_mint(chain: Chain, params: Params) -> object:
    """[address, {decimals, supply, programId, mintAuthority, freezeAuthority, extensions (hex)}]: place a mint."""
    at, config = params.address(0), params.config(1)
    program = config.text("programId") or TOKEN_PROGRAM
    if program not in {TOKEN_PROGRAM, TOKEN_2022_PROGRAM}:
        raise refusal("Invalid params: programId is none of the two token programs")
    decimals = config.integer("decimals", most=255)
    data = genesis.mint_data(
        6 if decimals is None else decimals,
        units(config.fields.get("supply", 0), "supply"),
        _key(config, "mintAuthority"),
        _key(config, "freezeAuthority"),
        _hex(config.text("extensions") or ""),
    )
    chain.put(at, Account(chain.rent(len(data)), data, address(program)))
    return in_context(chain, None)


def _key(config: Config, name: str) -> Pubkey | None:
    """An authority: the chain's own unless one is named, none for null."""
    if name not in config.fields:
        return genesis.AUTHORITY.pubkey()
    named = config.text(name)
    return None if named is None else address(named)


def _hex(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise refusal("Invalid params: data is hex digits") from error
    if len(data) > MAX_SPACE:
        raise refusal(f"Invalid params: an account has at most {MAX_SPACE} bytes")
    return data


# --- time ----------------------------------------------------------------------------------------


def advance_slots(chain: Chain, params: Params) -> object:
    """[count]: let slots pass at once; the newest slot."""
    return chain.advance(params.integer(0, 1, MAX_SLOTS))


def warp_seconds(chain: Chain, params: Params) -> object:
    """[seconds]: set the clock that programs see so much ahead; the time it shows then."""
    return chain.warp(params.integer(0, 1, MAX_SECONDS))


def set_timing(chain: Chain, params: Params) -> object:
    """[{slotMs, confirmMs}]: the pace of slots (0: only by svm_advanceSlots) and the time until a confirmation."""
    config = params.config(0)
    slot_ms, confirm_ms = (config.integer(name, most=MAX_DELAY_MS) for name in ("slotMs", "confirmMs"))
    if slot_ms is not None:
        chain.slots.set_pace(slot_ms / 1000)
    if confirm_ms is not None:
        chain.confirm_s = confirm_ms / 1000
    return {"slotMs": round(chain.slots.slot_s * 1000), "confirmMs": round(chain.confirm_s * 1000)}


def expire_blockhashes(chain: Chain, params: Params) -> object:
    """[]: no transaction that was signed so far will be taken any more; the newest slot."""
    chain.expire_blockhashes()
    return chain.slots.slot


# --- faults --------------------------------------------------------------------------------------


def fault(chain: Chain, params: Params) -> object:
    """[kind, {method, count, ...}]: spoil the next calls.

    Kinds: loseAnswer; neverLand; landLate {slots}; refuse {code, message, data}; http {status}; slow {delayMs}.
    """
    kind, config = params.text(0), params.config(1)
    count = config.integer("count", 1, MAX_COUNT) or 1
    method = config.text("method")
    match kind:
        case "loseAnswer":
            chain.faults.lose_answer(method or SEND, count)
        case "neverLand":
            chain.faults.never_land(count)
        case "landLate":
            chain.faults.land_late(config.integer("slots", 1, MAX_SLOTS) or 1, count)
        case "refuse":
            code = config.fields.get("code", -32603)
            if type(code) is not int:
                raise refusal("Invalid params: code is an integer")
            message, data = config.text("message") or "Internal error", config.fields.get("data")
            chain.faults.refuse(method or ANY, code=code, message=message, data=data, count=count)
        case "http":
            chain.faults.http(method or ANY, status=config.integer("status", 400, 599) or 500, count=count)
        case "slow":
            delay_ms = config.integer("delayMs", 0, MAX_DELAY_MS) or 0
            chain.faults.slow(method or ANY, seconds=delay_ms / 1000, count=count)
        case _:
            raise refusal(f"Invalid params: there is no fault `{kind}`")
    return True


def clear_faults(chain: Chain, params: Params) -> object:
    """[]: nothing goes wrong any more."""
    chain.faults.clear()
    return True


METHODS: Mapping[str, Method] = {
    "requestAirdrop": request_airdrop,
    "surfnet_setAccount": set_account,
    "surfnet_setTokenAccount": set_token_account,
    "svm_mint": mint,
    "svm_token": token,
    "svm_setAccount": set_account,
    "svm_setTokenAccount": set_token_account,
    "svm_setMint": set_mint,
    "svm_advanceSlots": advance_slots,
    "svm_warpSeconds": warp_seconds,
    "svm_setTiming": set_timing,
    "svm_expireBlockhashes": expire_blockhashes,
    "svm_fault": fault,
    "svm_clearFaults": clear_faults,
}
