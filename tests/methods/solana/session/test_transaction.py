"""Openings and top-ups, judged by their transaction: each step of the document with one thing wrong."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta as NativeMeta
from solders.instruction import Instruction as NativeInstruction
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey

from coinslot.chains.solana.address import find_program_address
from coinslot.chains.solana.ata import build_create_idempotent
from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.instruction import AccountMeta, Instruction, writable
from coinslot.chains.solana.memo import Memo, build_memo
from coinslot.chains.solana.message import build_message, sign_partially, with_signature
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.system import build_transfer
from coinslot.errors import InvalidVoucher, Problem, SignerMismatch, VerificationFailed
from coinslot.methods.solana.session.bearer import sign_bearer
from coinslot.methods.solana.session.channel import derive_channel, escrow_account
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.program import RequestClose, build_open, build_request_close
from coinslot.methods.solana.session.terms import SessionTerms
from coinslot.methods.solana.session.transaction import agreed_idle
from support.solanaopening import (
    BLOCKHASH,
    CHALLENGE,
    DEPOSIT,
    FEES,
    OPERATOR,
    OTHER,
    OTHER_BLOCKHASH,
    PAYER,
    SLOT,
    SPLITS,
    Made,
    by_operator,
    call,
    key,
    payload,
    read_add,
    read_open,
    recorded,
    seeds,
    terms,
)

PROGRAM = terms().program


def opens(asked: SessionTerms, *before: Instruction, **made: Any) -> dict[str, Any]:
    """The payload of an opening whose transaction does something before, or is signed otherwise."""
    change = made.pop("call", lambda built: built)
    built = change(build_open(asked.program, call(asked)))
    raw = Made((*before, built), made.pop("fee_payer", asked.fee_payer or PAYER.address), **made).raw
    return payload(asked, raw=raw)


@pytest.mark.spec("SSES-014", "SSES-022", "SSES-116", "SSES-117", "SSES-210", "SSES-257")
@pytest.mark.parametrize("asked", [terms(), terms(fee_payer=None), by_operator(), terms(splits=(), token_program=None)])
def test_a_good_opening_is_taken(asked: SessionTerms) -> None:
    """Sponsored or not, signed for by either side."""
    opening = read_open(asked)
    assert opening.call == call(asked)
    assert opening.idle_s == 3_600
    assert (opening.call.rent_payer, opening.shape.transaction.payer) == (asked.fee_payer or PAYER.address,) * 2


def test_an_opening_may_bound_its_fee() -> None:
    """A limit of compute units and a price for them, in either order."""
    for before in (
        (build_unit_limit(60_000), build_unit_price(2_000_000)),
        (build_unit_price(2_000_000), build_unit_limit(60_000)),
    ):
        shape = read_open(terms(), opens(terms(), *before)).shape
        assert (shape.units, shape.unit_price, shape.fee_lamports) == (60_000, 2_000_000, 10_000 + 120_000)
    assert read_open(terms()).shape.fee_lamports == 10_000


# --- what the payload says and the transaction does ---------------------------------------------

OTHER_SPLITS = [{"recipient": one.recipient, "shareBps": one.share_bps} for one in reversed(SPLITS)]
SAID = [
    pytest.param({"channelId": OTHER.address}, id="channelId", marks=pytest.mark.spec("SSES-014", "SSES-098")),
    pytest.param({"payer": OTHER.address}, id="payer", marks=pytest.mark.spec("SSES-099")),
    pytest.param({"payee": OTHER.address}, id="payee", marks=pytest.mark.spec("SSES-100")),
    pytest.param({"mint": OTHER.address}, id="mint", marks=pytest.mark.spec("SSES-101", "SSES-183")),
    pytest.param({"authorizedSigner": OTHER.address}, id="signer", marks=pytest.mark.spec("SSES-102", "SSES-206")),
    pytest.param({"salt": "8"}, id="salt", marks=pytest.mark.spec("SSES-103")),
    pytest.param({"depositAmount": "9999"}, id="deposit", marks=pytest.mark.spec("SSES-104")),
    pytest.param({"gracePeriodSeconds": 901}, id="grace", marks=pytest.mark.spec("SSES-105", "SSES-258")),
    pytest.param({"openSlot": str(SLOT)}, id="slot", marks=pytest.mark.spec("SSES-107")),
    pytest.param({"distributionSplits": OTHER_SPLITS}, id="order of splits", marks=pytest.mark.spec("SSES-108")),
    pytest.param({"distributionSplits": OTHER_SPLITS[:1]}, id="splits", marks=pytest.mark.spec("SSES-108")),
    pytest.param({"distributionSplits": None}, id="no splits", marks=pytest.mark.spec("SSES-108")),
]


@pytest.mark.spec("SSES-117")
@pytest.mark.guard("T08", "T31")
@pytest.mark.parametrize("said", SAID)
def test_what_is_said_of_an_opening_must_be_what_it_does(said: dict[str, Any]) -> None:
    """The transaction counts; an envelope that says otherwise is refused."""
    with pytest.raises(VerificationFailed):
        read_open(terms(), payload(terms(), **said))


OFF_CURVE = find_program_address([b"nobody"], PROGRAM)[0]
DOES = [
    pytest.param({"seeds": {"payee": OTHER.address}}, id="another payee", marks=pytest.mark.spec("SSES-117")),
    pytest.param({"seeds": {"mint": OTHER.address}}, id="another mint",
                 marks=pytest.mark.spec("SSES-182", "SSES-183")),
    pytest.param({"seeds": {"open_slot": SLOT + 1}}, id="a slot after the challenged one",
                 marks=pytest.mark.spec("SSES-107")),
    pytest.param({"seeds": {"open_slot": SLOT - 1_501}}, id="a slot too old", marks=pytest.mark.spec("SSES-107")),
    pytest.param({"rent_payer": OTHER.address}, id="another rent payer",
                 marks=pytest.mark.spec("SSES-022", "SSES-210")),
    pytest.param({"rent_payer": PAYER.address}, id="the payer pays the rent",
                 marks=pytest.mark.spec("SSES-021", "SSES-210")),
    pytest.param({"token_program": TOKEN_2022_PROGRAM}, id="another token program",
                 marks=pytest.mark.spec("SSES-207", "SSES-266")),
    pytest.param({"deposit_units": 4_999}, id="below the least deposit", marks=pytest.mark.spec("SSES-055")),
    pytest.param({"grace_s": 899}, id="a shorter grace period", marks=pytest.mark.spec("SSES-258")),
    pytest.param({"grace_s": 90_000}, id="a longer grace period", marks=pytest.mark.spec("SSES-105")),
    pytest.param({"splits": ()}, id="no splits", marks=pytest.mark.spec("SSES-108")),
    pytest.param({"splits": (Split(PAYER.address, 9_000),)}, id="splits to the payer itself",
                 marks=pytest.mark.spec("SSES-108")),
]  # fmt: skip


@pytest.mark.guard("T31", "T28", "T26")
@pytest.mark.parametrize("does", DOES)
def test_an_opening_of_another_channel_than_was_asked_for_is_refused(does: dict[str, Any]) -> None:
    """Though payload and transaction agree with each other."""
    opened = call(terms(), **does)
    keys = (PAYER,)
    raw = Made((build_open(PROGRAM, opened),), FEES.address, keys=keys).raw
    if opened.rent_payer == OTHER.address:
        raw = with_signature(raw, OTHER)
    with pytest.raises(VerificationFailed):
        read_open(terms(), payload(terms(), opened, raw))


@pytest.mark.spec("SSES-206", "SSES-171", "SSES-172")
def test_a_signer_without_a_key_is_refused() -> None:
    """Nobody could ever sign a voucher with a point that is off the curve."""
    wanted = seeds(terms(), authorized_signer=OFF_CURVE)
    channel = derive_channel(PROGRAM, wanted)
    built = build_open(PROGRAM, call(terms()))
    accounts = list(built.accounts)
    for place, address in ((4, OFF_CURVE), (5, channel), (7, escrow_account(channel, wanted.mint, TOKEN_PROGRAM))):
        accounts[place] = replace(accounts[place], address=address)
    raw = Made((replace(built, accounts=tuple(accounts)),), FEES.address).raw
    with pytest.raises(VerificationFailed, match="no key exists"):
        read_open(terms(), payload(terms(), raw=raw, authorizedSigner=OFF_CURVE, channelId=channel))


@pytest.mark.spec("SSES-219")
def test_a_payee_that_can_not_sign_is_refused() -> None:
    """A derived address could never close the channel."""
    with pytest.raises(VerificationFailed, match="could not be closed"):
        read_open(terms(recipient=OFF_CURVE))


def test_a_payer_does_not_pay_itself() -> None:
    """The program refuses it, and so do we before anybody pays a fee."""
    with pytest.raises(VerificationFailed):
        read_open(terms(recipient=PAYER.address, splits=()), _own_payee())


def _own_payee() -> dict[str, Any]:
    asked = terms(recipient=PAYER.address, splits=())
    other = build_open(PROGRAM, call(terms(splits=())))
    accounts = list(other.accounts)
    accounts[2] = replace(accounts[2], address=PAYER.address)
    raw = Made((replace(other, accounts=tuple(accounts)),), FEES.address).raw
    return payload(asked, call(terms(splits=())), raw, payee=PAYER.address)


# --- the whole message ---------------------------------------------------------------------------


def another_program(built: Instruction) -> Instruction:
    """The same call of another program."""
    return replace(built, program=OTHER.address)


def another_number(built: Instruction) -> Instruction:
    """Not the discriminator of open."""
    return replace(built, data=b"\x03" + built.data[1:])


def more_data(built: Instruction) -> Instruction:
    """A byte behind the splits."""
    return replace(built, data=built.data + b"\0")


def more_accounts(built: Instruction) -> Instruction:
    """An account that the program has no use for."""
    return replace(built, accounts=(*built.accounts, writable(OTHER.address)))


def swapped(place: int) -> Callable[[Instruction], Instruction]:
    """Another account in one place."""

    def change(built: Instruction) -> Instruction:
        accounts = list(built.accounts)
        accounts[place] = AccountMeta(OTHER.address, accounts[place].signer, accounts[place].writable)
        return replace(built, accounts=tuple(accounts))

    change.__name__ = f"account_{place}"
    return change


CALLS = [another_program, another_number, more_data, more_accounts, *(swapped(place) for place in range(2, 14))]


@pytest.mark.guard("T31", "T47")
@pytest.mark.spec("SSES-116", "SSES-117", "SSES-210", "SSES-264", "SSES-265")
@pytest.mark.parametrize("change", CALLS, ids=lambda change: change.__name__)
def test_an_instruction_that_is_not_exactly_that_opening_is_refused(change: Any) -> None:
    """Another program, other bytes, another account in any place: the channel, its escrow, a program."""
    with pytest.raises(VerificationFailed):
        read_open(terms(), opens(terms(), call=change))


BESIDE = {
    "a transfer from the sponsor": build_transfer(FEES.address, PAYER.address, 1_000_000),
    "a transfer from the payer": build_transfer(PAYER.address, OTHER.address, 1),
    "an account at the sponsor's cost": build_create_idempotent(
        FEES.address, OTHER.address, terms().mint, TOKEN_PROGRAM
    ),
    "a memo": build_memo(Memo("hello")),
    "a second opening": build_open(PROGRAM, call(terms(), seeds={"salt": 9})),
    "a request to close": build_request_close(PROGRAM, RequestClose(OTHER.address, PAYER.address)),
    "a budget that we don't read": Instruction(build_unit_limit(1).program, (), b"\x01" + b"\0" * 4),
}


@pytest.mark.spec("SSES-211")
@pytest.mark.guard("T30", "T31")
@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_an_opening_that_does_more_is_refused(beside: Instruction) -> None:
    """Before the opening, and after it."""
    reason = "in a way that we don't read" if beside.program == build_unit_limit(1).program else "none of ours"
    with pytest.raises(VerificationFailed, match=reason):
        read_open(terms(), opens(terms(), beside))
    raw = Made((build_open(PROGRAM, call(terms())), beside), FEES.address).raw
    with pytest.raises(VerificationFailed):
        read_open(terms(), payload(terms(), raw=raw))


def test_a_budget_is_said_once() -> None:
    """The second of two would be the one that counts."""
    with pytest.raises(VerificationFailed):
        read_open(terms(), opens(terms(), build_unit_limit(1), build_unit_limit(1_400_000)))


@pytest.mark.spec("SSES-113", "SSES-067")
def test_an_opening_is_built_on_the_challenged_blockhash() -> None:
    """On no other."""
    with pytest.raises(VerificationFailed, match="blockhash"):
        read_open(terms(), opens(terms(), blockhash=OTHER_BLOCKHASH))


@pytest.mark.guard("T30", "T31")
@pytest.mark.spec("SSES-209", "SSES-052", "SSES-017")
def test_who_pays_the_fee_is_who_was_agreed_on() -> None:
    """The sponsor where there is one, the payer where there is none; and never the sponsor as payer."""
    with pytest.raises(VerificationFailed):
        read_open(terms(fee_payer=None), opens(terms()))
    with pytest.raises(VerificationFailed):
        read_open(terms(), opens(terms(), fee_payer=PAYER.address))
    both = terms(fee_payer=PAYER.address)
    with pytest.raises(VerificationFailed, match="can't be the payer"):
        read_open(both, opens(both))


@pytest.mark.guard("T13", "T30")
@pytest.mark.spec("SSES-017", "SSES-052")
def test_only_the_payers_own_signature_opens_a_channel() -> None:
    """None, another's, or one where ours belongs."""
    built = build_open(PROGRAM, call(terms()))
    message = build_message(FEES.address, (built,), BLOCKHASH)
    bare = sign_partially(message, ())
    good = sign_partially(message, (PAYER,))
    forged = good[:65] + bytes(64) + good[129:]
    flipped = good[:-1] + bytes((good[-1] ^ 1,))
    for raw in (bare, forged, flipped, with_signature(good, FEES)):
        with pytest.raises(VerificationFailed):
            read_open(terms(), payload(terms(), raw=raw))


