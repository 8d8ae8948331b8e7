"""The life of a channel in the test program, on both token programs: every instruction's good path.

An independent test implementation: what passes here proves what our own program does, not the published one.
"""

from __future__ import annotations

import hashlib
import struct

import pytest
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from support.channelsvm import (
    CLOSING,
    DEPOSIT,
    DISTRIBUTED,
    EVENT_AUTHORITY,
    GRACE_S,
    LAMPORTS,
    OPEN,
    PROGRAM,
    SEALED,
    START_S,
    START_SLOT,
    TOKEN_PROGRAMS,
    TREASURY,
    WINDOW,
    State,
    Svm,
    call,
    distribution_hash,
    mint_bytes,
    read,
    refused,
    refused_by_chain,
    replace_account,
    signs,
)

CHANNEL_RENT = (128 + 256) * 6960
both = pytest.mark.parametrize("program", TOKEN_PROGRAMS.values(), ids=TOKEN_PROGRAMS.keys())


@pytest.fixture
def svm() -> Svm:
    """A chain of its own."""
    return Svm()


def event(name: str) -> bytes:
    """How an event begins."""
    return hashlib.sha256(b"anchor:event").digest()[:8][::-1] + hashlib.sha256(b"event:" + name.encode()).digest()[:8]


@both
def test_open_writes_the_256_bytes_and_moves_the_deposit(svm: Svm, program: Pubkey) -> None:
    """The account holds every term at its published place, the escrow the deposit; one event tells of it."""
    split = Keypair().pubkey()
    channel = svm.channel(program, splits=((split, 2500),), salt=2**64 - 1, open_slot=START_SLOT - 3)
    before = svm.units(channel, channel.payer.pubkey())
    done = svm.send(channel.open(), channel.payer, channel.rent_payer)
    account = svm.chain.get_account(channel.address)
    assert account is not None
    assert account.owner == PROGRAM
    bump = Pubkey.find_program_address(channel.seeds, PROGRAM)[1]
    parties = (channel.payer, channel.payee, channel.signer)
    assert bytes(account.data) == b"".join(
        (
            struct.pack("<BBBB", 1, 1, bump, OPEN),
            struct.pack("<QQQQqqI", 2**64 - 1, DEPOSIT, 0, 0, 0, 0, GRACE_S),
            distribution_hash(channel.splits),
            *(bytes(key.pubkey()) for key in parties),
            bytes(channel.mint),
            bytes(channel.rent_payer.pubkey()),
            struct.pack("<Q", START_SLOT - 3),
        )
    )
    assert svm.units(channel, channel.address) == DEPOSIT
    assert svm.units(channel, channel.payer.pubkey()) == before - DEPOSIT
    assert done.events == (event("Opened") + bytes(channel.address) + struct.pack("<Q", START_SLOT - 3),)


@both
def test_the_rent_payer_pays_all_rent_and_gets_all_of_it_back(svm: Svm, program: Pubkey) -> None:
    """Account and escrow cost the rent payer what the chain asks, the payer nothing; the end returns every lamport."""
    channel = svm.opened(program)
    rent = svm.chain.minimum_balance_for_rent_exemption
    escrow = svm.chain.get_account(channel.escrow)
    assert escrow is not None
    assert svm.lamports(channel.address) == rent(256) == CHANNEL_RENT
    assert svm.lamports(channel.rent_payer.pubkey()) == LAMPORTS - rent(256) - rent(len(escrow.data))
    assert svm.lamports(channel.payer.pubkey()) == LAMPORTS
    svm.send(svm.sealed(channel).distribute())
    svm.later(WINDOW + 1)
    svm.send(channel.reclaim())
    assert svm.lamports(channel.rent_payer.pubkey()) == LAMPORTS


@both
def test_a_payer_may_pay_the_rent_too(svm: Svm, program: Pubkey) -> None:
    """Payer and rent payer may be one key."""
    payer = svm.person()
    channel = svm.channel(program, payer=payer, rent_payer=payer)
    svm.send(channel.open(), payer)
    svm.settle(channel, 5)
    svm.send(svm.sealed(channel).distribute())
    svm.later(WINDOW + 1)
    svm.send(channel.reclaim())
    assert svm.lamports(payer.pubkey()) == LAMPORTS


