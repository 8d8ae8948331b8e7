"""Payouts of the test program: what goes to the treasury instead, with its event, and what is refused."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from support.channelsvm import (
    CLOSING,
    DEPOSIT,
    DISTRIBUTED,
    FROZEN,
    OPEN,
    READY,
    SEALED,
    SPL,
    T22,
    TOKEN_PROGRAMS,
    TREASURY,
    Opening,
    State,
    Svm,
    account_bytes,
    ata,
    extension,
    preimage,
    refused,
    replace_account,
    with_data,
)

RECIPIENT, PAYEE, PAYER = range(3)
EXTENSION, CLOSED, NOT_INITIALIZED, REASSIGNED = range(4)
EVENT_HEAD = hashlib.sha256(b"anchor:event").digest()[:8][::-1] + hashlib.sha256(b"event:PayoutRedirected").digest()[:8]
STATE_UNINITIALIZED = 0
MEMO_REQUIRED = extension(8, 1)
SPLIT = Keypair().pubkey()


@pytest.fixture
def svm() -> Svm:
    """A chain of its own."""
    return Svm()


@pytest.fixture(params=list(TOKEN_PROGRAMS.values()), ids=list(TOKEN_PROGRAMS))
def channel(svm: Svm, request: pytest.FixtureRequest) -> Opening:
    """An open channel with a quarter for somebody, and 1,000 settled."""
    opened = svm.opened(request.param, splits=((SPLIT, 2500),))
    svm.settle(opened, 1000)
    return opened


def redirected(of: Opening, owner: Pubkey, units: int, role: int, reason: int) -> bytes:
    """The event, as published."""
    return EVENT_HEAD + bytes(of.address) + bytes(owner) + struct.pack("<QBB", units, role, reason)


def spoil(svm: Svm, of: Opening, owner: Pubkey, how: int) -> None:
    """Make an owner's token account useless in one of the ways that redirect."""
    match how:
        case 0:
            svm.hold(of, owner, extensions=extension(7) + MEMO_REQUIRED)
        case 1:
            svm.put(of.tokens(owner), Pubkey.default(), b"")
        case 2:
            svm.hold(of, owner, state=FROZEN)
        case _:
            svm.put(of.tokens(owner), of.program, account_bytes(of.mint, Keypair().pubkey(), 0))


reasons = pytest.mark.parametrize(
    "reason", [EXTENSION, CLOSED, NOT_INITIALIZED, REASSIGNED], ids=["extension", "closed", "frozen", "reassigned"]
)


def skip_without_extensions(of: Opening, reason: int) -> None:
    """SPL Token has no extensions: an account that is too long can't be read at all."""
    if of.program == SPL and reason == EXTENSION:
        pytest.skip("not applicable: SPL Token has no extensions")


@reasons
def test_a_recipient_s_useless_account_forfeits_the_share(svm: Svm, channel: Opening, reason: int) -> None:
    """The treasury gets it, an event tells of it, everybody else is paid, and a later payout does not make it good."""
    skip_without_extensions(channel, reason)
    spoil(svm, channel, SPLIT, reason)
    done = svm.send(channel.distribute())
    assert done.events == (redirected(channel, SPLIT, 250, RECIPIENT, reason),)
    assert svm.units(channel, TREASURY) == 250
    assert svm.units(channel, channel.payee.pubkey()) == 750
    svm.hold(channel, SPLIT)
    svm.settle(channel, 1004)
    assert svm.send(channel.distribute()).events == ()
    assert svm.units(channel, SPLIT) == 1


@reasons
def test_a_payee_s_useless_account_forfeits_the_rest(svm: Svm, channel: Opening, reason: int) -> None:
    """The payee is no better off than any recipient."""
    skip_without_extensions(channel, reason)
    spoil(svm, channel, channel.payee.pubkey(), reason)
    done = svm.send(channel.distribute())
    assert done.events == (redirected(channel, channel.payee.pubkey(), 750, PAYEE, reason),)
    assert svm.units(channel, TREASURY) == 750
    assert svm.units(channel, SPLIT) == 250


@reasons
def test_a_payer_s_useless_account_forfeits_the_refund(svm: Svm, channel: Opening, reason: int) -> None:
    """Only the terminal payout has a refund; there the payer cannot hold up the payee."""
    skip_without_extensions(channel, reason)
    payer = channel.payer.pubkey()
    spoil(svm, channel, payer, reason)
    svm.sealed(channel)
    done = svm.send(channel.distribute())
    assert done.events == (redirected(channel, payer, DEPOSIT - 1000, PAYER, reason),)
    assert svm.units(channel, TREASURY) == DEPOSIT - 1000
    assert svm.units(channel, channel.payee.pubkey()) == 750


