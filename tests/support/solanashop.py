"""Both sides of a Solana charge on a real local chain, each step by hand; see the fixture `solshop`."""

from __future__ import annotations

import secrets
import struct
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from coinslot.chains.solana.ata import build_create_idempotent, derive_ata
from coinslot.chains.solana.instruction import Instruction, signer, writable
from coinslot.chains.solana.message import build_message, read_transaction, sign_partially
from coinslot.chains.solana.programs import SYSTEM_PROGRAM, TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.devnet.svm import genesis
from coinslot.drive import RealWorld
from coinslot.method import Presentation
from coinslot.methods.solana.charge_payer import SolanaChargePayer
from coinslot.methods.solana.charge_seller import SolanaChargeSeller
from coinslot.methods.solana.method import METHOD
from coinslot.methods.solana.settings import Accept, Wallet
from coinslot.methods.solana.tokens import PYUSD, USDC
from support.chargeshop import ChargeShop
from support.svm import SvmChain

DOLLAR = 1_000_000
SOL = 1_000_000_000
MINTS = {"USDC": USDC, "PYUSD": PYUSD}


def fee_config(points: int) -> tuple[int, bytes]:
    """A transfer fee of so many hundredths of a percent."""
    fee = bytes(8) + (2**64 - 1).to_bytes(8, "little") + points.to_bytes(2, "little")
    return 1, bytes(72) + fee * 2


def fresh_key() -> Key:
    """Somebody new, who has nothing."""
    return Key(secrets.token_bytes(32))


def key_text(key: Key) -> str:
    """As settings take it."""
    return "0x" + key.secret().hex()


@dataclass(frozen=True)
class SolanaShop(ChargeShop):
    """Both sides on one chain, each step by hand."""

    chain: SvmChain
    world: RealWorld

    def account(self, dollars: int = 5, *, lamports: int = SOL, token: str = "USDC") -> Key:
        """A fresh account that holds so many dollars of a token, and lamports."""
        key = fresh_key()
        if lamports:
            self.chain.fund(key.address, lamports, "SOL")
        if dollars:
            self.chain.fund(key.address, dollars * DOLLAR, token)
        return key

    def payee(self, token: str = "USDC") -> str:
        """Somebody who can be paid: with a token account and one unit in it, or 0.01 SOL."""
        address = fresh_key().address
        self.chain.fund(address, SOL // 100 if token == "SOL" else 1, token)
        return address

    def seller(self, **settings: Any) -> SolanaChargeSeller:
        """A seller; a fresh recipient unless told otherwise."""
        settings = {"rpc_url": self.chain.rpc_url, "network": "localnet"} | settings
        if "recipient" not in settings:
            settings["recipient"] = self.payee(settings.get("currency", "USDC").replace("sol", "SOL"))
        (seller,) = self.run(METHOD.sellers(Accept(**settings)))
        assert isinstance(seller, SolanaChargeSeller)
        return seller

    def sponsored(self, **settings: Any) -> tuple[SolanaChargeSeller, Key]:
        """A seller that pays the fees, and the account it does so from."""
        sponsor = self.account(0, lamports=10 * SOL)
        return self.seller(fee_payer_key=key_text(sponsor), **settings), sponsor

    def payer(self, key: Key | None = None, **settings: Any) -> SolanaChargePayer:
        """A payer; a fresh account with five dollars unless told otherwise."""
        key = key or self.account()
        settings = {"rpc_url": self.chain.rpc_url, "network": "localnet"} | settings
        (payer,) = self.run(METHOD.payers(Wallet(private_key=key_text(key), **settings)))
        assert isinstance(payer, SolanaChargePayer)
        return payer

    def held(self, address: str, token: str = "USDC") -> int:
        """Base units that an address holds."""
        return self.chain.balance(address, token)

    def send(self, instructions: Sequence[Instruction], *keys: Key) -> str:
        """A transaction of anybody's, landed; its signature."""
        raw = self.signed(instructions, *keys)
        return str(self.chain.rpc("sendTransaction", b64encode(raw).decode(), {"encoding": "base64"}))

    def signed(self, instructions: Sequence[Instruction], *keys: Key, payer: str | None = None) -> bytes:
        """A transaction over the newest blockhash; the first key pays unless `payer` does, who then hasn't signed."""
        message = build_message(payer or keys[0].address, instructions, self.chain.blockhash())
        return sign_partially(message, list(keys))

    def ata(self, owner: str, mint: str = USDC, program: str = TOKEN_PROGRAM) -> str:
        """Where somebody's tokens are."""
        return derive_ata(owner, mint, program)

    def wipe(self, place: str) -> None:
        """Make an account vanish, as its owner does who closes it."""
        fields = {"lamports": 0, "data": "", "owner": SYSTEM_PROGRAM}
        self.chain.rpc("svm_setAccount", place, fields)

    def patch(self, place: str, at: int, data: bytes) -> None:
        """Change some bytes of an account."""
        told = self.chain.rpc("getAccountInfo", place, {"encoding": "base64"})["value"]["data"][0]
        old = b64decode(told)
        self.chain.rpc("svm_setAccount", place, {"data": (old[:at] + data + old[at + len(data) :]).hex()})

    def set_mint(self, mint: str, *extensions: tuple[int, bytes], decimals: int = 6) -> str:
        """A token of Token-2022 with these extensions, in the place of whatever was there."""
        packed = b"".join(struct.pack("<HH", kind, len(data)) + data for kind, data in extensions)
        fields = {"decimals": decimals, "supply": "1000000000", "programId": TOKEN_2022_PROGRAM}
        self.chain.rpc("svm_setMint", mint, fields | {"extensions": packed.hex()})
        return mint

    def mint_to(self, owner: str, mint: str, units: int) -> str:
        """A token account of Token-2022, made by its program as the mint wants it, with so many base units."""
        authority = Key(genesis.AUTHORITY.secret())
        place = derive_ata(owner, mint, TOKEN_2022_PROGRAM)
        accounts = (writable(mint), writable(place), signer(authority.address))
        minting = Instruction(TOKEN_2022_PROGRAM, accounts, b"\x07" + units.to_bytes(8, "little"))
        self.send([build_create_idempotent(authority.address, owner, mint, TOKEN_2022_PROGRAM), minting], authority)
        return place

    def open_account(self, owner: str, mint: str = USDC, program: str = TOKEN_PROGRAM) -> str:
        """An empty token account for somebody."""
        funder = self.account(0)
        self.send([build_create_idempotent(funder.address, owner, mint, program)], funder)
        return derive_ata(owner, mint, program)


def raw_of(shown: Presentation) -> bytes:
    """The bytes that were presented in pull mode."""
    return b64decode(shown.payload["transaction"])


def payload(raw: bytes) -> dict[str, str]:
    """The payload that presents these bytes in pull mode."""
    return {"type": "transaction", "transaction": b64encode(raw).decode()}


def rebuilt(
    raw: bytes, instructions: Sequence[Instruction], *keys: Key, payer: str | None = None, version: Any = 0
) -> bytes:
    """The same transaction with other instructions, signed anew."""
    told = read_transaction(raw)
    return sign_partially(build_message(payer or told.payer, instructions, told.blockhash, version), list(keys))


def edited(instruction: Instruction, **changes: Any) -> Instruction:
    """An instruction with some of it changed."""
    return replace(instruction, **changes)
