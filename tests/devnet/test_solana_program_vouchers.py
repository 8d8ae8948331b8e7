"""Which vouchers the test program takes: `settle` and `settleAndSeal`, each refusal with the published number."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from support.channelsvm import (
    DEPOSIT,
    ED25519,
    GRACE_S,
    OPEN,
    PROGRAM,
    SEALED,
    SPL,
    TOKEN_PROGRAMS,
    Opening,
    Refused,
    State,
    Svm,
    ed25519,
    read,
    refused,
    refused_by_chain,
    replace_account,
    unsigned,
    with_data,
)

HERE = 0xFFFF
Use = Callable[[Opening], tuple[Instruction, Keypair | None]]


def settle(of: Opening) -> tuple[Instruction, None]:
    """The first of the two that take a voucher."""
    return of.settle(), None


def seal(of: Opening) -> tuple[Instruction, Keypair]:
    """The second, with its signer."""
    return of.settle_and_seal(1), of.payee


taken_by = pytest.mark.parametrize("use", [settle, seal], ids=["settle", "settleAndSeal"])


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


def send(svm: Svm, of: Opening, use: Use, *before: Instruction) -> None:
    """Use a voucher, after these instructions."""
    instruction, key = use(of)
    svm.send(*before, instruction, *([key] if key else []))


@taken_by
@pytest.mark.parametrize("units", [101, DEPOSIT], ids=["one more", "all"])
def test_a_voucher_between_settled_and_deposit_is_taken(svm: Svm, channel: Opening, use: Use, units: int) -> None:
    """Strictly more than is settled, at most the deposit."""
    send(svm, channel, use, channel.check(units))
    state = svm.state(channel)
    assert state is not None
    assert state.settled == units


@taken_by
@pytest.mark.parametrize(
    ("units", "code"),
    [(100, 234), (99, 234), (0, 234), (DEPOSIT + 1, 235), (2**64 - 1, 235)],
    ids=str,
)
def test_a_voucher_outside_is_refused(svm: Svm, channel: Opening, use: Use, units: int, code: int) -> None:
    """The watermark only rises, and never above the deposit."""
    with refused(code):
        send(svm, channel, use, channel.check(units))


@taken_by
def test_a_voucher_is_good_until_it_expires(svm: Svm, channel: Opening, use: Use) -> None:
    """At its last second it is expired; a second earlier it is not."""
    with refused(233):
        send(svm, channel, use, channel.check(200, expires_at=svm.now_s))
    with refused(233):
        send(svm, channel, use, channel.check(200, expires_at=-1))
    send(svm, channel, use, channel.check(200, expires_at=svm.now_s + 1))


@taken_by
def test_the_old_voucher_of_48_bytes_is_refused(svm: Svm, channel: Opening, use: Use) -> None:
    """The form without magic, of programs before this one."""
    with refused(231):
        send(svm, channel, use, ed25519(channel.signer, channel.voucher(200)[2:]))


@taken_by
@pytest.mark.parametrize("magic", [b"\x56\x02", b"\x57\x01", b"\x00\x00", b"\x01\x56"], ids=bytes.hex)
def test_another_magic_is_refused(svm: Svm, channel: Opening, use: Use, magic: bytes) -> None:
    """Fifty signed bytes that begin otherwise are something else."""
    with refused(238):
        send(svm, channel, use, ed25519(channel.signer, magic + channel.voucher(200)[2:]))


@taken_by
@pytest.mark.parametrize("more", [b"", b"\0"], ids=["shorter", "longer"])
def test_a_voucher_of_another_length_is_refused(svm: Svm, channel: Opening, use: Use, more: bytes) -> None:
    """49 or 51 bytes."""
    with refused(231):
        send(svm, channel, use, ed25519(channel.signer, channel.voucher(200)[: 50 if more else 49] + more))


@taken_by
def test_a_voucher_for_another_channel_is_refused(svm: Svm, channel: Opening, use: Use) -> None:
    """Same parties, same signer, another salt: another channel."""
    other = svm.opened(channel.program, signer=channel.signer, payer=channel.payer, payee=channel.payee, salt=8)
    with refused(232):
        send(svm, channel, use, other.check(200))


@taken_by
def test_a_voucher_by_anybody_else_is_refused(svm: Svm, channel: Opening, use: Use) -> None:
    """Not even the payer signs, where somebody else was authorized."""
    for key in (channel.payer, channel.payee, Keypair()):
        with refused(237):
            send(svm, channel, use, ed25519(key, channel.voucher(200)))


@taken_by
def test_a_voucher_needs_its_check_right_before(svm: Svm, channel: Opening, use: Use) -> None:
    """No check, a check further up, a check that comes after, and another program in its place."""
    idle = Instruction(Pubkey.from_string("ComputeBudget111111111111111111111111111111"), b"\x02" + bytes(4), [])
    fine = Instruction(idle.program_id, b"\x02" + struct.pack("<I", 1_000_000), [])
    with refused(230):
        send(svm, channel, use)
    with refused(230):
        send(svm, channel, use, channel.check(200), fine)
    instruction, key = use(channel)
    with refused(230):
        svm.send(instruction, channel.check(200), *([key] if key else []))


@taken_by
def test_a_false_signature_is_refused_by_the_chain(svm: Svm, channel: Opening, use: Use) -> None:
    """The program never sees a voucher whose signature is wrong: the check before it fails, at index 0."""
    good = channel.check(200)
    bad = bytearray(good.data)
    bad[48] ^= 1
    with pytest.raises(Refused) as caught:
        send(svm, channel, use, with_data(good, bytes(bad)))
    assert caught.value.index == 0


@taken_by
@pytest.mark.parametrize("field", [1, 3, 6], ids=["signature", "key", "message"])
@pytest.mark.parametrize("index", [0, 1], ids=["itself by number", "another instruction"])
def test_no_part_of_the_check_may_lie_elsewhere(svm: Svm, channel: Opening, use: Use, field: int, index: int) -> None:
    """Even an index that names the very instruction is refused: what was checked must be what is read."""
    offsets = [48, HERE, 16, HERE, 112, 50, HERE]
    offsets[field] = index
    good = channel.check(200)
    twisted = ed25519(channel.signer, channel.voucher(200), tuple(offsets))
    with refused(231):
        # the twisted check is the second: it finds the good one's bytes at 0, its own at 1
        send(svm, channel, use, good, twisted)


@taken_by
def test_a_check_of_other_bytes_than_those_read_is_refused(svm: Svm, channel: Opening, use: Use) -> None:
    """A thief's own signature is checked, over bytes behind the voucher that the program would read."""
    thief = Keypair()
    message = b"anything at all"
    voucher = channel.voucher(DEPOSIT)
    at = 112 + len(voucher)
    offsets = (at + 32, HERE, at, HERE, at + 96, len(message), HERE)
    data = struct.pack("<BB7H", 1, 0, *offsets) + bytes(channel.signer.pubkey()) + bytes(64) + voucher
    data += bytes(thief.pubkey()) + bytes(thief.sign_message(message)) + message
    with refused(231):
        send(svm, channel, use, Instruction(ED25519, data, []))


