"""Payouts among so many recipients that a transaction can't name them: lookup tables, on a running chain."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from coinslot.chains.solana.address import address_bytes
from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.lookup import (
    HEAD_BYTES,
    TableAccount,
    build_close_table,
    build_create_table,
    build_deactivate_table,
    build_extend_table,
    derive_table,
    read_close_table,
    read_deactivate_table,
    read_table,
)
from coinslot.chains.solana.message import MAX_BYTES, build_message, read_transaction, sign_partially
from coinslot.chains.solana.programs import LOOKUP_PROGRAM, TOKEN_PROGRAM
from coinslot.devnet.channels.solana.program import PROGRAM_ID
from coinslot.drive import RealWorld, run
from coinslot.errors import BadTransaction, ChainError, LedgerError, RpcUnreachable, UsageError
from coinslot.intents import session
from coinslot.intents.acts import Done, Sendable
from coinslot.intents.charge import Refused
from coinslot.intents.session import Stage
from coinslot.methods.solana.session.channel import Status
from coinslot.methods.solana.session.distribution import MAX_SPLITS, Split
from coinslot.methods.solana.session.lookups import IN_USE_SLOTS
from coinslot.methods.solana.session.parcel import read_parcel
from coinslot.methods.solana.session.program import (
    Reclaim,
    build_reclaim,
    read_distribute,
    read_settle_and_seal,
)
from coinslot.store.book_memory import MemoryBook
from coinslot.transports.httpx import session as session_of
from support.solanaleaving import payer_of
from support.solanaopening import key
from support.solanasession import DOLLAR, client_of, only, owner_of, paying, shop
from support.solanatill import COST, PURSE, USDC, Buyer, SolanaTill, holding, key_of, send
from support.strike import struck_at
from support.svm import SvmChain
from support.till import SetWorld

Tills = Callable[..., SolanaTill]


class Ticking(SetWorld):
    """Whoever waits, waits for slots."""

    def __init__(self, svm: SvmChain, at_s: float) -> None:
        super().__init__()
        self.at_s = at_s
        self._svm = svm

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._svm.running.advance_slots(1)


def swapped(till: SolanaTill, world: SetWorld) -> SetWorld:
    """A till's next world; the one it had lets go of its connections."""
    till.world.close()
    return world


def shares(count: int) -> tuple[Split, ...]:
    """So many recipients, a five-hundredth each."""
    return tuple(Split(key(f"recipient {at}").address, 200) for at in range(count))


@pytest.fixture
def crowded(solana_till: Tills) -> Callable[..., SolanaTill]:
    """Makes tills of as many recipients as an opening can name, on a chain whose slots come when somebody waits."""

    def make(count: int = MAX_SPLITS, **given: Any) -> SolanaTill:
        till = solana_till(splits=shares(count), **given)
        till.svm.timing(slot_ms=0)
        till.world = swapped(till, Ticking(till.svm, till.world.at_s))
        for one in till.seller.config.splits:
            till.svm.fund(one.recipient, 1, "USDC")
        return till

    return make


def bought(till: SolanaTill) -> Buyer:
    """A client that bought once."""
    buyer = till.buyer()
    assert till.serve(buyer.pay()).status == 200
    return buyer


def made(
    till: SolanaTill, buyer: Buyer, *, closes: bool = True
) -> tuple[tuple[session.Channel, session.Close, bool], Sendable]:
    """The close of a channel, or its settlement, signed, nothing sent."""
    record = buyer.record
    wanted = session.close(record, None, till.seller.rules(till.seller.terms(buyer.request)))
    assert isinstance(wanted, session.Close)
    job = (record, wanted, closes)
    return job, run(till.seller.pay_out([job]), till.world)


def tables(till: SolanaTill) -> dict[str, TableAccount]:
    """The lookup tables that are on the chain."""
    told = till.svm.rpc("getProgramAccounts", LOOKUP_PROGRAM, {"encoding": "base64"})
    return {
        one["pubkey"]: read_table(one["account"]["owner"], base64.b64decode(one["account"]["data"][0])) for one in told
    }


