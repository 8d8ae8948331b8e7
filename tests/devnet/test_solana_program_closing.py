"""Closing, the payer's money and the rent in the test program: who may when, each refusal with the published number."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from solders.account import Account
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from support.channelsvm import (
    CLOSING,
    DEPOSIT,
    DISTRIBUTED,
    GRACE_S,
    OPEN,
    PROGRAM,
    SEALED,
    SPL,
    T22,
    TOKEN_PROGRAMS,
    WINDOW,
    Opening,
    State,
    Svm,
    ata,
    read,
    refused,
    refused_by_chain,
    replace_account,
    unsigned,
    with_data,
)

STATUS_AT, DEPOSIT_AT, SETTLED_AT, PAID_OUT_AT, STARTED_AT = 3, 12, 20, 28, 36
OPEN_SLOT_AT = 248


@pytest.fixture
def svm() -> Svm:
    """A chain of its own."""
    return Svm()


@pytest.fixture(params=list(TOKEN_PROGRAMS.values()), ids=list(TOKEN_PROGRAMS))
def channel(svm: Svm, request: pytest.FixtureRequest) -> Opening:
    """An open channel, with 100 settled."""
    opened = svm.opened(request.param)
    svm.settle(opened, 100)
    return opened


def closing(svm: Svm, of: Opening) -> None:
    """Ask for the close."""
    svm.send(of.request_close(), of.payer)


def test_a_seal_waits_for_the_grace_period(svm: Svm, channel: Opening) -> None:
    """Refused a second early, taken at the second itself, by anybody."""
    closing(svm, channel)
    svm.later(seconds=GRACE_S - 1)
    with refused(2201):
        svm.send(channel.seal())
    svm.later(seconds=1)
    svm.send(channel.seal())
    assert svm.state(channel) == State(SEALED, DEPOSIT, 100, 0, 0, 0)


def test_only_a_closing_channel_is_sealed_by_time(svm: Svm, channel: Opening) -> None:
    """Open, sealed and distributed ones refuse."""
    with refused(2):
        svm.send(channel.seal())
    svm.sealed(channel)
    with refused(2):
        svm.send(channel.seal())
    svm.send(channel.distribute())
    with refused(2):
        svm.send(channel.seal())


def test_only_the_payer_asks_for_a_close(svm: Svm, channel: Opening) -> None:
    """Signed by nobody, and by the payee."""
    with refused(1):
        svm.send(unsigned(channel.request_close()))
    with refused(5):
        svm.send(replace_account(channel.request_close(), 0, channel.payee.pubkey()), channel.payee)


def test_a_close_is_asked_for_once(svm: Svm, channel: Opening) -> None:
    """The clock of a closing channel does not start again; a sealed one is past it."""
    closing(svm, channel)
    with refused(2):
        closing(svm, channel)
    svm.sealed(channel)
    with refused(2):
        closing(svm, channel)


def test_a_top_up_is_refused_once_a_close_was_asked_for(svm: Svm, channel: Opening) -> None:
    """Money goes into open channels only."""
    closing(svm, channel)
    with refused(2):
        svm.send(channel.top_up(5), channel.payer)
    svm.sealed(channel)
    with refused(2):
        svm.send(channel.top_up(5), channel.payer)
    svm.send(channel.distribute())
    with refused(2):
        svm.send(channel.top_up(5), channel.payer)


def test_only_the_payer_tops_up(svm: Svm, channel: Opening) -> None:
    """Nobody else's tokens count for the payer, and nobody's are taken unasked."""
    stranger = svm.person()
    svm.hold(channel, stranger.pubkey(), 100)
    with refused(1):
        svm.send(unsigned(channel.top_up(5)))
    what = replace_account(channel.top_up(5), 0, stranger.pubkey())
    with refused(5):
        svm.send(replace_account(what, 2, channel.tokens(stranger.pubkey())), stranger)


def test_a_top_up_of_nothing_or_too_much_is_refused(svm: Svm, channel: Opening) -> None:
    """Zero, more than the payer has, and more than a number holds."""
    with refused(200):
        svm.send(channel.top_up(0), channel.payer)
    with refused(1):  # the token program's own: insufficient funds
        svm.send(channel.top_up(10**12), channel.payer)
    svm.edit(channel, DEPOSIT_AT, struct.pack("<Q", 2**64 - 5))
    with refused(2100):
        svm.send(channel.top_up(5), channel.payer)


def test_a_withdrawal_needs_a_sealed_channel(svm: Svm, channel: Opening) -> None:
    """Not open, not closing, not after everything was paid out."""
    with refused(2):
        svm.send(channel.withdraw(), channel.payer)
    closing(svm, channel)
    with refused(2):
        svm.send(channel.withdraw(), channel.payer)
    svm.sealed(channel)
    svm.send(channel.distribute())
    with refused(2):
        svm.send(channel.withdraw(), channel.payer)


def test_only_the_payer_withdraws_and_only_once(svm: Svm, channel: Opening) -> None:
    """Signed by nobody, by the payee, and a second time."""
    svm.sealed(channel)
    with refused(1):
        svm.send(unsigned(channel.withdraw()))
    what = replace_account(channel.withdraw(), 0, channel.payee.pubkey())
    with refused(5):
        svm.send(replace_account(what, 3, channel.tokens(channel.payee.pubkey())), channel.payee)
    svm.send(channel.withdraw(), channel.payer)
    with refused(2300):
        svm.send(channel.withdraw(), channel.payer)


def test_a_withdrawal_of_nothing_is_stamped_all_the_same(svm: Svm, channel: Opening) -> None:
    """All is spent: no token moves, and the one withdrawal is used."""
    svm.sealed(channel, DEPOSIT)
    before = svm.units(channel, channel.payer.pubkey())
    svm.send(channel.withdraw(), channel.payer)
    assert svm.units(channel, channel.payer.pubkey()) == before
    with refused(2300):
        svm.send(channel.withdraw(), channel.payer)


@pytest.mark.parametrize("sealed", [False, True], ids=["topUp", "withdrawPayer"])
def test_the_payer_s_money_moves_in_the_channel_s_token_only(svm: Svm, channel: Opening, sealed: bool) -> None:
    """Another mint, with every account that would go with it; another token program; no token program at all."""
    other = replace(channel, mint=svm.mint(channel.program))
    svm.hold(other, channel.payer.pubkey(), 100)
    svm.put(ata(channel.address, other.mint, other.program), T22, b"")
    if sealed:
        svm.sealed(channel)
    what, wrong = (channel.withdraw(), other.withdraw()) if sealed else (channel.top_up(5), other.top_up(5))
    with refused(7):
        svm.send(replace_account(wrong, 1, channel.address), channel.payer)
    with refused(53):
        svm.send(replace_account(what, 5, T22 if channel.program == SPL else SPL), channel.payer)
    with refused(54):
        svm.send(replace_account(what, 5, PROGRAM), channel.payer)


def test_rent_waits_for_the_window(svm: Svm, channel: Opening) -> None:
    """Refused at slot 1,500 after the opening slot, taken at the next."""
    svm.sealed(channel)
    svm.send(channel.distribute())
    svm.later(WINDOW)
    with refused(2414):
        svm.send(channel.reclaim())
    svm.later(1)
    svm.send(channel.reclaim())
    assert svm.state(channel) is None


def test_rent_goes_to_who_paid_it(svm: Svm, channel: Opening) -> None:
    """Not to the payer, and not to the crank: neither in a reclaim nor in a terminal payout."""
    svm.sealed(channel)
    svm.later(WINDOW + 1)
    for thief in (channel.payer.pubkey(), svm.crank.pubkey()):
        with refused(10):
            svm.send(replace_account(channel.distribute(), 2, thief))
    svm.edit(channel, STATUS_AT, bytes([DISTRIBUTED]))
    for thief in (channel.payer.pubkey(), svm.crank.pubkey()):
        with refused(10):
            svm.send(replace_account(channel.reclaim(), 1, thief))


def test_only_a_distributed_channel_is_reclaimed(svm: Svm, channel: Opening) -> None:
    """However old it is."""
    svm.later(WINDOW + 1)
    with refused(2):
        svm.send(channel.reclaim())
    closing(svm, channel)
    with refused(2):
        svm.send(channel.reclaim())
    svm.sealed(channel)
    with refused(2):
        svm.send(channel.reclaim())


def test_lamports_that_nobody_could_count_stay_where_they_are(svm: Svm, channel: Opening) -> None:
    """A rent payer whose balance would overflow is refused."""
    svm.sealed(channel)
    svm.send(channel.distribute())
    svm.later(WINDOW + 1)
    rich = Account(2**64 - 1, b"", Pubkey.default())
    svm.chain.set_account(channel.rent_payer.pubkey(), rich)
    with refused(2412):
        svm.send(channel.reclaim())


Step = Callable[[Opening], tuple[Instruction, tuple[Keypair, ...]]]
EVERY: dict[str, tuple[Step, int]] = {
    "settle": (lambda c: (c.settle(), ()), 0),
    "topUp": (lambda c: (c.top_up(1), (c.payer,)), 1),
    "settleAndSeal": (lambda c: (c.settle_and_seal(), (c.payee,)), 1),
    "requestClose": (lambda c: (c.request_close(), (c.payer,)), 1),
    "seal": (lambda c: (c.seal(), ()), 0),
    "distribute": (lambda c: (c.distribute(), ()), 0),
    "withdrawPayer": (lambda c: (c.withdraw(), (c.payer,)), 1),
    "reclaim": (lambda c: (c.reclaim(), ()), 0),
}
every = pytest.mark.parametrize(("step", "index"), EVERY.values(), ids=EVERY.keys())


@every
def test_a_channel_of_another_program_is_refused(svm: Svm, channel: Opening, step: Step, index: int) -> None:
    """An account with the same bytes, which somebody else's program wrote."""
    account = svm.chain.get_account(channel.address)
    assert account is not None
    forged = Keypair().pubkey()
    svm.put(forged, T22, bytes(account.data))
    what, keys = step(channel)
    with refused_by_chain("InvalidAccountOwner"):
        svm.send(replace_account(what, index, forged), *keys)