@pytest.mark.guard("T31")
def test_another_signer_is_not_taken() -> None:
    """Who else signs, and for what, is none of our business to sponsor."""
    built = build_open(PROGRAM, call(terms()))
    wanted = replace(
        built, accounts=(*built.accounts[:2], replace(built.accounts[2], signer=True), *built.accounts[3:])
    )
    raw = Made((wanted,), FEES.address).raw
    with pytest.raises(VerificationFailed, match="signatures of others"):
        read_open(terms(), payload(terms(), raw=raw))


@pytest.mark.guard("T31")
def test_accounts_from_a_lookup_table_are_refused() -> None:
    """What stands in the table nobody here can see."""
    built = build_open(PROGRAM, call(terms()))
    metas = [NativeMeta(Pubkey.from_string(one.address), one.signer, one.writable) for one in built.accounts]
    native = NativeInstruction(Pubkey.from_string(PROGRAM), built.data, metas)
    table = AddressLookupTableAccount(
        Pubkey.from_string(OTHER.address), [Pubkey.from_string(built.accounts[3].address)]
    )
    message = MessageV0.try_compile(Pubkey.from_string(FEES.address), [native], [table], Hash.from_string(BLOCKHASH))
    raw = sign_partially(to_bytes_versioned(message), (PAYER,))
    with pytest.raises(VerificationFailed, match="lookup table"):
        read_open(terms(), payload(terms(), raw=raw))


