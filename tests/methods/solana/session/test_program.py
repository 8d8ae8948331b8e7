"""The ten instructions: each is read back as it was built, and nothing beside it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.chains.solana.address import address_text
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.instruction import AccountMeta, Instruction
from coinslot.chains.solana.message import build_message, read_transaction, sign_partially
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.errors import BadTransaction, UsageError
from coinslot.methods.solana.session import program as calls
from coinslot.methods.solana.session.channel import ChannelAccount, Seeds, Status, derive_channel, derive_with_bump
from coinslot.methods.solana.session.distribution import Split, distribution_hash
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM, TREASURY_OWNER

KEYS = [Key(sha256(name).digest()) for name in (b"payer", b"operator", b"payee", b"signer")]
PAYER, OPERATOR, PAYEE, SIGNER = (key.address for key in KEYS)
MINT, R1, R2, STRANGER = (address_text(sha256(name).digest()) for name in (b"mint", b"r1", b"r2", b"s"))
SEEDS = Seeds(PAYER, PAYEE, MINT, SIGNER, salt=1, open_slot=2)
SPLITS = (Split(R1, 100), Split(R2, 9_900))
OPEN = calls.Open(SEEDS, TOKEN_2022_PROGRAM, OPERATOR, 5_000_000, 900, SPLITS)
CHANNEL, BUMP = derive_with_bump(CHANNEL_PROGRAM, SEEDS)
ACCOUNT = ChannelAccount(SEEDS, Status.SEALED, BUMP, 9, 8, 7, 0, 0, 900, distribution_hash(SPLITS), OPERATOR)
DISTRIBUTE = calls.distribute_of(CHANNEL, ACCOUNT, TOKEN_PROGRAM, TREASURY_OWNER, SPLITS)

CASES: dict[str, tuple[Callable[..., Instruction], Callable[..., object], Any, int]] = {
    "open": (calls.build_open, calls.read_open, OPEN, 1),
    "settle": (calls.build_settle, calls.read_settle, calls.Settle(CHANNEL), 2),
    "topUp": (calls.build_top_up, calls.read_top_up, calls.TopUp(CHANNEL, PAYER, MINT, TOKEN_PROGRAM, 7), 3),
    "settleAndSeal": (
        calls.build_settle_and_seal, calls.read_settle_and_seal, calls.SettleAndSeal(CHANNEL, PAYEE, True), 4
    ),
    "requestClose": (calls.build_request_close, calls.read_request_close, calls.RequestClose(CHANNEL, PAYER), 5),
    "seal": (calls.build_seal, calls.read_seal, calls.Seal(CHANNEL), 6),
    "distribute": (calls.build_distribute, calls.read_distribute, DISTRIBUTE, 7),
    "withdrawPayer": (
        calls.build_withdraw_payer, calls.read_withdraw_payer,
        calls.WithdrawPayer(CHANNEL, PAYER, MINT, TOKEN_PROGRAM), 8,
    ),
    "reclaim": (calls.build_reclaim, calls.read_reclaim, calls.Reclaim(CHANNEL, OPERATOR), 9),
    "emitEvent": (calls.build_emit_event, calls.read_emit_event, calls.EmitEvent(b"event"), 228),
}  # fmt: skip
NAMES = list(CASES)


def built(name: str) -> Instruction:
    """The instruction of a case."""
    build, _, call, _ = CASES[name]
    return build(CHANNEL_PROGRAM, call)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_read_back_by_its_own_reader_only(name: str) -> None:
    """By its number."""
    instruction = built(name)
    assert instruction.data[0] == CASES[name][3]
    for other, (_, read, call, _) in CASES.items():
        if other == name:
            assert read(CHANNEL_PROGRAM, instruction) == call
        else:
            with pytest.raises(BadTransaction):
                read(CHANNEL_PROGRAM, instruction)


@pytest.mark.guard("T47")
@pytest.mark.parametrize("name", NAMES)
def test_another_program_is_not_the_channels(name: str) -> None:
    """Not when it is called, and not when it is named; the top-up, too."""
    build, read, call, _ = CASES[name]
    with pytest.raises(BadTransaction, match="another program"):
        read(CHANNEL_PROGRAM, build(STRANGER, call))
    assert build(STRANGER, call).program == STRANGER
    with pytest.raises(BadTransaction):
        read(STRANGER, built(name))


@pytest.mark.guard("T31")
@pytest.mark.parametrize("name", NAMES)
def test_every_account_is_the_one_it_must_be(name: str) -> None:
    """Another in its place is another call, or none; one too many or too few is none; a missing role is none."""
    instruction, (_, read, call, _) = built(name), CASES[name]
    accounts = list(instruction.accounts)
    for place, account in enumerate(accounts):
        other = [*accounts[:place], replace(account, address=STRANGER), *accounts[place + 1 :]]
        with suppress(BadTransaction):
            assert read(CHANNEL_PROGRAM, replace(instruction, accounts=tuple(other))) != call
        more = [*accounts[:place], replace(account, signer=True, writable=True), *accounts[place + 1 :]]
        assert read(CHANNEL_PROGRAM, replace(instruction, accounts=tuple(more))) == call
        if account.signer or account.writable:
            less = [*accounts[:place], AccountMeta(account.address), *accounts[place + 1 :]]
            with pytest.raises(BadTransaction, match="role"):
                read(CHANNEL_PROGRAM, replace(instruction, accounts=tuple(less)))
    for wrong in ([*accounts, AccountMeta(STRANGER)], accounts[:-1]):
        with pytest.raises(BadTransaction):
            read(CHANNEL_PROGRAM, replace(instruction, accounts=tuple(wrong)))


@pytest.mark.guard("T31")
@pytest.mark.parametrize("name", [name for name in NAMES if name != "emitEvent"])
def test_a_byte_more_or_less_is_refused(name: str) -> None:
    """And every other number of an instruction."""
    instruction, (_, read, _, number) = built(name), CASES[name]
    for data in (instruction.data + b"\x00", instruction.data[:-1], bytes((number ^ 16,)) + instruction.data[1:]):
        with pytest.raises(BadTransaction):
            read(CHANNEL_PROGRAM, replace(instruction, data=data))


@given(st.sampled_from(NAMES), st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_changed_instructions_are_refused_by_name_or_are_what_they_are_read_as(name: str, at: int, part: bytes) -> None:
    """Nothing but BadTransaction comes out; what is read builds the very same bytes."""
    instruction, (build, read, _, _) = built(name), CASES[name]
    at %= len(instruction.data)
    changed = replace(instruction, data=instruction.data[:at] + part + instruction.data[at + len(part) :])
    try:
        call = read(CHANNEL_PROGRAM, changed)
    except BadTransaction:
        return
    assert build(CHANNEL_PROGRAM, call) == changed


@pytest.mark.spec("SSES-014", "SSES-021", "SSES-022")
def test_who_opens_which_channel_stands_in_the_document_s_order() -> None:
    """Payer, who pays the rent, payee, mint, signer, channel; both payers sign and are written."""
    accounts = built("open").accounts
    assert [each.address for each in accounts[:6]] == [PAYER, OPERATOR, PAYEE, MINT, SIGNER, CHANNEL]
    assert [(each.signer, each.writable) for each in accounts[:6]] == [
        (True, True), (True, True), (False, False), (False, False), (False, False), (False, True)
    ]  # fmt: skip


@pytest.mark.spec("SSES-018", "SSES-019", "SSES-027", "SSES-031", "SSES-171", "SSES-172")
@pytest.mark.parametrize(
    "build",
    [
        lambda: calls.build_open(CHANNEL_PROGRAM, replace(OPEN, deposit_units=0)),
        lambda: calls.build_open(CHANNEL_PROGRAM, replace(OPEN, deposit_units=2**64)),
        lambda: calls.build_open(CHANNEL_PROGRAM, replace(OPEN, grace_s=0)),
        lambda: calls.build_open(CHANNEL_PROGRAM, replace(OPEN, grace_s=2**32)),
        lambda: calls.build_open(CHANNEL_PROGRAM, replace(OPEN, token_program=STRANGER)),
        lambda: calls.build_open(CHANNEL_PROGRAM, replace(OPEN, seeds=replace(SEEDS, payee=PAYER))),
        lambda: calls.build_open(CHANNEL_PROGRAM, replace(OPEN, seeds=replace(SEEDS, authorized_signer=CHANNEL))),
        lambda: calls.build_open(CHANNEL_PROGRAM, replace(OPEN, splits=(Split(CHANNEL, 1),))),
        lambda: calls.build_top_up(CHANNEL_PROGRAM, calls.TopUp(CHANNEL, PAYER, MINT, TOKEN_PROGRAM, 0)),
        lambda: calls.build_top_up(CHANNEL_PROGRAM, calls.TopUp(CHANNEL, PAYER, MINT, TOKEN_PROGRAM, 2**64)),
        lambda: calls.build_distribute(CHANNEL_PROGRAM, replace(DISTRIBUTE, splits=(Split(CHANNEL, 1),))),
    ],
)
def test_what_the_program_would_refuse_is_not_built(build: Callable[[], object]) -> None:
    """Zero, too large, the same party twice, a signer that no key can be, a channel that pays itself."""
    with pytest.raises(UsageError):
        build()


@pytest.mark.guard("T15")
@pytest.mark.spec("SSES-172")
def test_an_opening_for_a_signer_that_no_key_can_be_is_refused() -> None:
    """Its vouchers could never be settled."""
    seeds = replace(SEEDS, authorized_signer=CHANNEL)
    with pytest.raises(UsageError, match="no key exists"):
        calls.build_open(CHANNEL_PROGRAM, replace(OPEN, seeds=seeds))


@pytest.mark.spec("SSES-004", "SSES-036", "SSES-037", "SSES-038")
def test_a_distribution_pays_the_committed_recipients_own_accounts() -> None:
    """In the order of the splits; who paid the rent stands behind the payer, written and not signing."""
    accounts = built("distribute").accounts
    tail = [derive_ata(split.recipient, MINT, TOKEN_PROGRAM) for split in SPLITS]
    assert [each.address for each in accounts[11:]] == tail
    assert [(each.signer, each.writable) for each in accounts[1:3]] == [(False, True), (False, True)]
    assert [each.address for each in accounts[1:3]] == [PAYER, OPERATOR]
    with pytest.raises(UsageError, match="not the splits"):
        calls.distribute_of(CHANNEL, ACCOUNT, TOKEN_PROGRAM, TREASURY_OWNER, SPLITS[::-1])


def test_an_opening_with_few_recipients_fits_a_transaction() -> None:
    """And is read out of it again, roles of the whole transaction and all."""
    instruction = built("open")
    message = build_message(OPERATOR, [instruction], address_text(bytes(32)))
    transaction = read_transaction(sign_partially(message, [KEYS[0]]))
    assert transaction.unsigned == (OPERATOR,)
    assert calls.read_open(CHANNEL_PROGRAM, transaction.instructions[0]) == OPEN
    assert derive_channel(CHANNEL_PROGRAM, OPEN.seeds) == CHANNEL