@every
@pytest.mark.parametrize(("at", "byte", "code"), [(0, 0, 3), (0, 2, 3), (1, 0, 4), (1, 2, 4)], ids=str)
def test_an_account_of_another_shape_is_refused(
    svm: Svm, channel: Opening, step: Step, index: int, at: int, byte: int, code: int
) -> None:
    """The first byte says what it is, the second in which version."""
    svm.edit(channel, at, bytes([byte]))
    what, keys = step(channel)
    with refused(code):
        svm.send(what, *keys)


@every
def test_an_account_of_another_length_is_refused(svm: Svm, channel: Opening, step: Step, index: int) -> None:
    """255 bytes are no channel."""
    account = svm.chain.get_account(channel.address)
    assert account is not None
    svm.put(channel.address, PROGRAM, bytes(account.data)[:-1])
    what, keys = step(channel)
    with refused_by_chain("InvalidAccountData"):
        svm.send(what, *keys)


@every
def test_a_status_of_the_future_is_refused(svm: Svm, channel: Opening, step: Step, index: int) -> None:
    """A fifth status means nothing to any instruction."""
    svm.edit(channel, STATUS_AT, b"\x04")
    what, keys = step(channel)
    with refused(2):
        svm.send(what, *keys)


@every
def test_a_distributed_channel_does_nothing_but_wait(svm: Svm, channel: Opening, step: Step, index: int) -> None:
    """Every instruction refuses it, the reclaim until its time."""
    svm.sealed(channel)
    svm.send(channel.distribute())
    what, keys = step(channel)
    with refused({7: 2400, 9: 2414}.get(what.data[0], 2)):
        svm.send(what, *keys)


