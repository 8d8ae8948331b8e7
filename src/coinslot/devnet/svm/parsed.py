"""`jsonParsed`: accounts and instructions of the native programs, told as names and amounts instead of bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

from solders.account import Account
from solders.pubkey import Pubkey

from coinslot.chains.solana.programs import (
    ATA_PROGRAM,
    MEMO_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_2022_PROGRAM,
    TOKEN_PROGRAM,
)
from coinslot.devnet.svm.record import is_mint, is_token_account, token_units

Json: TypeAlias = dict[str, object]
_PROGRAM_NAMES = {TOKEN_PROGRAM: "spl-token", TOKEN_2022_PROGRAM: "spl-token-2022"}
MEMOS = frozenset({MEMO_PROGRAM, "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"})
_STATES = ("uninitialized", "initialized", "frozen")


def ui_amount(units: int, decimals: int) -> Json:
    """An amount in the four spellings of nodes."""
    whole = Decimal(units).scaleb(-decimals)
    text = format(whole, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return {"amount": str(units), "decimals": decimals, "uiAmount": float(whole), "uiAmountString": text}


def account_fields(account: Account, data: bytes, decimals_of: Callable[[str], int]) -> Json | None:
    """A mint or token account, or None for whatever else it is."""
    program = _PROGRAM_NAMES.get(str(account.owner))
    if program is None:
        return None
    if is_mint(account, data):
        info: Json = {
            "mintAuthority": _optional(data, 0),
            "supply": str(struct.unpack_from("<Q", data, 36)[0]),
            "decimals": data[44],
            "isInitialized": data[45] == 1,
            "freezeAuthority": _optional(data, 46),
        }
        return {"program": program, "parsed": {"type": "mint", "info": info}, "space": len(data)}
    if is_token_account(account, data):
        return {
            "program": program,
            "parsed": {"type": "account", "info": _holding(data, decimals_of)},
            "space": len(data),
        }
    return None


def _holding(data: bytes, decimals_of: Callable[[str], int]) -> Json:
    mint = _key(data, 0)
    decimals = decimals_of(mint)
    info: Json = {
        "mint": mint,
        "owner": _key(data, 32),
        "tokenAmount": ui_amount(token_units(data), decimals),
        "state": _STATES[min(data[108], 2)],
        "isNative": data[109] == 1,
    }
    if (delegate := _optional(data, 72)) is not None:
        info |= {"delegate": delegate, "delegatedAmount": ui_amount(struct.unpack_from("<Q", data, 121)[0], decimals)}
    if data[109] == 1:
        info["rentExemptReserve"] = ui_amount(struct.unpack_from("<Q", data, 113)[0], 9)
    if (closer := _optional(data, 129)) is not None:
        info["closeAuthority"] = closer
    return info


def _key(data: bytes, at: int) -> str:
    return str(Pubkey.from_bytes(data[at : at + 32]))


def _optional(data: bytes, at: int) -> str | None:
    return _key(data, at + 4) if data[at] == 1 else None


# --- instructions --------------------------------------------------------------------------------


def instruction(program: str, accounts: Sequence[str], data: bytes) -> Json | None:
    """The `program` and `parsed` of an instruction, or None where it has to be told as bytes."""
    if program in MEMOS:
        return {"program": "spl-memo", "parsed": data.decode("utf-8", "replace")}
    try:
        if program in _PROGRAM_NAMES:
            return _named(_PROGRAM_NAMES[program], _TOKEN[data[0]](accounts, data))
        if program == SYSTEM_PROGRAM:
            return _named("system", _SYSTEM[struct.unpack_from("<I", data)[0]](accounts, data))
        if program == ATA_PROGRAM:
            return _named("spl-associated-token-account", _ata(accounts, data))
    except (KeyError, IndexError, struct.error):
        return None  # told as bytes, as nodes do
    return None


def _named(program: str, told: tuple[str, Json]) -> Json:
    return {"program": program, "parsed": {"type": told[0], "info": told[1]}}


def _signing(accounts: Sequence[str], at: int, name: str) -> Json:
    """The authority: one key, or the members of a multisig behind it."""
    if len(accounts) > at + 1:
        return {f"multisig{name[0].upper()}{name[1:]}": accounts[at], "signers": list(accounts[at + 1 :])}
    return {name: accounts[at]}


def _u64(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<Q", data, at)[0])


def _transfer(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    told: Json = {"source": accounts[0], "destination": accounts[1], "amount": str(_u64(data, 1))}
    return "transfer", told | _signing(accounts, 2, "authority")


def _transfer_checked(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    told: Json = {"source": accounts[0], "mint": accounts[1], "destination": accounts[2]}
    told["tokenAmount"] = ui_amount(_u64(data, 1), data[9])
    return "transferChecked", told | _signing(accounts, 3, "authority")


def _mint_to(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    told: Json = {"mint": accounts[0], "account": accounts[1], "amount": str(_u64(data, 1))}
    return "mintTo", told | _signing(accounts, 2, "mintAuthority")


def _close_account(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    return "closeAccount", {"account": accounts[0], "destination": accounts[1]} | _signing(accounts, 2, "owner")


def _sync_native(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    return "syncNative", {"account": accounts[0]}


def _initialize_account3(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    return "initializeAccount3", {"account": accounts[0], "mint": accounts[1], "owner": _key(data, 1)}


def _immutable_owner(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    return "initializeImmutableOwner", {"account": accounts[0]}


def _data_size(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    return "getAccountDataSize", {"mint": accounts[0], "extensionTypes": ["immutableOwner"]}


def _create_account(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    lamports, space = struct.unpack_from("<QQ", data, 4)
    told: Json = {"source": accounts[0], "newAccount": accounts[1], "lamports": lamports, "space": space}
    return "createAccount", told | {"owner": _key(data, 20)}


def _assign(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    return "assign", {"account": accounts[0], "owner": _key(data, 4)}


def _system_transfer(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    return "transfer", {"source": accounts[0], "destination": accounts[1], "lamports": _u64(data, 4)}


def _allocate(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    return "allocate", {"account": accounts[0], "space": _u64(data, 4)}


def _ata(accounts: Sequence[str], data: bytes) -> tuple[str, Json]:
    kind = {b"": "create", b"\0": "create", b"\1": "createIdempotent"}[data]
    names = ("source", "account", "wallet", "mint", "systemProgram", "tokenProgram")
    return kind, {name: accounts[place] for place, name in enumerate(names)}


_Parse: TypeAlias = Callable[[Sequence[str], bytes], tuple[str, Json]]
_TOKEN: Mapping[int, _Parse] = {
    3: _transfer,
    7: _mint_to,
    9: _close_account,
    12: _transfer_checked,
    17: _sync_native,
    18: _initialize_account3,
    21: _data_size,
    22: _immutable_owner,
}
_SYSTEM: Mapping[int, _Parse] = {0: _create_account, 1: _assign, 2: _system_transfer, 8: _allocate}
