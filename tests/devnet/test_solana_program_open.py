"""What the test program refuses to open, each with the published number."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.rent import Rent

from support.channelsvm import (
    ATA,
    OPEN,
    PROGRAM,
    RENT,
    SPL,
    START_SLOT,
    T22,
    TOKEN_PROGRAMS,
    WINDOW,
    Opening,
    Svm,
    read,
    refused,
    refused_by_chain,
    replace_account,
    unsigned,
    with_data,
)

both = pytest.mark.parametrize("program", TOKEN_PROGRAMS.values(), ids=TOKEN_PROGRAMS.keys())
OFF_CURVE = Pubkey.find_program_address([b"nobody"], PROGRAM)[0]


@pytest.fixture
def svm() -> Svm:
    """A chain of its own."""
    return Svm()


def send(svm: Svm, of: Opening, what: Instruction | None = None) -> None:
    """Send an opening, signed by whoever it says."""
    instruction = what or of.open()
    signing = {meta.pubkey for meta in instruction.accounts if meta.is_signer}
    svm.send(instruction, *(key for key in (of.payer, of.rent_payer) if key.pubkey() in signing))


@both
@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"deposit": 0}, 200),
        ({"grace_s": 0}, 201),
        ({"open_slot": START_SLOT + 1}, 2003),
        ({"open_slot": START_SLOT - WINDOW - 1}, 2003),
        ({"open_slot": 2**64 - 1}, 2003),
    ],
    ids=str,
)
def test_terms_out_of_range_are_refused(svm: Svm, program: Pubkey, terms: dict[str, int], code: int) -> None:
    """A deposit and a grace of nothing, a slot of the future and one too old."""
    channel = svm.channel(program, **terms)
    with refused(code):
        send(svm, channel)


@pytest.mark.parametrize("age", [0, WINDOW])
def test_the_window_has_its_edges_inside(svm: Svm, age: int) -> None:
    """This slot may be opened for, and the one 1,500 before it."""
    channel = svm.opened(SPL, open_slot=START_SLOT - age)
    state = svm.state(channel)
    assert state is not None
    assert state.status == OPEN


def test_a_slot_before_the_first_is_not_the_last(svm: Svm) -> None:
    """On a young chain the largest number is not a slot of a moment ago."""
    svm.at(10, 10)
    with refused(2003):
        send(svm, svm.channel(SPL, open_slot=2**64 - 1))
    send(svm, svm.channel(SPL, open_slot=0))


def test_the_smallest_terms_are_taken(svm: Svm) -> None:
    """One unit, one second."""
    svm.opened(SPL, deposit=1, grace_s=1)


@pytest.mark.parametrize(
    ("splits", "code"),
    [
        ([(Keypair().pubkey(), 100)] * 2, 263),
        ([(Keypair().pubkey(), 0)], 261),
        ([(Keypair().pubkey(), 10_001)], 261),
        ([(Keypair().pubkey(), 5_000), (Keypair().pubkey(), 5_001)], 261),
        ([(Keypair().pubkey(), 1) for _ in range(33)], 260),
    ],
    ids=["twice the same", "nothing", "more than all", "together more than all", "33"],
)
def test_splits_that_make_no_sense_are_refused(svm: Svm, splits: list[tuple[Pubkey, int]], code: int) -> None:
    """At most 32 different recipients, each with something, together with no more than everything."""
    # few accounts but 33 entries: the opening names no recipient's account
    channel = replace(svm.channel(SPL), splits=tuple(splits))
    if code == 260:
        data = channel.open().data
        what = with_data(channel.open(), data[:29] + struct.pack("<I", 33))
    else:
        what = channel.open()
    with refused(code):
        send(svm, channel, what)


def test_a_channel_cannot_pay_itself(svm: Svm) -> None:
    """No recipient may be the channel; nobody could ever spend that share."""
    plain = svm.channel(SPL)
    channel = replace(plain, splits=((plain.address, 100),))
    with refused(261):
        send(svm, channel)


@pytest.mark.parametrize("cut", [1, 5, 28, 29, 32, 33, 66])
def test_an_opening_of_another_length_is_refused(svm: Svm, cut: int) -> None:
    """Data that ends early or goes on is no opening."""
    channel = svm.channel(SPL, splits=((Keypair().pubkey(), 100),))
    what = channel.open()
    with refused_by_chain("InvalidInstructionData"):
        send(svm, channel, with_data(what, what.data[:cut]))
    with refused_by_chain("InvalidInstructionData"):
        send(svm, channel, with_data(what, what.data + b"\0"))


def test_payer_and_payee_must_differ(svm: Svm) -> None:
    """Nobody opens a channel to himself."""
    person = svm.person()
    with refused(2001):
        send(svm, svm.channel(SPL, payer=person, payee=person))


def test_a_payee_may_be_no_key_at_all(svm: Svm) -> None:
    """A program's address can be paid: who is paid need not sign."""
    channel = svm.channel(SPL)
    what = replace_account(channel.open(), 2, OFF_CURVE)
    seeds = channel.seeds
    seeds[2] = bytes(OFF_CURVE)
    address = Pubkey.find_program_address(seeds, PROGRAM)[0]
    what = replace_account(replace_account(what, 5, address), 7, channel.tokens(address))
    send(svm, channel, what)