def test_an_uninitialized_account_forfeits_too(svm: Svm, channel: Opening) -> None:
    """Not only frozen ones."""
    svm.hold(channel, SPLIT, state=STATE_UNINITIALIZED)
    assert svm.send(channel.distribute()).events == (redirected(channel, SPLIT, 250, RECIPIENT, NOT_INITIALIZED),)


def test_all_useless_accounts_forfeit_together(svm: Svm, channel: Opening) -> None:
    """Three events in the order of the payouts, and the treasury has everything."""
    payer, payee = channel.payer.pubkey(), channel.payee.pubkey()
    for owner in (SPLIT, payee, payer):
        spoil(svm, channel, owner, CLOSED)
    svm.sealed(channel)
    assert svm.send(channel.distribute()).events == (
        redirected(channel, SPLIT, 250, RECIPIENT, CLOSED),
        redirected(channel, payee, 750, PAYEE, CLOSED),
        redirected(channel, payer, DEPOSIT - 1000, PAYER, CLOSED),
    )
    assert svm.units(channel, TREASURY) == DEPOSIT


def test_a_share_of_nothing_needs_no_account(svm: Svm) -> None:
    """All for the recipient, nothing for the payee and back to the payer: their accounts may be gone, no event."""
    channel = svm.opened(SPL, splits=((SPLIT, 10_000),))
    for owner in (channel.payer.pubkey(), channel.payee.pubkey()):
        spoil(svm, channel, owner, CLOSED)
    svm.sealed(channel, DEPOSIT)
    assert svm.send(channel.distribute()).events == ()
    assert svm.units(channel, SPLIT) == DEPOSIT


@pytest.mark.parametrize("units", [1000, 0], ids=["with a share", "with nothing"])
@pytest.mark.parametrize(("index", "code"), [(11, 2404), (5, 60), (4, 57), (6, 2401), (3, 50)])
def test_another_account_than_the_owner_s_is_refused(
    svm: Svm, channel: Opening, index: int, code: int, units: int
) -> None:
    """A crank can't send anybody's share elsewhere: recipient, payee, payer, treasury, escrow."""
    thief = svm.hold(channel, svm.crank.pubkey())
    if units == 0:
        svm.send(channel.distribute())  # from here on no share is due
        if index == 4:
            svm.sealed(channel, DEPOSIT)
            svm.send(replace_account(channel.distribute(), index, thief))
            assert svm.units(channel, svm.crank.pubkey()) == 0
            return
    svm.sealed(channel)
    with refused(code):
        svm.send(replace_account(channel.distribute(), index, thief))


@pytest.mark.parametrize(
    ("index", "code"), [(1, 5), (2, 10), (7, 7), (8, 54)], ids=["payer", "rent payer", "mint", "token program"]
)
def test_another_party_or_token_is_refused(svm: Svm, channel: Opening, index: int, code: int) -> None:
    """What the channel remembers, the caller can't say otherwise."""
    other = svm.mint(channel.program) if index == 7 else svm.crank.pubkey()
    with refused(code):
        svm.send(replace_account(channel.distribute(), index, other))


def test_the_other_token_program_is_refused(svm: Svm, channel: Opening) -> None:
    """The mint belongs to one of them."""
    with refused(53):
        svm.send(replace_account(channel.distribute(), 8, T22 if channel.program == SPL else SPL))


def test_a_treasury_that_can_take_nothing_is_refused(svm: Svm, channel: Opening) -> None:
    """It must stand ready before anything is paid: it has to take what others can't."""
    svm.hold(channel, TREASURY, state=FROZEN)
    with refused(2401):
        svm.send(channel.distribute())
    svm.put(channel.tokens(TREASURY), channel.program, account_bytes(channel.mint, svm.crank.pubkey(), 0))
    with refused(2401):
        svm.send(channel.distribute())
    svm.put(channel.tokens(TREASURY), Pubkey.default(), b"")
    with refused(2402):
        svm.send(channel.distribute())


def test_a_frozen_escrow_pays_nobody(svm: Svm, channel: Opening) -> None:
    """The issuer can stop a channel: payout, top-up and withdrawal wait until the escrow is thawed."""
    svm.hold(channel, channel.address, DEPOSIT, FROZEN)
    with refused(50):
        svm.send(channel.distribute())
    with refused(50):
        svm.send(channel.top_up(5), channel.payer)
    svm.sealed(channel)
    with refused(50):
        svm.send(channel.withdraw(), channel.payer)
    svm.hold(channel, channel.address, DEPOSIT, READY)
    svm.send(channel.withdraw(), channel.payer)