@both
def test_vouchers_move_the_watermark_and_nothing_else(svm: Svm, program: Pubkey) -> None:
    """Each settlement puts the watermark where its voucher says; no token moves."""
    channel = svm.opened(program)
    for units in (1, 2, 500_000, DEPOSIT):
        svm.settle(channel, units)
        assert svm.state(channel) == State(OPEN, DEPOSIT, units, 0, 0, 0)
    assert svm.units(channel, channel.address) == DEPOSIT


@both
def test_payouts_follow_the_watermark_and_lose_nothing_to_rounding(svm: Svm, program: Pubkey) -> None:
    """Shares are rounded on the running total: three payouts give together what one would have given."""
    one, other = Keypair().pubkey(), Keypair().pubkey()
    channel = svm.opened(program, splits=((one, 3333), (other, 3333)))
    for units in (1, 2, 10, 10_001):
        svm.settle(channel, units)
        svm.send(channel.distribute())
        assert svm.state(channel) == State(OPEN, DEPOSIT, units, units, 0, 0)
        assert svm.units(channel, one) == svm.units(channel, other) == units * 3333 // 10_000
        assert svm.units(channel, channel.payee.pubkey()) == units * 3334 // 10_000
    assert svm.units(channel, TREASURY) == 0


@both
def test_a_top_up_raises_the_ceiling(svm: Svm, program: Pubkey) -> None:
    """Escrow and deposit grow by the amount, and a voucher may reach the new deposit."""
    channel = svm.opened(program)
    svm.send(channel.top_up(500), channel.payer)
    assert svm.units(channel, channel.address) == DEPOSIT + 500
    svm.settle(channel, DEPOSIT + 500)
    assert svm.state(channel) == State(OPEN, DEPOSIT + 500, DEPOSIT + 500, 0, 0, 0)


@both
def test_the_payee_seals_and_everybody_is_paid_at_once(svm: Svm, program: Pubkey) -> None:
    """The last voucher, the seal and the payout fit one transaction: splits, payee, payer's rest, treasury's dust."""
    split = Keypair().pubkey()
    channel = svm.opened(program, splits=((split, 3333),))
    start = svm.units(channel, channel.payer.pubkey())
    svm.send(channel.check(101), channel.settle_and_seal(1), channel.distribute(), channel.payee)
    assert svm.state(channel) == State(DISTRIBUTED, DEPOSIT, 101, 0, 0, 0)
    assert svm.units(channel, split) == 33
    assert svm.units(channel, channel.payee.pubkey()) == 67
    assert svm.units(channel, TREASURY) == 1
    assert svm.units(channel, channel.payer.pubkey()) == start + DEPOSIT - 101
    escrow = svm.chain.get_account(channel.escrow)
    assert escrow is None or not escrow.data


@both
def test_the_payer_gets_out_alone(svm: Svm, program: Pubkey) -> None:
    """Close request, grace, seal by anybody, withdrawal; the later payout gives the payer nothing twice."""
    channel = svm.opened(program)
    svm.settle(channel, 400)
    start = svm.units(channel, channel.payer.pubkey())
    svm.send(channel.request_close(), channel.payer)
    assert svm.state(channel) == State(CLOSING, DEPOSIT, 400, 0, START_S, 0)
    svm.later(seconds=GRACE_S)
    svm.send(channel.seal())
    assert svm.state(channel) == State(SEALED, DEPOSIT, 400, 0, 0, 0)
    svm.send(channel.withdraw(), channel.payer)
    assert svm.state(channel) == State(SEALED, DEPOSIT, 400, 0, 0, START_S + GRACE_S)
    assert svm.units(channel, channel.payer.pubkey()) == start + DEPOSIT - 400
    svm.send(channel.distribute())
    assert svm.units(channel, channel.payer.pubkey()) == start + DEPOSIT - 400
    assert svm.units(channel, channel.payee.pubkey()) == 400


@both
def test_a_late_payout_frees_the_address_itself(svm: Svm, program: Pubkey) -> None:
    """Past the window the terminal payout leaves no account, so there is nothing to reclaim."""
    channel = svm.sealed(svm.opened(program), 10)
    svm.later(WINDOW)
    late = svm.sealed(svm.opened(program), 10)
    svm.send(channel.distribute())
    assert svm.state(channel) == State(DISTRIBUTED, DEPOSIT, 10, 0, 0, 0), "the last slot of the window is inside it"
    svm.later(WINDOW + 1)
    svm.send(late.distribute())
    assert svm.state(late) is None