@pytest.mark.guard("T31")
def test_accounts_that_no_instruction_uses_are_refused() -> None:
    """An account in the message would be locked for writing, by whoever may name it."""
    built = build_open(PROGRAM, call(terms()))
    idle = Instruction(built.program, (*built.accounts, writable(OTHER.address)), built.data)
    message = bytearray(build_message(FEES.address, (idle,), BLOCKHASH))
    data_at = message.index(built.data)  # the places of its 15 accounts and their count stand right before its length
    assert message[data_at - 17] == 15
    message[data_at - 17] = 14
    del message[data_at - 2]  # the last place is gone from the instruction, its key stays
    with pytest.raises(VerificationFailed, match="none of its instructions uses"):
        read_open(terms(), payload(terms(), raw=sign_partially(bytes(message), (PAYER,))))


@given(st.data())
def test_no_byte_of_an_opening_can_be_changed(data: st.DataObject) -> None:
    """Whatever is flipped, it is refused by name."""
    raw = bytearray(base64.b64decode(payload(terms())["transaction"]))
    place = data.draw(st.integers(min_value=0, max_value=len(raw) - 1))
    raw[place] ^= data.draw(st.integers(min_value=1, max_value=255))
    with pytest.raises(Problem):
        read_open(terms(), payload(terms(), raw=bytes(raw)))


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.spec("SSES-107", "SSES-020", "SSES-256", "SSES-024")
@pytest.mark.parametrize(
    ("slot", "good"), [(SLOT - 4, False), (SLOT - 3, True), (SLOT + 1_497, True), (SLOT + 1_498, False)]
)
def test_the_slot_of_an_opening_is_in_the_window_of_the_newest_one(slot: int, good: bool) -> None:
    """Not after it, and at most 1500 before."""
    if good:
        read_open(terms(), slot=slot)
    else:
        with pytest.raises(VerificationFailed):
            read_open(terms(), slot=slot)


