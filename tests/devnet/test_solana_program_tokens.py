"""Which tokens the test program touches: the closed lists of Token-2022 extensions, looked at again every time."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from support.channelsvm import (
    DEPOSIT,
    FROZEN,
    SPL,
    T22,
    TREASURY,
    Opening,
    Svm,
    account_bytes,
    extension,
    mint_bytes,
    refused,
    replace_account,
)

ALLOWED_ON_MINTS = {
    18: "MetadataPointer",
    19: "TokenMetadata",
    20: "GroupPointer",
    21: "TokenGroup",
    22: "GroupMemberPointer",
    23: "TokenGroupMember",
}
REFUSED_ON_MINTS = {
    1: "TransferFeeConfig",
    3: "MintCloseAuthority",
    4: "ConfidentialTransferMint",
    6: "DefaultAccountState",
    7: "ImmutableOwner",
    9: "NonTransferable",
    10: "InterestBearingConfig",
    12: "PermanentDelegate",
    14: "TransferHook",
    16: "ConfidentialTransferFeeConfig",
    24: "ConfidentialMintBurn",
    25: "ScaledUiAmountConfig",
    26: "PausableConfig",
    28: "of the future",
    0xFFFF: "of the far future",
}
REFUSED_ON_ACCOUNTS = {
    2: "TransferFeeAmount",
    5: "ConfidentialTransferAccount",
    8: "MemoTransfer",
    11: "CpiGuard",
    13: "NonTransferableAccount",
    15: "TransferHookAccount",
    17: "ConfidentialTransferFeeAmount",
    18: "MetadataPointer",
    27: "PausableAccount",
    0xFFFF: "of the far future",
}
BROKEN = {
    "ends in a length": struct.pack("<H", 18),
    "longer than its account": struct.pack("<HH", 18, 9) + bytes(8),
    "a stray byte": extension(18) + b"\x01",
}
IMMUTABLE_OWNER = extension(7)


@pytest.fixture
def svm() -> Svm:
    """A chain of its own."""
    return Svm()


def keys(kinds: dict[int, str]) -> pytest.MarkDecorator:
    """Once for each kind of extension."""
    return pytest.mark.parametrize("kind", kinds.keys(), ids=list(kinds.values()))


def open_it(svm: Svm, of: Opening) -> None:
    """Open the channel."""
    svm.send(of.open(), of.payer, of.rent_payer)


Step = Callable[[Opening], tuple[Instruction, tuple[Keypair, ...]]]
# Every instruction that touches tokens of a channel that stands, and whether the channel must be sealed for it.
STEPS: dict[str, tuple[Step, bool]] = {
    "topUp": (lambda c: (c.top_up(1), (c.payer,)), False),
    "distribute open": (lambda c: (c.distribute(), ()), False),
    "distribute sealed": (lambda c: (c.distribute(), ()), True),
    "withdrawPayer": (lambda c: (c.withdraw(), (c.payer,)), True),
}
every_step = pytest.mark.parametrize(("step", "sealed"), STEPS.values(), ids=STEPS.keys())


def standing(svm: Svm, sealed: bool) -> Opening:
    """A channel in Token-2022 with 100 settled."""
    channel = svm.opened(T22, splits=((Keypair().pubkey(), 2500),))
    svm.settle(channel, 100)
    return svm.sealed(channel) if sealed else channel


@keys(ALLOWED_ON_MINTS)
def test_extensions_that_change_no_transfer_are_taken(svm: Svm, kind: int) -> None:
    """Names, groups and pointers to them. What is behind the first empty entry is not read."""
    length = {18: 64, 19: 0, 20: 64, 21: 80, 22: 64, 23: 72}[kind]
    mint = svm.mint(T22, extension(kind, length) + bytes(2) + b"\xff\xff")
    channel = svm.channel(T22, mint=mint)
    open_it(svm, channel)


@keys(REFUSED_ON_MINTS)
def test_every_other_mint_extension_is_refused_at_the_opening(svm: Svm, kind: int) -> None:
    """Fees, hooks, delegates, pauses, interest and whatever comes after this was written."""
    with refused(56):
        open_it(svm, svm.channel(T22, mint=svm.mint(T22, extension(kind, 8))))


@pytest.mark.parametrize("trailer", BROKEN.values(), ids=BROKEN.keys())
def test_mint_extensions_that_cannot_be_read_are_refused(svm: Svm, trailer: bytes) -> None:
    """A trailer that ends in the middle of an entry."""
    with refused(56):
        open_it(svm, svm.channel(T22, mint=svm.mint(T22, trailer)))


def test_a_bad_extension_behind_a_good_one_is_refused(svm: Svm) -> None:
    """All entries are read, not the first alone."""
    with refused(56):
        open_it(svm, svm.channel(T22, mint=svm.mint(T22, extension(18, 64) + extension(14, 64))))


def test_a_mint_that_could_pass_for_an_account_is_refused(svm: Svm) -> None:
    """The bytes between a mint and its extensions are zero; the byte behind them says what it is."""
    good = bytearray(mint_bytes(svm.crank.pubkey(), extension(18, 64)))
    for at, code in ((82, 55), (164, 55), (165, 53)):
        channel = svm.channel(T22)
        bad = bytearray(good)
        bad[at] = 2
        svm.put(channel.mint, T22, bytes(bad))
        with refused(code):
            open_it(svm, channel)


@pytest.mark.parametrize("length", [0, 81, 83, 165, 355])
@pytest.mark.parametrize("program", [SPL, T22], ids=["spl", "2022"])
def test_a_mint_of_another_length_is_refused(svm: Svm, program: Pubkey, length: int) -> None:
    """Neither a mint nor one with extensions; 355 bytes are a multisig."""
    channel = svm.channel(program)
    svm.put(channel.mint, program, (mint_bytes(svm.crank.pubkey()) + bytes(83) + b"\x01" + bytes(200))[:length])
    with refused(53):
        open_it(svm, channel)


def test_a_mint_of_somebody_else_s_program_is_refused(svm: Svm) -> None:
    """The right bytes, written by another program."""
    channel = svm.channel(SPL)
    svm.put(channel.mint, T22, mint_bytes(svm.crank.pubkey()))
    with refused(53):
        open_it(svm, channel)


@every_step
@keys({1: "TransferFeeConfig", 12: "PermanentDelegate", 14: "TransferHook", 26: "PausableConfig", 99: "unknown"})
def test_the_mint_is_looked_at_every_time(svm: Svm, step: Step, sealed: bool, kind: int) -> None:
    """A mint that was good at the opening may not be good later."""
    channel = standing(svm, sealed)
    svm.put(channel.mint, T22, mint_bytes(svm.crank.pubkey(), extension(kind, 8)))
    what, signers = step(channel)
    with refused(56):
        svm.send(what, *signers)


@every_step
@keys(REFUSED_ON_ACCOUNTS)
def test_the_escrow_is_looked_at_every_time(svm: Svm, step: Step, sealed: bool, kind: int) -> None:
    """An escrow that has grown an extension."""
    channel = standing(svm, sealed)
    svm.hold(channel, channel.address, DEPOSIT, extensions=IMMUTABLE_OWNER + extension(kind, 8))
    what, signers = step(channel)
    with refused(52):
        svm.send(what, *signers)


@every_step
def test_an_escrow_that_is_none_is_refused(svm: Svm, step: Step, sealed: bool) -> None:
    """Frozen, taken over, unreadable, and at another address."""
    channel = standing(svm, sealed)
    what, signers = step(channel)
    place = [meta.pubkey for meta in what.accounts].index(channel.escrow)
    with refused(50):
        svm.send(replace_account(what, place, channel.tokens(channel.payee.pubkey())), *signers)
    svm.hold(channel, channel.address, DEPOSIT, FROZEN)
    with refused(50):
        svm.send(what, *signers)
    svm.put(channel.escrow, T22, account_bytes(channel.mint, svm.crank.pubkey(), DEPOSIT))
    with refused(50):
        svm.send(what, *signers)
    svm.put(channel.escrow, SPL, account_bytes(channel.mint, channel.address, DEPOSIT))
    with refused(51):
        svm.send(what, *signers)
    svm.put(channel.escrow, T22, account_bytes(channel.mint, channel.address, DEPOSIT)[:-1])
    with refused(51):
        svm.send(what, *signers)


PAYER_STEPS: dict[str, tuple[Step, bool | None]] = {
    "open": (lambda c: (c.open(), (c.payer, c.rent_payer)), None),
    "topUp": (lambda c: (c.top_up(1), (c.payer,)), False),
    "withdrawPayer": (lambda c: (c.withdraw(), (c.payer,)), True),
}
payer_steps = pytest.mark.parametrize(("step", "sealed"), PAYER_STEPS.values(), ids=PAYER_STEPS.keys())


@payer_steps
@keys(REFUSED_ON_ACCOUNTS)
def test_the_payer_s_account_is_looked_at_every_time(svm: Svm, step: Step, sealed: bool | None, kind: int) -> None:
    """Where the payer signs, an extension is the payer's mistake: refused, not redirected."""
    channel = svm.channel(T22) if sealed is None else standing(svm, sealed)
    svm.hold(channel, channel.payer.pubkey(), 2 * DEPOSIT, extensions=extension(kind, 8))
    what, signers = step(channel)
    with refused(59):
        svm.send(what, *signers)


