"""The toy's payment channels themselves: other tests stand on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coinslot.drive import run
from coinslot.errors import (
    AmountExceedsDeposit,
    InvalidVoucher,
    MalformedCredential,
    NoPayableOffer,
    PaymentInsufficient,
    Problem,
    RpcRefused,
    RpcUnreachable,
    SignerMismatch,
    VerificationFailed,
)
from coinslot.intents import acts, session
from coinslot.intents.charge import Pending, Refused
from coinslot.intents.session import Capture, Repeat
from coinslot.method import load, pays_sessions, sells_sessions
from coinslot.settings import settings
from support.sessiondesk import Desk, altered, session_payer
from support.toybank import Bank

FLAVOURS = ("v1", "v2")
DEPOSIT = 10_000


@pytest.fixture(params=FLAVOURS)
def desk(request: pytest.FixtureRequest, bank: Bank, alice: dict[str, Any]) -> Desk:
    """Both sides, in each flavour."""
    return Desk(bank, alice, flavour=request.param)


def closing(desk: Desk, channel: session.Channel, offered: session.Voucher | None = None) -> session.Close:
    """How to close a channel now."""
    got = session.close(channel, offered, desk.rules)
    assert isinstance(got, session.Close)
    return got


def test_sessions_are_published_and_asked_for_by_a_setting(bank: Bank, alice: dict[str, Any]) -> None:
    """A method with sessions sells them only where its settings say so."""
    toy, table = load("toy"), {"bank": bank.path, "recipient": "shop"}
    sessions = toy.sessions
    assert sessions is not None
    desk = Desk(bank, alice)
    assert not run(sessions.sellers(settings(toy.Accept, table, "test")), desk.world)
    assert sells_sessions(desk.seller)
    assert pays_sessions(desk.payer)


@pytest.mark.parametrize(
    ("flavour", "bits", "lower", "capture"),
    [("v2", 96, Repeat.IGNORE, Capture.SPENT), ("v1", 128, Repeat.REFUSE, Capture.VOUCHER)],
)
def test_each_flavour_has_its_rules(
    bank: Bank, alice: dict[str, Any], flavour: str, bits: int, lower: Repeat, capture: Capture
) -> None:
    """The two flavours are the two sets of rules that methods have."""
    rules = Desk(bank, alice, flavour=flavour, min_delta=7).rules
    assert (rules.bits, rules.lower, rules.capture, rules.min_delta_units) == (bits, lower, capture, 7)


def test_a_channel_lives_from_its_opening_to_a_close_that_refunds_the_rest(desk: Desk) -> None:
    """Open, two vouchers, settle, close: each party has what it is owed, and no unit is lost."""
    total = desk.bank.total()
    move = desk.open(DEPOSIT, 1_000)
    channel = desk.fund(move)
    assert desk.bank.balance("alice") == 5_000_000 - DEPOSIT
    channel = desk.spent(desk.accept(channel, move.held, 3_000), 2_000)
    settled = session.settlement(channel, desk.rules)
    assert settled is not None
    (done,) = desk.pay_out((channel, settled, False))
    assert done == acts.Done(3_000, 0, False, done.reference, done.settled_at_s)  # type: ignore[union-attr]
    channel = session.note_settled(channel, 3_000)
    channel = desk.spent(desk.accept(channel, move.held, 5_000), 2_500)
    close = closing(desk, channel)
    (done,) = desk.pay_out((channel, close, True))
    captured = 4_500 if desk.rules.capture is Capture.SPENT else 5_000
    assert isinstance(done, acts.Done)
    assert (done.settled_units, done.refunded_units, done.closed) == (captured, DEPOSIT - captured, True)
    assert (desk.bank.balance("shop"), desk.bank.total()) == (captured, total)
    state = desk.look(channel)
    assert not state.exists if desk.seller.flavour == "v2" else state.closed


def test_a_channel_on_which_nothing_was_bought_closes_without_a_voucher(desk: Desk) -> None:
    """The whole deposit goes back."""
    channel = desk.fund(desk.open())
    (done,) = desk.pay_out((channel, closing(desk, channel), True))
    assert isinstance(done, acts.Done)
    assert (done.settled_units, done.refunded_units) == (0, DEPOSIT)
    assert desk.bank.balance("alice") == 5_000_000


def test_what_does_not_fit_together_is_refused_before_anything_moves(desk: Desk) -> None:
    """An opening whose parts contradict each other raises what a server answers."""
    good = desk.open(DEPOSIT, 100).payload
    other = desk.open(DEPOSIT, 100).payload
    cases: list[tuple[type[Problem], dict[str, Any]]] = [
        (VerificationFailed, altered(good, channelId=other["channelId"])),
        (VerificationFailed, altered(good, transaction=other["transaction"])),
        (InvalidVoucher, altered(good, cumulativeAmount="101")),
        (InvalidVoucher, altered(good, signature="00")),
        (MalformedCredential, altered(good, transaction=None)),
        (MalformedCredential, altered(good, cumulativeAmount="-1")),
        (MalformedCredential, altered(good, action="give")),
    ]
    for kind, payload in cases:
        with pytest.raises(kind):
            desk.check(payload)
    assert desk.bank.submissions() == 0
    with pytest.raises(PaymentInsufficient):
        desk.check(desk.open(deposit=999).payload)
    with pytest.raises(NoPayableOffer):
        desk.open(deposit=5_000_001)


def test_an_opening_that_somebody_else_signed_is_refused(desk: Desk) -> None:
    """The payer of a channel is whose account it comes from."""
    mallory = desk.bank.open("mallory", coin=1)
    thief = replace(desk.payer, secret=mallory)
    move = run(thief.open(desk.challenge, desk.terms, DEPOSIT, 0), desk.world)
    with pytest.raises(VerificationFailed):
        desk.check(move.payload)


def test_a_first_voucher_above_the_deposit_is_refused(desk: Desk) -> None:
    """A signature on more than there is buys nothing."""
    move = desk.open()
    raw = desk.payer.sign(replace(move.held, deposit_units=DEPOSIT + 1), DEPOSIT + 1)
    units, signature = raw.decode().split(":")
    with pytest.raises(AmountExceedsDeposit):
        desk.check(altered(move.payload, cumulativeAmount=units, signature=signature))


def test_a_voucher_counts_only_from_its_channels_signer(desk: Desk) -> None:
    """A good signature of another key, and a bad one, are told apart."""
    move = desk.open()
    channel = desk.fund(move)
    other = replace(desk.payer, signer_secret="11" * 32)
    raw = other.sign(move.held, 5)
    payload = other.payload(move.held, acts.Act.VOUCHER, 5, raw)
    with pytest.raises(SignerMismatch):
        desk.seller.verify(desk.seller.read(payload, desk.terms), channel, desk.claimed(payload), 0.0)
    bad = altered(payload, cumulativeAmount="6")
    with pytest.raises(InvalidVoucher):
        desk.seller.verify(desk.seller.read(bad, desk.terms), channel, desk.claimed(bad), 0.0)


def test_an_authorized_signer_may_sign_instead_of_the_account(bank: Bank, alice: dict[str, Any]) -> None:
    """The key that signs vouchers need not be the one that pays."""
    desk = Desk(bank, {**alice, "signer_secret": "22" * 32})
    move = desk.open(DEPOSIT, 10)
    channel = desk.fund(move)
    assert channel.signer == desk.payer.signer != session_payer(alice).signer
    desk.accept(channel, move.held, 20)


def test_a_descriptor_of_other_terms_is_refused(bank: Bank, alice: dict[str, Any]) -> None:
    """A channel to somebody else can't be presented here."""
    desk, elsewhere = Desk(bank, alice), Desk(bank, alice, recipient="other")
    held = elsewhere.open().held
    payload = desk.payer.payload(held, acts.Act.VOUCHER, 5, desk.payer.sign(held, 5))
    with pytest.raises(VerificationFailed):
        desk.seller.read(payload, desk.terms)
    assert not desk.payer.fits(held, desk.terms)
    channel = elsewhere.fund(elsewhere.open())
    assert (elsewhere.seller.serves(channel), desk.seller.serves(channel)) == (True, False)


