"""Tokens for whoever asks: real transactions of the chain's own authority, final at once."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from solders.account import Account
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from coinslot.chains.solana.address import parse_address
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import ATA_PROGRAM, MEMO_PROGRAM, SYSTEM_PROGRAM, TOKEN_PROGRAM
from coinslot.devnet.svm.chain import Chain
from coinslot.devnet.svm.failures import sentence
from coinslot.devnet.svm.genesis import AUTHORITY, MAX_U64, NATIVE_MINT, SOL, SOL_DECIMALS, TOKENS
from coinslot.devnet.svm.record import is_mint, is_token_account, token_units
from coinslot.errors import RpcRefused, UsageError

# A transaction of the faucet failed: the amount is more than a token can count, or its owner's account is frozen.
FAILED = -32002
_MINT_TO, _SYNC_NATIVE, _CREATE_IDEMPOTENT = 7, 17, 1


@dataclass(frozen=True, slots=True)
class Asset:
    """A token of this chain; `mint` is None for the chain's own money."""

    symbol: str
    mint: str | None
    program: str
    decimals: int


def find_asset(chain: Chain, token: str | None) -> Asset:
    """A token by symbol or mint address; None is the one to pay with. Raises UsageError."""
    if token is None:
        token = next(iter(TOKENS))
    if token.upper() == SOL:
        return Asset(SOL, None, SYSTEM_PROGRAM, SOL_DECIMALS)
    known = {symbol.upper(): mint for symbol, mint in TOKENS.items()} | {"WSOL": NATIVE_MINT}
    mint = known.get(token.upper(), token)
    names = {address: symbol for symbol, address in known.items()}
    try:
        found = chain.account(Pubkey.from_string(parse_address(mint)))
    except UsageError:
        found = None
    if found is None or not is_mint(found, data := found.data):
        raise UsageError(
            f"there is no token {token!r} on this chain; known: {', '.join(known)}, SOL, or a mint's address"
        )
    return Asset(names.get(mint, mint), mint, str(found.owner), data[44])


def checked_units(units: object) -> int:
    """A positive amount in base units that a token can hold. Raises UsageError."""
    if type(units) is not int or not 0 < units <= MAX_U64:
        raise UsageError("the amount must be a positive number of base units, at most 2^64 - 1")
    return units


def holding(chain: Chain, address: str, asset: Asset) -> int:
    """Base units that an address holds in its associated token account, or lamports. Raises UsageError."""
    owner = parse_address(address)
    if asset.mint is None:
        found = chain.account(Pubkey.from_string(owner))
        return found.lamports if found else 0
    found = chain.account(Pubkey.from_string(derive_ata(owner, asset.mint, asset.program)))
    return token_units(found.data) if found and is_token_account(found, found.data) else 0


def give(chain: Chain, address: str, units: int, asset: Asset) -> str:
    """Give an address base units of a token; the transaction's signature.

    Raises UsageError for a bad address or amount, RpcRefused where the token's program says no.
    """
    to, units = parse_address(address), checked_units(units)
    with chain.now():
        signature, failure = _send(chain, _instructions(to, units, asset))
    if failure is not None:
        raise RpcRefused(f"nothing was given: {sentence(failure)}", code=FAILED, data={"err": failure})
    return signature


def _instructions(to: str, units: int, asset: Asset) -> list[Instruction]:
    owner, payer = Pubkey.from_string(to), AUTHORITY.pubkey()
    if asset.mint is None:
        return [transfer(TransferParams(from_pubkey=payer, to_pubkey=owner, lamports=units))]
    mint, program = Pubkey.from_string(asset.mint), Pubkey.from_string(asset.program)
    account = Pubkey.from_string(derive_ata(to, asset.mint, asset.program))
    system = Pubkey.from_string(SYSTEM_PROGRAM)
    named = [AccountMeta(key, False, False) for key in (owner, mint, system, program)]
    metas = [AccountMeta(payer, True, True), AccountMeta(account, False, True), *named]
    create = Instruction(Pubkey.from_string(ATA_PROGRAM), bytes([_CREATE_IDEMPOTENT]), metas)
    if asset.mint == NATIVE_MINT:
        wrap = transfer(TransferParams(from_pubkey=payer, to_pubkey=account, lamports=units))
        sync = Instruction(
            Pubkey.from_string(TOKEN_PROGRAM), bytes([_SYNC_NATIVE]), [AccountMeta(account, False, True)]
        )
        return [create, wrap, sync]
    written = [AccountMeta(mint, False, True), AccountMeta(account, False, True), AccountMeta(payer, True, False)]
    return [create, Instruction(program, struct.pack("<BQ", _MINT_TO, units), written)]


def _send(chain: Chain, instructions: list[Instruction]) -> tuple[str, object]:
    # the memo's number tells two equal gifts within one slot apart
    memo = Instruction(Pubkey.from_string(MEMO_PROGRAM), f"devnet faucet {len(chain.records)}".encode(), [])
    blockhash = Hash.from_bytes(chain.slots.newest()[0])
    message = MessageV0.try_compile(AUTHORITY.pubkey(), [*instructions, memo], [], blockhash)
    transaction = VersionedTransaction(message, [AUTHORITY])
    trial = chain.simulate(transaction)
    if trial.failure is not None:
        return "", trial.failure
    record = chain.land(transaction, bytes(transaction), final=True)
    return str(transaction.signatures[0]), record.error if record else "AccountNotFound"


def put_token_account(chain: Chain, owner: str, asset: Asset, data: bytes) -> None:
    """Place the associated token account of an owner, past all rules."""
    if asset.mint is None:
        raise UsageError("SOL is not held in token accounts; wSOL is")
    at = Pubkey.from_string(derive_ata(parse_address(owner), asset.mint, asset.program))
    chain.put(at, Account(chain.rent(len(data)), data, Pubkey.from_string(asset.program)))