def test_the_authorized_signer_must_be_a_key(svm: Svm) -> None:
    """An address off the curve could never sign a voucher."""
    channel = svm.channel(SPL)
    with refused(2002):
        send(svm, channel, replace_account(channel.open(), 4, OFF_CURVE))


@pytest.mark.parametrize("index", [0, 1], ids=["payer", "rent payer"])
def test_payer_and_rent_payer_must_sign(svm: Svm, index: int) -> None:
    """Neither deposit nor rent is taken from somebody who was not asked."""
    channel = svm.channel(SPL)
    with refused(1):
        send(svm, channel, unsigned(channel.open(), index))


@both
def test_a_second_opening_is_refused(svm: Svm, program: Pubkey) -> None:
    """An address that is taken stays taken: open, sealed, or waiting for its rent."""
    channel = svm.opened(program)
    for step in (lambda: svm.sealed(channel, 5), lambda: svm.send(channel.distribute())):
        with refused(0):  # the system program's: the account is in use
            send(svm, channel)
        step()
    with refused(0):
        send(svm, channel)


@both
def test_what_is_reclaimed_opens_again_under_another_address_only(svm: Svm, program: Pubkey) -> None:
    """The old slot is too old by then, and a new one leads elsewhere: no voucher of the first life is good there."""
    first = svm.sealed(svm.opened(program), 400_000)
    svm.send(first.distribute())
    svm.later(WINDOW + 1)
    svm.send(first.reclaim())
    assert svm.state(first) is None
    with refused(2003):
        send(svm, first)
    second = replace(first, open_slot=svm.slot)
    send(svm, second)
    assert second.address != first.address
    with refused(232):
        svm.send(first.check(500_000), second.settle())
    svm.settle(second, 1)


@pytest.mark.parametrize(
    ("index", "code"),
    [(3, 53), (5, 2000), (6, 57), (7, 50), (8, 54), (12, 8)],
    ids=["mint", "channel", "payer's tokens", "escrow", "token program", "event authority"],
)
def test_another_account_is_refused(svm: Svm, index: int, code: int) -> None:
    """Each account that the terms determine is checked against them."""
    channel = svm.channel(SPL)
    other = Keypair().pubkey()
    what = replace_account(channel.open(), index, other)
    if index == 3:  # the mint is a seed: without the address that belongs to it the address would be refused first
        seeds = channel.seeds
        seeds[3] = bytes(other)
        what = replace_account(what, 5, Pubkey.find_program_address(seeds, PROGRAM)[0])
    with refused(code):
        send(svm, channel, what)


def test_a_foreign_rent_sysvar_is_refused(svm: Svm) -> None:
    """The price of rent is the chain's to name, not the caller's."""
    channel = svm.channel(SPL)
    fake = Keypair().pubkey()
    rent = svm.chain.get_account(RENT)
    assert rent is not None
    svm.put(fake, rent.owner, bytes(rent.data))
    with refused_by_chain("InvalidArgument"):
        send(svm, channel, replace_account(channel.open(), 10, fake))


@pytest.mark.parametrize(("per_byte", "threshold"), [(3480, 2.0), (6960, 1.0)])
def test_rent_is_what_the_chain_asks(svm: Svm, per_byte: int, threshold: float) -> None:
    """In both forms that the rent sysvar has had."""
    channel = svm.channel(SPL)
    svm.chain.set_rent(Rent(per_byte, threshold, 50))
    send(svm, channel)
    assert svm.lamports(channel.address) == 384 * 6960


def test_a_rent_of_another_form_is_refused(svm: Svm) -> None:
    """Better no channel than one with too little rent."""
    channel = svm.channel(SPL)
    svm.chain.set_rent(Rent(3480, 1.5, 50))
    with refused_by_chain("InvalidArgument"):
        send(svm, channel)


@pytest.mark.parametrize(("program", "other"), [(SPL, T22), (T22, SPL)], ids=["spl", "2022"])
def test_the_other_token_program_is_refused(svm: Svm, program: Pubkey, other: Pubkey) -> None:
    """A mint belongs to one token program."""
    channel = svm.channel(program)
    with refused(53):
        send(svm, channel, replace_account(channel.open(), 8, other))


def test_other_counts_of_accounts_are_refused(svm: Svm) -> None:
    """One account more or less is another instruction."""
    channel = svm.channel(SPL)
    what = channel.open()
    for accounts in (what.accounts[:-1], [*what.accounts, read(ATA)]):
        with refused_by_chain("NotEnoughAccountKeys"):
            send(svm, channel, Instruction(PROGRAM, what.data, accounts))


def test_a_deposit_that_the_payer_does_not_have_is_refused(svm: Svm) -> None:
    """The token program says so, and nothing of the channel stays."""
    channel = svm.channel(SPL)
    svm.hold(channel, channel.payer.pubkey(), channel.deposit - 1)
    with refused(1):  # the token program's own: insufficient funds
        send(svm, channel)
    assert svm.chain.get_account(channel.address) is None