@taken_by
def test_shifted_offsets_are_refused(svm: Svm, channel: Opening, use: Use) -> None:
    """One form of the instruction is taken: key, signature, message, in this order. Here the message comes first."""
    voucher = channel.voucher(200)
    key, signature = bytes(channel.signer.pubkey()), bytes(channel.signer.sign_message(voucher))
    data = struct.pack("<BB7H", 1, 0, 98, HERE, 66, HERE, 16, 50, HERE) + voucher + key + signature
    assert len(data) == 162
    with refused(231):
        send(svm, channel, use, Instruction(ED25519, data, []))
    data = struct.pack("<BB7H", 1, 0, 16, HERE, 80, HERE, 112, 50, HERE) + signature + key + voucher
    with refused(231):
        send(svm, channel, use, Instruction(ED25519, data, []))


@taken_by
def test_a_message_that_begins_a_byte_early_is_refused(svm: Svm, channel: Opening, use: Use) -> None:
    """Key and signature are where they belong; the signed bytes are not quite the voucher's."""
    key = bytes(channel.signer.pubkey())
    for expires_at in range(svm.now_s + 1, svm.now_s + 10_000):
        voucher = channel.voucher(200, expires_at)
        # the byte before the voucher is the signature's last: try until it is the one that was signed
        signature = bytes(channel.signer.sign_message(b"\x05" + voucher[:49]))
        if signature[63] == 5:
            break
    data = struct.pack("<BB7H", 1, 0, 48, HERE, 16, HERE, 111, 50, HERE) + key + signature + voucher
    with refused(231):
        send(svm, channel, use, Instruction(ED25519, data, []))


@taken_by
def test_a_check_of_a_part_of_the_voucher_is_refused(svm: Svm, channel: Opening, use: Use) -> None:
    """The signature covers 42 of the 50 bytes that are there: the expiry would be anybody's."""
    voucher = channel.voucher(200)
    key, signature = bytes(channel.signer.pubkey()), bytes(channel.signer.sign_message(voucher[:42]))
    data = struct.pack("<BB7H", 1, 0, 48, HERE, 16, HERE, 112, 42, HERE) + key + signature + voucher
    with refused(231):
        send(svm, channel, use, Instruction(ED25519, data, []))


@taken_by
def test_a_check_of_no_or_of_two_signatures_is_refused(svm: Svm, channel: Opening, use: Use) -> None:
    """The chain lets both pass: none at all, and two of which the program would read one."""
    with refused(231):
        send(svm, channel, use, Instruction(ED25519, b"\0\0", []))
    message = channel.voucher(200)
    key, signature = bytes(channel.signer.pubkey()), bytes(channel.signer.sign_message(message))
    record = struct.pack("<7H", 62, HERE, 30, HERE, 126, 50, HERE)
    with refused(231):
        send(svm, channel, use, Instruction(ED25519, b"\2\0" + record * 2 + key + signature + message, []))