def test_other_splits_than_those_committed_are_refused(svm: Svm, channel: Opening) -> None:
    """More for the recipient, another recipient, none at all."""
    for splits in (((SPLIT, 2501),), ((Keypair().pubkey(), 2500),), ()):
        with refused(2407):
            svm.send(replace(channel, splits=splits).distribute())


@pytest.mark.parametrize(
    ("splits", "code"),
    [(((SPLIT, 0),), 261), (((SPLIT, 10_001),), 261), (((SPLIT, 1), (SPLIT, 1)), 263)],
    ids=["nothing", "too much", "twice"],
)
def test_splits_that_could_not_be_opened_are_refused(
    svm: Svm, channel: Opening, splits: tuple[tuple[Pubkey, int], ...], code: int
) -> None:
    """They are read by the same rules as at the opening, before they are hashed."""
    with refused(code):
        svm.send(replace(channel, splits=splits).distribute())


def test_each_recipient_needs_an_account(svm: Svm, channel: Opening) -> None:
    """As many accounts behind the fixed ones as there are recipients."""
    what = channel.distribute()
    fewer = replace(channel, splits=()).distribute()
    with refused(2409):
        svm.send(with_data(fewer, what.data))
    more = replace(channel, splits=channel.splits * 2).distribute()
    with refused(2409):
        svm.send(with_data(more, what.data))


def test_accounts_follow_the_order_of_the_splits(svm: Svm) -> None:
    """Two recipients with their accounts exchanged."""
    one, other = Keypair().pubkey(), Keypair().pubkey()
    channel = svm.opened(SPL, splits=((one, 2500), (other, 2500)))
    svm.settle(channel, 1000)
    swapped = replace(channel, splits=((other, 2500), (one, 2500))).distribute()
    with refused(2404):
        svm.send(with_data(swapped, channel.distribute().data))
    assert bytes(channel.distribute().data[1:]) == preimage(channel.splits)


def test_an_open_channel_pays_only_what_is_new(svm: Svm, channel: Opening) -> None:
    """Nothing settled since the last payout: refused; a sealed channel is paid out all the same."""
    svm.send(channel.distribute())
    with refused(2408):
        svm.send(channel.distribute())
    svm.sealed(channel)
    svm.send(channel.distribute())
    state = svm.state(channel)
    assert state == State(DISTRIBUTED, DEPOSIT, 1000, 1000, 0, 0)


def test_a_closing_channel_pays_nobody(svm: Svm, channel: Opening) -> None:
    """Until it is sealed."""
    svm.send(channel.request_close(), channel.payer)
    with refused(2400):
        svm.send(channel.distribute())
    state = svm.state(channel)
    assert state is not None
    assert state.status == CLOSING


def test_a_payout_without_the_event_authority_is_refused_when_it_must_tell(svm: Svm, channel: Opening) -> None:
    """Without a redirect nobody looks at that account."""
    svm.send(replace_account(channel.distribute(), 9, svm.crank.pubkey()))
    svm.settle(channel, 2000)
    spoil(svm, channel, SPLIT, CLOSED)
    with refused(8):
        svm.send(replace_account(channel.distribute(), 9, svm.crank.pubkey()))


def test_an_account_of_another_mint_is_not_the_owner_s(svm: Svm, channel: Opening) -> None:
    """The payee's account in another token of the same program."""
    other = svm.mint(channel.program)
    at = ata(channel.payee.pubkey(), other, channel.program)
    svm.put(at, channel.program, account_bytes(other, channel.payee.pubkey(), 0))
    with refused(60):
        svm.send(replace_account(channel.distribute(), 5, at))


def test_a_refund_is_paid_once_whatever_the_order(svm: Svm, channel: Opening) -> None:
    """Withdrawn before the payout, the payer gets nothing from it; its state says since when."""
    start = svm.units(channel, channel.payer.pubkey())
    svm.sealed(channel)
    svm.send(channel.withdraw(), channel.payer)
    assert svm.state(channel) == State(SEALED, DEPOSIT, 1000, 0, 0, svm.now_s)
    svm.send(channel.distribute())
    assert svm.units(channel, channel.payer.pubkey()) == start + DEPOSIT - 1000


def test_an_open_channel_refunds_nothing(svm: Svm, channel: Opening) -> None:
    """The payer's rest stays in the escrow until the channel is sealed."""
    start = svm.units(channel, channel.payer.pubkey())
    svm.send(channel.distribute())
    assert svm.units(channel, channel.payer.pubkey()) == start
    assert svm.units(channel, channel.address) == DEPOSIT - 1000
    state = svm.state(channel)
    assert state is not None
    assert state.status == OPEN