@pytest.mark.spec("SSES-106", "SSES-208", "SSES-220", "SSES-221", "SSES-222", "SSES-246")
def test_only_an_offered_idle_timeout_is_taken_and_never_bent() -> None:
    """Nor is one taken where none were offered."""
    assert read_open(terms(), payload(terms(), idleTimeoutSeconds=60)).idle_s == 60
    for chosen, ours in ((60, 3_600), (3_600, 60)):
        assert agreed_idle(chosen, (60, 3_600), ours) == chosen
    for options, chosen in (((60, 3_600), 61), ((60,), 3_600), ((), 60)):
        with pytest.raises(VerificationFailed, match="not one of the advertised options"):
            read_open(terms(idle_options_s=options), payload(terms(), idleTimeoutSeconds=chosen))


@given(st.sets(st.integers(min_value=1, max_value=2_592_000)), st.integers(min_value=1, max_value=2_592_000))
@pytest.mark.spec("SSES-221")
def test_who_leaves_the_choice_to_us_gets_something_that_was_offered(options: set[int], ours: int) -> None:
    """Or, where nothing was, what we like."""
    offered = tuple(sorted(options))
    assert agreed_idle(None, offered, ours) in (offered or (ours,))


def test_a_challenge_to_go_on_with_a_channel_opens_none() -> None:
    """Nor does an offer that the chain has not completed."""
    again = terms(channel_id=OTHER.address, idle_s=60, blockhash=None, recent_slot=None, idle_options_s=())
    for asked in (again, terms(blockhash=None, recent_slot=None)):
        with pytest.raises(VerificationFailed, match="not for a new channel"):
            read_open(asked, payload(terms()))