@pytest.mark.spec("SSES-039", "SSES-086", "SSES-167")
@pytest.mark.parametrize("given", [{}, {"operator": True}, {"sponsored": False}])
def test_a_crowd_is_paid_through_a_lookup_table(crowded: Tills, given: dict[str, Any]) -> None:
    """A v0 transaction that names their accounts by their places in a table; everybody has its share."""
    till = crowded(**given)
    buyer = bought(till)
    _, sent = made(till, buyer)
    parcel, transactions = read_parcel(sent.raw)
    raw = [read_transaction(each) for each in parcel.transactions]
    (last,) = (each for each in raw if each.lookups)
    assert (last.version, last.raw) == (0, parcel.transactions[-1])
    assert max(map(len, parcel.transactions)) <= MAX_BYTES
    named = {account.address for account in last.accounts}
    accounts = [derive_ata(one.recipient, USDC, TOKEN_PROGRAM) for one in till.seller.config.splits]
    assert not named & set(accounts)
    paid = read_distribute(PROGRAM_ID, transactions[-1].instructions[-1])
    assert (paid.channel, paid.splits) == (buyer.channel, till.seller.config.splits)
    assert tables(till) == {}  # signed and recorded before any of it is there
    answer = till.answer(buyer.close())
    assert answer.status == 204, answer.body
    share = COST * 200 // 10_000
    assert [holding(till, one.recipient) for one in till.seller.config.splits] == [share + 1] * MAX_SPLITS
    assert (holding(till, till.payee.address), buyer.purse) == (COST - share * MAX_SPLITS, PURSE - COST)
    assert buyer.record.stage is Stage.CLOSED


def test_a_crowd_is_sealed_and_paid_in_one_transaction(crowded: Tills) -> None:
    """With the voucher, too: what closes a channel lands whole or not at all (SSES "Close" 3)."""
    till = crowded()
    _, sent = made(till, bought(till))
    _, transactions = read_parcel(sent.raw)
    assert read_settle_and_seal(PROGRAM_ID, transactions[-1].instructions[-2]).has_voucher