@payer_steps
def test_a_payer_s_account_that_is_none_is_refused(svm: Svm, step: Step, sealed: bool | None) -> None:
    """Frozen, taken over, unreadable, and at another address."""
    channel = svm.channel(T22) if sealed is None else standing(svm, sealed)
    at = channel.tokens(channel.payer.pubkey())
    what, signers = step(channel)
    place = [meta.pubkey for meta in what.accounts].index(at)
    with refused(57):
        svm.send(replace_account(what, place, channel.tokens(channel.payee.pubkey())), *signers)
    svm.hold(channel, channel.payer.pubkey(), 2 * DEPOSIT, FROZEN)
    with refused(57):
        svm.send(what, *signers)
    svm.put(at, T22, account_bytes(channel.mint, svm.crank.pubkey(), 2 * DEPOSIT))
    with refused(57):
        svm.send(what, *signers)
    svm.put(at, SPL, account_bytes(channel.mint, channel.payer.pubkey(), 2 * DEPOSIT))
    with refused(58):
        svm.send(what, *signers)


@pytest.mark.parametrize("trailer", BROKEN.values(), ids=BROKEN.keys())
def test_account_extensions_that_cannot_be_read_are_refused(svm: Svm, trailer: bytes) -> None:
    """Nobody can bring their own account into that state, so nobody forfeits a share for it: the payout is refused."""
    trailer = trailer.replace(struct.pack("<H", 18), struct.pack("<H", 7), 1)
    channel = standing(svm, True)
    split = channel.splits[0][0]
    payee, payer = channel.payee.pubkey(), channel.payer.pubkey()
    for owner, units, code in (
        (split, 0, 2406),
        (payee, 0, 62),
        (payer, DEPOSIT, 59),
        (TREASURY, 0, 2403),
        (channel.address, DEPOSIT, 52),
    ):
        svm.hold(channel, owner, units, extensions=trailer)
        with refused(code):
            svm.send(channel.distribute())
        svm.hold(channel, owner, units)
    svm.send(channel.distribute())


@keys(REFUSED_ON_ACCOUNTS)
def test_the_treasury_s_account_has_no_extensions(svm: Svm, kind: int) -> None:
    """It must be able to take every redirected share."""
    channel = standing(svm, False)
    svm.hold(channel, TREASURY, extensions=extension(kind, 8))
    with refused(2403):
        svm.send(channel.distribute())


def test_an_immutable_owner_is_what_associated_accounts_have(svm: Svm) -> None:
    """Everybody's account carries it in Token-2022, and all are paid."""
    channel = standing(svm, True)
    split = channel.splits[0][0]
    for owner in (split, channel.payee.pubkey(), channel.payer.pubkey(), TREASURY):
        svm.hold(channel, owner, extensions=IMMUTABLE_OWNER)
    assert svm.send(channel.distribute()).events == ()
    assert svm.units(channel, split) == 25
    assert svm.units(channel, channel.payee.pubkey()) == 75
    assert svm.units(channel, channel.payer.pubkey()) == DEPOSIT - 100
