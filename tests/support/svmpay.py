"""Transactions of anybody on the local Solana chain, and what it says of them."""

from __future__ import annotations

import struct
from base64 import b64encode
from typing import Any

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import (
    ATA_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
)
from coinslot.errors import RpcRefused
from support.svm import SvmChain

USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"


PYUSD = "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo"


BASE64 = {"encoding": "base64"}


def encoded(raw: bytes) -> str:
    """As sendTransaction takes it."""
    return b64encode(raw).decode()


def paying(chain: SvmChain, payer: Keypair, lamports: int = 10**7, to: Pubkey | None = None) -> bytes:
    """A signed transfer of SOL to somebody new."""
    to = to or Keypair().pubkey()
    return chain.transaction(
        [transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=to, lamports=lamports))], payer
    )


def send(chain: SvmChain, raw: bytes, **config: object) -> str:
    """sendTransaction; the signature."""
    return str(chain.rpc("sendTransaction", encoded(raw), {**BASE64, **config}))


def status(chain: SvmChain, signature: str) -> Any:
    """What getSignatureStatuses tells."""
    return chain.rpc("getSignatureStatuses", [signature])["value"][0]


def refused(chain: SvmChain, method: str, *params: object) -> RpcRefused:
    """The refusal of a call."""
    with pytest.raises(RpcRefused) as caught:
        chain.rpc(method, *params)
    return caught.value


def pay_token(
    source: Keypair, to: Pubkey, units: int, mint: str = USDC, program: str = TOKEN_PROGRAM
) -> list[Instruction]:
    """Make the receiver's token account and transfer into it, with a memo."""
    token, mint_key = Pubkey.from_string(program), Pubkey.from_string(mint)
    from_account, to_account = (
        Pubkey.from_string(derive_ata(str(owner), mint, program)) for owner in (source.pubkey(), to)
    )
    make = [AccountMeta(source.pubkey(), True, True), AccountMeta(to_account, False, True)]
    make += [AccountMeta(key, False, False) for key in (to, mint_key, Pubkey.from_string(SYSTEM_PROGRAM), token)]
    move = [
        AccountMeta(from_account, False, True),
        AccountMeta(mint_key, False, False),
        AccountMeta(to_account, False, True),
        AccountMeta(source.pubkey(), True, False),
    ]
    return [
        Instruction(Pubkey.from_string(ATA_PROGRAM), b"\1", make),
        Instruction(token, struct.pack("<BQB", 12, units, 6), move),
        Instruction(Pubkey.from_string(MEMO_PROGRAM), "für 1 Brot".encode(), []),
    ]