@taken_by
def test_nothing_may_follow_the_message(svm: Svm, channel: Opening, use: Use) -> None:
    """The chain ignores what no offset points to; the program takes 162 bytes and no more."""
    good = channel.check(200)
    with refused(231):
        send(svm, channel, use, with_data(good, good.data + b"\0"))


@taken_by
def test_the_byte_behind_the_count_is_zero(svm: Svm, channel: Opening, use: Use) -> None:
    """The chain ignores it; the program takes one form only."""
    good = channel.check(200)
    with refused(231):
        send(svm, channel, use, with_data(good, good.data[:1] + b"\1" + good.data[2:]))


@taken_by
def test_a_foreign_instructions_sysvar_is_refused(svm: Svm, channel: Opening, use: Use) -> None:
    """Anybody can write an account that looks like the sysvar."""
    instruction, key = use(channel)
    fake = Keypair().pubkey()
    svm.put(fake, PROGRAM, bytes(400))
    with refused_by_chain("UnsupportedSysvar"):
        what = replace_account(instruction, len(instruction.accounts) - 1, fake)
        svm.send(channel.check(200), what, *([key] if key else []))


def test_anybody_may_settle(svm: Svm, channel: Opening) -> None:
    """The voucher is the authority; the crank alone signed here."""
    svm.settle(channel, 200)
    assert svm.state(channel) == State(OPEN, DEPOSIT, 200, 0, 0, 0)


def test_the_same_voucher_settles_once(svm: Svm, channel: Opening) -> None:
    """Sent again it is no longer above the watermark."""
    svm.settle(channel, 200)
    with refused(234):
        svm.settle(channel, 200)


def test_sealing_without_a_voucher_keeps_the_watermark(svm: Svm, channel: Opening) -> None:
    """A good check before it is not looked at."""
    svm.send(channel.check(900), channel.settle_and_seal(0), channel.payee)
    assert svm.state(channel) == State(SEALED, DEPOSIT, 100, 0, 0, 0)


def test_any_number_but_zero_asks_for_the_voucher(svm: Svm, channel: Opening) -> None:
    """The flag is a byte, and only 0 is no."""
    with refused(230):
        svm.send(channel.settle_and_seal(255), channel.payee)
    svm.send(channel.check(900), channel.settle_and_seal(255), channel.payee)
    assert svm.state(channel) == State(SEALED, DEPOSIT, 900, 0, 0, 0)


def test_only_the_payee_seals(svm: Svm, channel: Opening) -> None:
    """Signed by nobody, and by somebody else."""
    with refused(1):
        svm.send(unsigned(channel.settle_and_seal()))
    with refused(6):
        svm.send(replace_account(channel.settle_and_seal(), 0, channel.payer.pubkey()), channel.payer)


def test_a_closing_channel_takes_the_payee_s_word_until_its_deadline(svm: Svm, channel: Opening) -> None:
    """A plain settlement is refused at once; the payee has until the last second before anybody may seal."""
    svm.send(channel.request_close(), channel.payer)
    with refused(2):
        svm.settle(channel, 200)
    svm.later(seconds=GRACE_S)
    with refused(2):
        svm.send(channel.check(200), channel.settle_and_seal(1), channel.payee)
    svm.later(seconds=-1)
    svm.send(channel.check(200), channel.settle_and_seal(1), channel.payee)
    assert svm.state(channel) == State(SEALED, DEPOSIT, 200, 0, 0, 0)


def test_a_sealed_channel_settles_nothing(svm: Svm, channel: Opening) -> None:
    """The watermark is locked, also for the payee, also after the payout."""
    svm.sealed(channel)
    for use in (settle, seal):
        with refused(2):
            send(svm, channel, use, channel.check(200))
    svm.send(channel.distribute())
    for use in (settle, seal):
        with refused(2):
            send(svm, channel, use, channel.check(200))


def test_other_data_and_counts_of_accounts_are_refused(svm: Svm, channel: Opening) -> None:
    """Each of the two has its own shape."""
    for what in (channel.settle_and_seal(), channel.settle_and_seal(1)):
        for data in (what.data[:1], what.data + b"\0"):
            with refused_by_chain("InvalidInstructionData"):
                svm.send(with_data(what, data), channel.payee)
    sealing, settling = channel.settle_and_seal(), channel.settle()
    for accounts in (sealing.accounts[:-1], [*sealing.accounts, read(SPL)]):
        with refused(9):
            svm.send(Instruction(PROGRAM, sealing.data, accounts), channel.payee)
    for accounts in (settling.accounts[:-1], [*settling.accounts, read(SPL)]):
        with refused_by_chain("NotEnoughAccountKeys"):
            svm.send(channel.check(200), Instruction(PROGRAM, settling.data, accounts))