@every
def test_another_count_of_accounts_is_refused(svm: Svm, channel: Opening, step: Step, index: int) -> None:
    """One less, and one more. Some say so with the program's number, some with the chain's, as published."""
    what, keys = step(channel)
    for accounts in (what.accounts[:-1], [*what.accounts, read(SPL)]):
        changed = Instruction(PROGRAM, what.data, accounts)
        if what.data[0] in (3, 4, 5, 8):
            with refused(9):
                svm.send(changed, *keys)
        elif what.data[0] == 7 and len(accounts) == 12:
            with refused(2409):
                svm.send(changed, *keys)
        else:
            with refused_by_chain("NotEnoughAccountKeys"):
                svm.send(changed, *keys)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\x0a", b"\xff", b"\x03" + bytes(7), b"\x03" + bytes(9), b"\x07\0\0\0"]
)
def test_data_that_is_no_instruction_is_refused(svm: Svm, channel: Opening, data: bytes) -> None:
    """No number, a number that means nothing, and an amount or splits of another length."""
    with refused_by_chain("InvalidInstructionData"):
        svm.send(with_data(channel.top_up(1), data), channel.payer)


def test_sums_that_overflow_are_refused(svm: Svm, channel: Opening) -> None:
    """States that no transaction can reach: each has its number all the same."""
    svm.edit(channel, STATUS_AT, bytes([CLOSING]))
    svm.edit(channel, STARTED_AT, struct.pack("<q", 2**63 - 1))
    with refused(2200):
        svm.send(channel.seal())
    with refused_by_chain("ArithmeticOverflow"):
        svm.send(channel.settle_and_seal(), channel.payee)
    svm.edit(channel, STATUS_AT, bytes([SEALED]))
    svm.edit(channel, SETTLED_AT, struct.pack("<Q", DEPOSIT + 1))
    with refused(2301):
        svm.send(channel.withdraw(), channel.payer)
    with refused(2411):
        svm.send(channel.distribute())
    svm.edit(channel, STATUS_AT, bytes([OPEN]))
    svm.edit(channel, PAID_OUT_AT, struct.pack("<Q", DEPOSIT + 2))
    with refused(2410):
        svm.send(channel.distribute())
    svm.edit(channel, STATUS_AT, bytes([DISTRIBUTED]))
    svm.edit(channel, OPEN_SLOT_AT, struct.pack("<Q", 2**64 - 1))
    with refused_by_chain("ArithmeticOverflow"):
        svm.send(channel.reclaim())