@both
def test_many_channels_are_reclaimed_in_one_transaction(svm: Svm, program: Pubkey) -> None:
    """Anybody may collect the rent of several channels for those who paid it."""
    channels = [svm.sealed(svm.opened(program, salt=salt)) for salt in range(4)]
    for each in channels:
        svm.send(each.distribute())
    svm.later(WINDOW + 1)
    svm.send(*(each.reclaim() for each in channels))
    assert [svm.state(each) for each in channels] == [None] * 4
    assert {svm.lamports(each.rent_payer.pubkey()) for each in channels} == {LAMPORTS}


@both
def test_tokens_sent_to_the_escrow_end_at_the_treasury(svm: Svm, program: Pubkey) -> None:
    """What lies in the escrow beyond the deposit belongs to no party."""
    channel = svm.opened(program)
    escrow = svm.chain.get_account(channel.escrow)
    assert escrow is not None
    more = bytearray(escrow.data)
    more[64:72] = struct.pack("<Q", DEPOSIT + 77)
    svm.put(channel.escrow, program, bytes(more))
    svm.send(svm.sealed(channel, 40).distribute())
    assert svm.units(channel, TREASURY) == 77


@both
def test_gifts_to_the_address_cannot_hold_up_an_opening(svm: Svm, program: Pubkey) -> None:
    """Lamports at the address and an escrow that is there already are taken over."""
    channel = svm.channel(program)
    svm.chain.airdrop(channel.address, 5_000_000)
    svm.hold(channel, channel.address, 3)
    svm.send(channel.open(), channel.payer, channel.rent_payer)
    assert svm.units(channel, channel.address) == DEPOSIT + 3
    assert svm.lamports(channel.rent_payer.pubkey()) == LAMPORTS, "the gift pays the rent"


@both
def test_thirty_two_recipients_are_paid_at_once(svm: Svm, program: Pubkey) -> None:
    """The most recipients that a channel may have, with accounts out of a lookup table; rounding loses nothing."""
    splits = tuple((Keypair().pubkey(), 303) for _ in range(32))
    channel = svm.opened(program, splits=splits)
    svm.sealed(channel, 100_001)
    svm.send_with_table(channel.distribute())
    assert {svm.units(channel, to) for to, _ in splits} == {3030}
    assert svm.units(channel, channel.payee.pubkey()) == 3040
    assert svm.units(channel, TREASURY) == 100_001 - 32 * 3030 - 3040


def test_the_treasury_of_the_compiled_program_can_be_another() -> None:
    """With another owner put in, the dust goes there, and the default treasury's account is refused."""
    owner = Keypair().pubkey()
    svm = Svm(treasury=owner)
    channel = svm.opened(TOKEN_PROGRAMS["spl"], splits=((Keypair().pubkey(), 3333),))
    svm.hold(channel, TREASURY)
    svm.sealed(channel, 10)
    with refused(2401):
        svm.send(channel.distribute())
    svm.send(channel.distribute(owner))
    assert svm.units(channel, owner) == 1


def test_events_are_taken_from_the_program_alone(svm: Svm) -> None:
    """Only the program can sign for the event authority, so nobody else can put an event into a transaction."""
    forged = event("Opened") + bytes(40)
    with refused(1):
        svm.send(call(forged[0], forged[1:], read(EVENT_AUTHORITY)))
    with refused(8):
        svm.send(call(forged[0], forged[1:], signs(read(svm.crank.pubkey()))))
    with refused(9):
        svm.send(call(forged[0], forged[1:], read(EVENT_AUTHORITY), read(PROGRAM)))
    channel = svm.channel(TOKEN_PROGRAMS["spl"])
    with refused(8):
        svm.send(replace_account(channel.open(), 12, svm.crank.pubkey()), channel.payer, channel.rent_payer)
    with refused_by_chain("InvalidInstructionData"):
        svm.send(call(10, b""))


def test_a_mint_with_a_freezer_is_taken_at_its_word(svm: Svm) -> None:
    """Authorities of a mint are not looked at: those who take a token trust its issuer."""
    program = TOKEN_PROGRAMS["spl"]
    channel = svm.channel(program)
    svm.put(channel.mint, program, mint_bytes(svm.crank.pubkey()))
    svm.send(channel.open(), channel.payer, channel.rent_payer)