def test_a_crowd_without_accounts_is_given_them(crowded: Tills) -> None:
    """As many as there are; no transaction computes more than the runtime grants."""
    till = crowded()
    for one in till.seller.config.splits:
        nothing = {"lamports": 0, "data": "", "owner": "11111111111111111111111111111111"}
        till.svm.rpc("surfnet_setAccount", derive_ata(one.recipient, USDC, TOKEN_PROGRAM), nothing)
    buyer = bought(till)
    answer = till.answer(buyer.close())
    assert answer.status == 204, answer.body
    assert [holding(till, one.recipient) for one in till.seller.config.splits] == [COST * 200 // 10_000] * MAX_SPLITS


def test_few_recipients_need_no_table(crowded: Tills) -> None:
    """A table costs a fee and ten minutes of rent, so eight are named as they are."""
    till = crowded(8)
    job, sent = made(till, bought(till))
    parcel, _ = read_parcel(sent.raw)
    assert (parcel.tables, b"tables" in sent.raw) == ((), False)
    run(till.seller.send(sent.raw), till.world)
    assert isinstance(run(till.seller.paid_out(*job, sent), till.world), Done)
    assert tables(till) == {}


@pytest.mark.guard("F09", "F11")
@pytest.mark.parametrize("after", [1, 2])
def test_a_payout_that_was_cut_short_goes_on_through_the_same_table(crowded: Tills, after: int) -> None:
    """The table was made, or made and filled, when the server died: nothing is made or paid twice."""
    till = crowded()
    buyer = bought(till)
    with struck_at("solana.sent", at=after):
        till.answer(buyer.close())
    assert buyer.record.stage is Stage.CLOSING
    assert len(tables(till)) == 1
    till.world.at_s += 60
    till.watch()
    assert till.settle().closed == 1
    assert len(tables(till)) == 1
    assert (buyer.record.stage, buyer.purse) == (Stage.CLOSED, PURSE - COST)


@pytest.mark.guard("F11")
def test_a_table_that_is_not_to_be_seen_yet_is_waited_for(crowded: Tills) -> None:
    """And where no slot passes the end is not known: the channel waits, and is paid out later."""
    till = crowded()
    buyer = bought(till)
    job, sent = made(till, buyer)
    still = SetWorld()
    with pytest.raises(RpcUnreachable, match="slot"):
        run(till.seller.send(sent.raw), still)
    still.close()
    run(till.seller.send(sent.raw), till.world)
    assert isinstance(run(till.seller.paid_out(*job, sent), till.world), Done)


@pytest.mark.guard("T30")
def test_two_payouts_of_one_slot_do_not_use_each_others_table(crowded: Tills) -> None:
    """Their table has one address: sent all the same, the second would pay out the first's channel, and never end."""
    till = crowded()
    jobs = []
    for buyer in (bought(till), bought(till)):
        buyer.ask_to_close()
        settled, sent = made(till, buyer, closes=False)
        run(till.seller.send(sent.raw), till.world)
        assert isinstance(run(till.seller.paid_out(*settled, sent), till.world), Done)  # sealed, and not paid out
        jobs.append(buyer)
    till.svm.running.advance_slots(3)
    (first, sent), (second, late) = (made(till, buyer) for buyer in jobs)
    parcel, other = read_parcel(sent.raw)[0], read_parcel(late.raw)[0]
    assert parcel.tables[0].address == other.tables[0].address
    with struck_at("solana.sent"):
        run(till.seller.send(sent.raw), till.world)
    with pytest.raises(ChainError, match="filled by another payout"):
        run(till.seller.send(late.raw), till.world)
    assert [one.on_chain.status for one in jobs if one.on_chain] == [Status.SEALED, Status.SEALED]
    run(till.seller.send(sent.raw), till.world)
    assert isinstance(run(till.seller.paid_out(*first, sent), till.world), Done)
    till.svm.running.warp_seconds(200)
    till.svm.running.expire_blockhashes()
    till.svm.running.advance_slots(40)
    assert isinstance(run(till.seller.paid_out(*second, late), till.world), Refused)
    again, anew = made(till, jobs[1])
    run(till.seller.send(anew.raw), till.world)
    assert isinstance(run(till.seller.paid_out(*again, anew), till.world), Done)


@pytest.mark.guard("F09")
def test_the_rent_of_tables_comes_back(crowded: Tills) -> None:
    """First they are ended, when nothing can use them any more, then closed; what is another's is left alone."""
    till = crowded()
    owner = till.payer
    other, _ = derive_table(owner.address, 379_999_990)
    calls = (
        build_create_table(owner.address, 379_999_990),
        build_extend_table(other, owner.address, [till.payee.address]),
    )
    send(till.svm, sign_partially(build_message(owner.address, calls, till.svm.blockhash()), (owner,)))
    buyer = bought(till)
    before = till.svm.balance(owner.address, "SOL")
    assert till.answer(buyer.close()).status == 204
    spent = before - till.svm.balance(owner.address, "SOL")
    (ours,) = tables(till).keys() - {other}
    assert run(till.seller.tidy(), till.world) == 0
    assert tables(till)[ours].deactivated_slot is None  # a parcel could still land that uses it
    till.svm.running.advance_slots(IN_USE_SLOTS + 1)
    till.svm.rpc("svm_setTiming", {"slotMs": 0})
    assert run(till.seller.tidy(), till.world) == 1  # the channel's account; the table is ended
    assert tables(till)[ours].deactivated_slot is not None
    assert run(till.seller.tidy(), till.world) == 0
    till.svm.running.advance_slots(513)
    assert run(till.seller.tidy(), till.world) == 0
    assert ours in tables(till)
    till.svm.running.advance_slots(1)
    held = till.svm.balance(owner.address, "SOL")
    assert run(till.seller.tidy(), till.world) == 1
    assert tables(till).keys() == {other}
    back = till.svm.balance(owner.address, "SOL") - held
    size = HEAD_BYTES + 32 * len(read_parcel(made_raw(till, buyer))[0].tables[0].addresses)
    assert back == int(till.svm.rpc("getMinimumBalanceForRentExemption", size)) - 5_000
    assert 0 < back < spent + 5_000_000


def made_raw(till: SolanaTill, buyer: Buyer) -> bytes:
    """What was sent to close a channel."""
    (job,) = till.store.jobs_of(buyer.store_key, 5).result()
    return job.raw or b""


def test_what_a_parcel_says_of_its_tables_is_read_strictly(crowded: Tills) -> None:
    """A place that its table doesn't have, or a table that is none, is no parcel of ours."""
    till = crowded()
    _, sent = made(till, bought(till))
    parcel, _ = read_parcel(sent.raw)
    (table,) = parcel.tables
    for wrong in ((), (replace(table, addresses=table.addresses[:5]),), (replace(table, addresses=("nobody",)),)):
        with pytest.raises(LedgerError):
            read_parcel(replace(parcel, tables=wrong).encode())
    with pytest.raises(LedgerError):
        read_parcel(sent.raw.replace(b'"tables":{', b'"tables":{"x":7,'))


# --- the instructions ------------------------------------------------------------------------------


def test_instructions_of_tables_are_read_as_they_are_built() -> None:
    """Byte for byte what the program's interface says, and nothing else is read as one of them."""
    owner, table = key("owner").address, key("table").address
    assert read_deactivate_table(build_deactivate_table(table, owner)) == (table, owner)
    assert read_close_table(build_close_table(table, owner)) == (table, owner)
    with pytest.raises(BadTransaction):
        read_close_table(build_deactivate_table(table, owner))
    close = build_close_table(table, owner)
    elsewhere = (*close.accounts[:2], replace(close.accounts[2], address=table))
    with pytest.raises(BadTransaction):
        read_close_table(replace(close, accounts=elsewhere))
    for count in (0, 257):
        with pytest.raises(UsageError):
            build_extend_table(table, owner, [table] * count)


def test_tables_are_read_strictly() -> None:
    """Of its program, of whole addresses, with a flag that is one."""
    owner = key("owner").address
    head = (1).to_bytes(4, "little") + b"\xff" * 8 + (7).to_bytes(8, "little") + b"\x00\x01" + address_bytes(owner)
    data = head + bytes(2) + address_bytes(USDC)
    assert read_table(LOOKUP_PROGRAM, data) == TableAccount((USDC,), owner, 7, None)
    ended = data[:4] + (9).to_bytes(8, "little") + data[12:]
    assert read_table(LOOKUP_PROGRAM, ended).deactivated_slot == 9
    frozen = data[:21] + bytes(1) + data[22:]
    assert read_table(LOOKUP_PROGRAM, frozen).authority is None
    for program, wrong in (
        (TOKEN_PROGRAM, data),
        (LOOKUP_PROGRAM, data[:-1]),
        (LOOKUP_PROGRAM, data[:55]),
        (LOOKUP_PROGRAM, b"\x00" + data[1:]),
        (LOOKUP_PROGRAM, data[:21] + b"\x02" + data[22:]),
    ):
        with pytest.raises(BadTransaction):
            read_table(program, wrong)


def test_a_payer_reads_what_its_channel_paid_through_a_table(svm: SvmChain) -> None:
    """Over HTTP, with slots that pass by themselves: closed by its server, freed, and known by the chain's record."""
    pair, owner, book = client_of(svm, lamports=10**9), owner_of(svm), MemoryBook()
    splits = [{"recipient": one.recipient, "bps": one.share_bps} for one in shares(MAX_SPLITS)]
    with (
        shop(svm, owner, session_splits=splits) as url,
        paying(svm, pair, book, []) as client,
        session_of(client, url, max_deposit="0.01") as paid,
    ):
        assert [paid.get().status_code for _ in range(3)] == [200] * 3
        paid.close()
    held = only(book)
    assert (held.settled_units, svm.balance(str(pair.pubkey()))) == (3 * COST, 5 * DOLLAR - 3 * COST)
    svm.running.advance_slots(1_501)
    call = build_reclaim(PROGRAM_ID, Reclaim(held.channel_id, str(owner.pubkey())))
    key_of_owner = key_of(owner)
    send(svm, sign_partially(build_message(key_of_owner.address, [call], svm.blockhash()), (key_of_owner,)))
    with closing(RealWorld()) as world:
        state = run(payer_of(svm, pair, world).look(held), world)
    assert (state.exists, state.closed, state.settled_units) == (False, True, 3 * COST)
