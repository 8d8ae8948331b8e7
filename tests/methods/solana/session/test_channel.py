"""What a channel is: an address that its terms make, and 256 bytes that are read to the last."""

from __future__ import annotations

import struct
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.solana.address import address_bytes, address_text, is_on_curve
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.rpc import Account
from coinslot.errors import BadTransaction, UsageError
from coinslot.methods.solana.session.channel import (
    PAYEE_AT,
    PAYER_AT,
    RENT_PAYER_AT,
    ChannelAccount,
    Seeds,
    Status,
    derive_channel,
    derive_with_bump,
    escrow_account,
    event_authority,
    read_channel,
    read_channel_account,
)
from coinslot.methods.solana.session.escrow import (
    CHANNEL_PROGRAM,
    OPEN_SLOT_WINDOW,
    can_reclaim,
    in_open_window,
    require_program,
)

A, B, C, D, E = (address_text(sha256(name).digest()) for name in (b"a", b"b", b"c", b"d", b"e"))
SEEDS = Seeds(A, B, C, D, salt=7, open_slot=435_888_000)
CHANNEL, BUMP = derive_with_bump(CHANNEL_PROGRAM, SEEDS)
STATE = ChannelAccount(
    SEEDS, Status.CLOSING, BUMP, deposit_units=1000, settled_units=600, payout_watermark_units=500,
    closure_started_at=1_700_000_000, payer_withdrawn_at=-1, grace_s=900, distribution_hash=b"h" * 32, rent_payer=E,
)  # fmt: skip


def data_of(state: ChannelAccount = STATE) -> bytes:
    """A channel's account as the program keeps it."""
    seeds = state.seeds
    return (
        bytes((1, 1, state.bump, state.status))
        + struct.pack(
            "<QQQQqqI", seeds.salt, state.deposit_units, state.settled_units, state.payout_watermark_units,
            state.closure_started_at, state.payer_withdrawn_at, state.grace_s,
        )
        + state.distribution_hash
        + b"".join(
            address_bytes(each)
            for each in (seeds.payer, seeds.payee, seeds.authorized_signer, seeds.mint, state.rent_payer)
        )
        + struct.pack("<Q", seeds.open_slot)
    )  # fmt: skip


def account(data: bytes, **changes: str) -> Account:
    """The account as a node tells it."""
    told = {"address": CHANNEL, "owner": CHANNEL_PROGRAM} | changes
    return Account(told["address"], told["owner"], 2_700_000, data, False, 9)


@pytest.mark.guard("T08")
@pytest.mark.spec("SSES-005", "SSES-007", "SSES-008", "SSES-010", "SSES-011", "SSES-012", "SSES-014")
def test_every_term_and_the_program_make_another_channel() -> None:
    """So a voucher for one is worth nothing on another, on another program, or when it is opened again."""
    changes: dict[str, Any] = {"salt": 8, "open_slot": 435_888_001}
    changed = [replace(SEEDS, **{each.name: changes.get(each.name, E)}) for each in fields(Seeds)]
    others = [derive_channel(E, SEEDS), *(derive_channel(CHANNEL_PROGRAM, seeds) for seeds in changed)]
    assert len({CHANNEL, *others}) == 8
    assert derive_channel(CHANNEL_PROGRAM, SEEDS) == CHANNEL
    assert not is_on_curve(CHANNEL)


@pytest.mark.guard("T20")
@pytest.mark.parametrize("changes", [{"salt": 2**64}, {"salt": -1}, {"open_slot": True}, {"payer": "x"}])
def test_terms_that_no_program_could_hold_are_refused(changes: dict[str, object]) -> None:
    """Before anything is derived from them."""
    with pytest.raises(UsageError):
        derive_channel(CHANNEL_PROGRAM, replace(SEEDS, **changes))  # type: ignore[arg-type]


def test_the_escrow_is_the_channels_own_token_account() -> None:
    """Of the token program that keeps the mint."""
    assert escrow_account(CHANNEL, C, TOKEN_PROGRAM) == derive_ata(CHANNEL, C, TOKEN_PROGRAM)
    assert escrow_account(CHANNEL, C, TOKEN_2022_PROGRAM) != escrow_account(CHANNEL, C, TOKEN_PROGRAM)
    assert event_authority(CHANNEL_PROGRAM) != event_authority(E)


@pytest.mark.spec("SSES-016")
def test_an_account_is_read_to_the_last_byte() -> None:
    """Whatever its status, and its members stand where nodes are asked to look for them."""
    for status in Status:
        state = replace(STATE, status=status)
        assert read_channel_account(data_of(state)) == state
        assert read_channel(CHANNEL_PROGRAM, account(data_of(state))) == state
    data = data_of()
    assert len(data) == 256
    places = (PAYER_AT, PAYEE_AT, RENT_PAYER_AT)
    assert [address_text(data[at : at + 32]) for at in places] == [SEEDS.payer, SEEDS.payee, STATE.rent_payer]


@pytest.mark.guard("T31")
@pytest.mark.guard("T08")
@pytest.mark.spec("SSES-152")
@pytest.mark.parametrize(
    "data",
    [
        bytes(256),
        b"\x02" + data_of()[1:],
        b"\x01\x02" + data_of()[2:],
        data_of()[:3] + b"\x04" + data_of()[4:],
        data_of()[:-1],
        data_of() + b"\x00",
        b"",
        data_of(replace(STATE, settled_units=1001)),
        data_of(replace(STATE, payout_watermark_units=601)),
    ],
)
def test_what_is_no_channel_is_refused(data: bytes) -> None:
    """Zeros, a tombstone, a layout or a status to come, a byte more or less, more paid out than there was."""
    with pytest.raises(BadTransaction):
        read_channel_account(data)


@pytest.mark.guard("T07")
@pytest.mark.spec("SSES-152", "SSES-149")
def test_a_channel_of_another_program_or_at_another_place_is_not_believed() -> None:
    """Anybody can write 256 bytes into an account of their own."""
    with pytest.raises(BadTransaction, match="own"):
        read_channel(CHANNEL_PROGRAM, account(data_of(), owner=E))
    with pytest.raises(BadTransaction, match="where"):
        read_channel(CHANNEL_PROGRAM, account(data_of(), address=E))
    with pytest.raises(BadTransaction, match="where"):
        read_channel(CHANNEL_PROGRAM, account(data_of(replace(STATE, bump=BUMP ^ 1))))


@given(st.integers(0, 255), st.binary(min_size=1, max_size=9))
def test_changed_accounts_are_refused_by_name_or_read(at: int, part: bytes) -> None:
    """Nothing but BadTransaction comes out; what is read is written as the same bytes."""
    changed = (data_of()[:at] + part + data_of()[at + len(part) :])[:256]
    try:
        state = read_channel_account(changed)
    except BadTransaction:
        return
    assert data_of(state) == changed


@pytest.mark.spec("SSES-048", "SSES-049", "SSES-023", "SSES-024")
def test_a_channel_is_opened_within_its_window_and_freed_only_after() -> None:
    """At no slot both: an address never holds two channels."""
    assert OPEN_SLOT_WINDOW == 1500
    assert [in_open_window(100, slot) for slot in (99, 100, 1600, 1601)] == [False, True, True, False]
    assert [can_reclaim(100, slot) for slot in (100, 1600, 1601)] == [False, False, True]


@pytest.mark.guard("T47")
def test_a_strangers_program_holds_no_deposit_of_ours() -> None:
    """Unless the owner allowed it."""
    require_program(CHANNEL_PROGRAM)
    require_program(E, [E])
    with pytest.raises(UsageError, match="not the known"):
        require_program(E)
