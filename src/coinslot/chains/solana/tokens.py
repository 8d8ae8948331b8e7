"""Mints and token accounts as SPL Token and Token-2022 keep them, extensions listed one by one.

    mint      82 bytes       token account   165 bytes
    Token-2022 may go on: zeros up to 165, a byte that says which of both it is, then extensions (u16 kind, u16 length,
    data) and zeros to the end.

What an extension means for a payment is for the payment method to judge; here none is overlooked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from coinslot.chains.solana.address import ADDRESS_BYTES, address_text
from coinslot.chains.solana.instruction import unpack
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.errors import BadTransaction

MINT_BYTES = 82
TOKEN_ACCOUNT_BYTES = 165
_IS_MINT, _IS_ACCOUNT = 1, 2


class ExtensionKind(IntEnum):
    """The extensions of Token-2022 that have a name; an account may carry newer ones."""

    TRANSFER_FEE_CONFIG = 1
    TRANSFER_FEE_AMOUNT = 2
    MINT_CLOSE_AUTHORITY = 3
    CONFIDENTIAL_TRANSFER_MINT = 4
    CONFIDENTIAL_TRANSFER_ACCOUNT = 5
    DEFAULT_ACCOUNT_STATE = 6
    IMMUTABLE_OWNER = 7
    MEMO_TRANSFER = 8
    NON_TRANSFERABLE = 9
    INTEREST_BEARING_CONFIG = 10
    CPI_GUARD = 11
    PERMANENT_DELEGATE = 12
    NON_TRANSFERABLE_ACCOUNT = 13
    TRANSFER_HOOK = 14
    TRANSFER_HOOK_ACCOUNT = 15
    CONFIDENTIAL_TRANSFER_FEE_CONFIG = 16
    CONFIDENTIAL_TRANSFER_FEE_AMOUNT = 17
    METADATA_POINTER = 18
    TOKEN_METADATA = 19
    GROUP_POINTER = 20
    TOKEN_GROUP = 21
    GROUP_MEMBER_POINTER = 22
    TOKEN_GROUP_MEMBER = 23
    CONFIDENTIAL_MINT_BURN = 24
    SCALED_UI_AMOUNT = 25
    PAUSABLE = 26
    PAUSABLE_ACCOUNT = 27


class TokenState(IntEnum):
    """Whether a token account can be used."""

    UNINITIALIZED = 0
    INITIALIZED = 1
    FROZEN = 2


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension: its kind (an ExtensionKind, or a number that we don't know) and its data."""

    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Mint:
    """A token: `program` is the token program that keeps it, supply in base units; an authority of None is nobody."""

    program: str
    decimals: int
    supply_units: int
    mint_authority: str | None
    freeze_authority: str | None
    extensions: tuple[Extension, ...]


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """What somebody has of a token, in base units."""

    program: str
    mint: str
    owner: str
    amount_units: int
    state: TokenState
    delegate: str | None
    delegated_units: int
    close_authority: str | None
    is_native: bool
    extensions: tuple[Extension, ...]


def read_mint(program: str, data: bytes) -> Mint:
    """An initialized mint from the data of an account that `program` owns. Raises BadTransaction."""
    extensions = _extensions(program, data, MINT_BYTES, _IS_MINT)
    if data[45] != 1:
        raise BadTransaction("this mint is not initialized")
    return Mint(
        program,
        decimals=data[44],
        supply_units=unpack(data, 36, 8),
        mint_authority=_optional_address(data, 0),
        freeze_authority=_optional_address(data, 46),
        extensions=extensions,
    )


def read_token_account(program: str, data: bytes) -> TokenAccount:
    """A token account from the data of an account that `program` owns, in any state. Raises BadTransaction."""
    extensions = _extensions(program, data, TOKEN_ACCOUNT_BYTES, _IS_ACCOUNT)
    try:
        state = TokenState(data[108])
    except ValueError as error:
        raise BadTransaction("a state of a token account that we don't know") from error
    return TokenAccount(
        program,
        mint=address_text(data[:32]),
        owner=address_text(data[32:64]),
        amount_units=unpack(data, 64, 8),
        state=state,
        delegate=_optional_address(data, 72),
        delegated_units=unpack(data, 121, 8),
        close_authority=_optional_address(data, 129),
        is_native=_is_some(data, 109),
        extensions=extensions,
    )


def _extensions(program: str, data: bytes, size: int, kind: int) -> tuple[Extension, ...]:
    """The extensions behind the first `size` bytes, which must be there in whole."""
    if program not in (TOKEN_PROGRAM, TOKEN_2022_PROGRAM):
        raise BadTransaction("no token program owns this account")
    if len(data) == size:
        return ()
    if program == TOKEN_PROGRAM or len(data) <= TOKEN_ACCOUNT_BYTES:
        raise BadTransaction(f"not {size} bytes")
    if any(data[size:TOKEN_ACCOUNT_BYTES]) or data[TOKEN_ACCOUNT_BYTES] != kind:
        raise BadTransaction("not the kind of account that it should be")
    return _entries(data, TOKEN_ACCOUNT_BYTES + 1)


def _entries(data: bytes, at: int) -> tuple[Extension, ...]:
    found: dict[int, Extension] = {}
    while len(data) - at >= 4 and (kind := unpack(data, at, 2)):
        end = at + 4 + unpack(data, at + 2, 2)
        if end > len(data) or kind in found:
            raise BadTransaction("an extension stands twice, or is cut off")
        found[kind] = Extension(kind, data[at + 4 : end])
        at = end
    if any(data[at:]):  # an extension behind the end would be one that nobody judges
        raise BadTransaction("bytes follow the last extension")
    return tuple(found.values())


def _is_some(data: bytes, at: int) -> bool:
    tag = unpack(data, at, 4)
    if tag > 1:
        raise BadTransaction("an optional member is neither there nor absent")
    return tag == 1


def _optional_address(data: bytes, at: int) -> str | None:
    return address_text(data[at + 4 : at + 4 + ADDRESS_BYTES]) if _is_some(data, at) else None