# --- who signs the vouchers ----------------------------------------------------------------------


@pytest.mark.spec("SSES-118", "SSES-077")
@pytest.mark.guard("T15")
def test_where_the_server_signs_the_channel_names_its_key() -> None:
    """And no other, however well the rest agrees."""
    asked = by_operator()
    opened = call(asked, seeds={"authorized_signer": PAYER.address})
    raw = Made((build_open(PROGRAM, opened),), FEES.address).raw
    with pytest.raises(VerificationFailed, match="operator"):
        read_open(asked, payload(asked, opened, raw))


@pytest.mark.spec("SSES-091", "SSES-092", "SSES-118", "SSES-015")
@pytest.mark.guard("T13", "T15")
def test_the_proof_is_the_payers_over_this_channel_and_challenge() -> None:
    """Another signer, channel or challenge proves nothing here."""
    asked = by_operator()
    mine = recorded(asked).id
    assert read_open(asked).channel_id == mine
    for proof in (
        sign_bearer(OTHER, mine, CHALLENGE),
        sign_bearer(OPERATOR, mine, CHALLENGE),
        sign_bearer(PAYER, OTHER.address, CHALLENGE),
        sign_bearer(PAYER, mine, "anotherChallenge"),
        replace(sign_bearer(PAYER, mine, "anotherChallenge"), challenge_id=CHALLENGE),
        replace(sign_bearer(OTHER, mine, CHALLENGE), payer=PAYER.address),
    ):
        with pytest.raises((InvalidVoucher, SignerMismatch)):
            read_open(asked, payload(asked, authentication=proof.members()))


def test_a_delegated_key_may_sign_where_the_client_does() -> None:
    """The channel names it, and the payer still pays."""
    delegate = key("delegate")
    opened = call(terms(), seeds={"authorized_signer": delegate.address})
    raw = Made((build_open(PROGRAM, opened),), FEES.address).raw
    assert read_open(terms(), payload(terms(), opened, raw)).call.seeds.authorized_signer == delegate.address


# --- topUp ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [terms(), terms(fee_payer=None)])
def test_a_good_top_up_is_taken(asked: SessionTerms) -> None:
    """Sponsored or not."""
    assert read_add(asked).call.amount_units == 500


@pytest.mark.guard("T31", "T08")
@pytest.mark.spec("SSES-033", "SSES-267")
@pytest.mark.parametrize(
    "change",
    [
        {"channel": OTHER.address}, {"payer": OTHER.address}, {"mint": OTHER.address}, {"amount_units": 501},
        {"token_program": TOKEN_2022_PROGRAM},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_top_up_of_anything_else_is_refused(change: dict[str, Any]) -> None:
    """Another channel, another payer, another token, another amount than was said."""
    with pytest.raises(Exception, match=r".") as caught:
        read_add(terms(), change)
    assert isinstance(caught.value, VerificationFailed) or "no signer" in str(caught.value)


@pytest.mark.guard("T08")
def test_what_is_said_of_a_top_up_must_be_what_it_does() -> None:
    """Its channel and its amount."""
    for said in ({"additionalAmount": "501"}, {"channelId": OTHER.address}):
        with pytest.raises(VerificationFailed):
            read_add(terms(), None, **said)


@pytest.mark.guard("T31")
def test_a_top_up_that_does_more_is_refused() -> None:
    """As for openings."""
    with pytest.raises(VerificationFailed):
        read_add(terms(), raw=Made((build_open(PROGRAM, call(terms())),), FEES.address).raw)
    assert DEPOSIT > 0