def test_a_top_up_adds_to_the_deposit_and_takes_a_request_to_close_back(desk: Desk) -> None:
    """What the transaction adds is what the payload says, on the channel that it names."""
    move = desk.open()
    channel = desk.fund(move)
    run(desk.payer.send(run(desk.payer.request_close(move.held), desk.world).raw), desk.world)
    assert desk.look(channel).closing_at_s is not None
    more = run(desk.payer.top_up(desk.challenge, move.held, 500), desk.world)
    with pytest.raises(VerificationFailed):
        desk.check(altered(more.payload, additionalDeposit="600"), channel)
    with pytest.raises(VerificationFailed):
        desk.check(more.payload, replace(channel, payer="shop"))
    prepared = desk.prepared(desk.check(more.payload, channel))
    run(desk.seller.broadcast(prepared), desk.world)
    outcome = desk.confirmed(prepared)
    assert isinstance(outcome, acts.Funded)
    assert (outcome.act, outcome.added_units) == (acts.Act.TOP_UP, 500)
    assert (outcome.state.deposit_units, outcome.state.closing_at_s) == (DEPOSIT + 500, None)
    assert outcome.reference == more.reference


def test_a_payer_withdraws_only_after_the_grace_period(desk: Desk) -> None:
    """Asked to close, waited, withdrawn: what was not settled goes back."""
    move = desk.open()
    desk.fund(move)
    run(desk.payer.send(run(desk.payer.request_close(move.held), desk.world).raw), desk.world)
    desk.bank.advance(desk.payer.withdraw_after_s(move.held) - 5)
    early = run(desk.payer.withdraw(move.held), desk.world)
    with pytest.raises(RpcRefused):
        run(desk.payer.send(early.raw), desk.world)
    desk.bank.advance(10)
    run(desk.payer.send(run(desk.payer.withdraw(move.held), desk.world).raw), desk.world)
    assert desk.bank.balance("alice") == 5_000_000


def test_a_payout_of_several_channels_is_all_or_none(desk: Desk) -> None:
    """One job that the bank would refuse stops the others."""
    moves = [desk.open(), desk.open()]
    channels = [desk.accept(desk.fund(move), move.held, 50) for move in moves]
    jobs = [(one, session.Close(50, one.voucher, 50), False) for one in channels]
    bad = (channels[1], session.Close(50, channels[0].voucher, 50), False)
    with pytest.raises(VerificationFailed):
        desk.pay_out(jobs[0], bad)
    assert desk.bank.balance("shop") == 0
    assert all(isinstance(one, acts.Done) for one in desk.pay_out(*jobs))
    assert desk.bank.balance("shop") == 100


def test_ordered_faults_strike_channels_too(desk: Desk) -> None:
    """Lost answers, reverts, delays and forgotten transactions are told as the contract says."""
    bank, lost = desk.bank, desk.prepared(desk.check(desk.open().payload))
    bank.order("lost-answer")
    with pytest.raises(RpcUnreachable):
        run(desk.seller.broadcast(lost), desk.world)
    assert isinstance(desk.confirmed(lost), acts.Funded)
    stuck = desk.prepared(desk.check(desk.open().payload))
    bank.order("stuck")
    run(desk.seller.broadcast(stuck), desk.world)
    assert isinstance(desk.confirmed(stuck), Pending)
    bank.release()
    assert isinstance(desk.confirmed(stuck), acts.Funded)
    reverted = desk.prepared(desk.check(desk.open().payload))
    bank.order("revert")
    run(desk.seller.broadcast(reverted), desk.world)
    assert isinstance(desk.confirmed(reverted), Refused)
    dropped = desk.prepared(desk.check(desk.open().payload))
    bank.order("drop")
    run(desk.seller.broadcast(dropped), desk.world)
    assert isinstance(desk.confirmed(dropped), Pending)
    bank.advance(301)
    assert isinstance(desk.confirmed(dropped), Refused)
    bank.order("refuse")
    with pytest.raises(VerificationFailed):
        desk.prepared(desk.check(desk.open().payload))


def test_a_hint_is_believed_as_far_as_our_signature_reaches(desk: Desk) -> None:
    """Lost state is found again from our own voucher in a snapshot; a claim above it is refused."""
    move = desk.open(DEPOSIT, 1_000)
    channel = desk.spent(desk.accept(desk.fund(move), move.held, 3_000), 2_000)
    challenge = desk.challenge_of(desk.seller.suggest(desk.challenge.request_object(), channel, 4_000))
    found = desk.payer.hint(challenge, desk.terms, {}, None)
    assert found is not None
    assert (found.key, found.signed_units, found.spent_units) == (channel.key, 3_000, 2_000)
    assert found.voucher == channel.voucher
    fields = dict(desk.seller.headers(channel, 4_000))
    assert desk.payer.hint(desk.challenge, desk.terms, fields, move.held) == replace(
        move.held, signed_units=3_000, voucher=channel.voucher, acknowledged_units=3_000, spent_units=2_000,
        standing=acts.Standing.OPEN,
    )  # fmt: skip
    liar = dict(desk.seller.headers(replace(channel, accepted=3_001), 4_000))
    with pytest.raises(NoPayableOffer):
        desk.payer.hint(desk.challenge, desk.terms, liar, move.held)
    assert desk.payer.hint(desk.challenge, desk.terms, {}, move.held) is None


def test_receipts_and_needs_tell_how_a_channel_stands(desk: Desk) -> None:
    """What the seller tells, the payer reads."""
    move = desk.open(DEPOSIT, 1_000)
    channel = desk.spent(desk.fund(move), 400)
    receipt = desk.seller.receipt(channel, "c1", 0.0, 3, "0xabc")
    assert receipt.reference == channel.id
    assert receipt.extra["txHash"] == "0xabc"
    balance = desk.payer.balance(receipt)
    assert (balance.channel_id, balance.accepted_units, balance.spent_units, balance.units) == (
        channel.id,
        1000,
        400,
        3,
    )
    needed = desk.payer.needed(desk.seller.need(channel, 1_500))
    assert (needed.required_units, needed.deposit_units) == (1_500, DEPOSIT)


def test_a_payer_finds_its_channels_at_the_bank(desk: Desk) -> None:
    """A wallet without its file can name every channel that holds its money."""
    move = desk.open()
    desk.fund(move)
    (found,) = run(desk.payer.find(0.0), desk.world)
    assert (found.key, found.deposit_units, found.state) == (move.held.key, DEPOSIT, move.held.state)
    state = run(desk.payer.look(found), desk.world)
    assert (state.exists, state.deposit_units) == (True, DEPOSIT)
