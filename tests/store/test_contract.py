"""What every store promises, whatever it is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coinslot.errors import LeaseLost, LedgerError, StoreError, UsageError
from coinslot.intents.charge import Budget
from coinslot.ledger import Entry, Posting, totals
from coinslot.store.protocol import MAX_KEPT_BODY, Lease, OverBudget, Payment, Query, Stage, Store, Taken
from support.store_cases import (
    ASSET,
    DELIVERY,
    PAYER,
    challenge,
    claim,
    delivered,
    entry,
    leased,
    prepared,
    receipt,
    settled,
)


def found(store: Store, name: str) -> Payment:
    """The payment of a challenge that was used."""
    payment = store.find(f"id-{name}").result()
    assert payment is not None
    return payment


def test_a_payment_is_kept_whole(store: Store) -> None:
    """After delivery everything that was recorded on the way comes back as it was given."""
    wish = claim("a", key="k")
    delivered(store, wish)
    payment = found(store, "a")
    assert payment.challenge == wish.challenge
    assert (payment.proof, payment.payer, payment.request_hash) == (wish.proof, wish.payer, wish.request_hash)
    assert (payment.credential_hash, payment.idempotency_key) == (wish.credential_hash, "k")
    assert payment.prepared == prepared(wish)
    assert payment.receipt == receipt(wish)
    assert payment.delivery == DELIVERY
    assert payment.stage == Stage.DELIVERED
    assert payment.reason is None
    assert not payment.leased
    assert payment.settled_at_s is not None
    assert payment.delivered_at_s is not None
    assert payment.claimed_at_s <= payment.settled_at_s <= payment.delivered_at_s


def test_each_stage_shows(store: Store) -> None:
    """A reader sees a payment in the stage of the last acknowledged step."""
    wish = claim("a")
    lease = leased(store, wish)
    assert (found(store, "a").stage, found(store, "a").leased) == (Stage.CLAIMED, True)
    store.prepare(lease, prepared(wish)).result()
    assert (found(store, "a").stage, found(store, "a").prepared) == (Stage.PREPARED, prepared(wish))
    store.settle(lease, receipt(wish), entry(wish)).result()
    assert (found(store, "a").stage, found(store, "a").leased) == (Stage.SETTLED, True)
    store.deliver(lease, DELIVERY).result()
    assert (found(store, "a").stage, found(store, "a").leased) == (Stage.DELIVERED, False)


def test_nothing_is_found_where_nothing_is(store: Store) -> None:
    """An unused challenge or key has no payment, and no lease to take."""
    assert store.find("id-a").result() is None
    assert store.find_keyed(PAYER, "k").result() is None
    assert store.take("id-a").result() is None
    assert list(store.payments(Query()).result()) == []
    assert list(store.entries(None, 10).result()) == []
    assert store.balances().result() == {}
    store.ping().result()


@pytest.mark.guard("T01")
def test_a_challenge_is_used_once(store: Store) -> None:
    """The second claim of a challenge is told who was first."""
    leased(store, claim("a"))
    answer = store.claim(claim("a", proof="another")).result()
    assert isinstance(answer, Taken)
    assert (answer.by, answer.payment) == ("challenge", found(store, "a"))


@pytest.mark.guard("T01", "T06")
def test_a_proof_is_used_once_for_ever(store: Store) -> None:
    """A proof stays used under another challenge, even of a payment that failed."""
    store.fail(leased(store, claim("a", proof="p")), "reverted").result()
    answer = store.claim(claim("b", proof="p")).result()
    assert isinstance(answer, Taken)
    assert (answer.by, answer.payment.challenge) == ("proof", challenge("a"))
    assert store.find("id-b").result() is None


def test_a_key_names_one_payment_of_a_payer(store: Store) -> None:
    """Another payment under a payer's key is refused; another payer may use the same key."""
    leased(store, claim("a", key="k"))
    answer = store.claim(claim("b", key="k")).result()
    assert isinstance(answer, Taken)
    assert (answer.by, answer.payment.challenge) == ("idempotency", challenge("a"))
    assert isinstance(store.claim(replace(claim("c", key="k"), payer="payer-2")).result(), Lease)
    assert store.find_keyed(PAYER, "k").result() == found(store, "a")
    assert store.find_keyed("payer-2", "k").result() == found(store, "c")


def test_a_failed_payment_gives_its_key_up(store: Store) -> None:
    """After a failure the same key pays again, and then belongs to that payment."""
    store.fail(leased(store, claim("a", key="k")), "reverted").result()
    assert store.find_keyed(PAYER, "k").result() is None
    leased(store, claim("b", key="k"))
    assert store.find_keyed(PAYER, "k").result() == found(store, "b")
    assert found(store, "a").idempotency_key == "k"


@pytest.mark.parametrize("reused", [False, True])
def test_a_failed_payment_that_was_paid_after_all_is_settled(store: Store, reused: bool) -> None:
    """failed -> settled works; the key comes back unless another payment answers for it by now."""
    wish = claim("a", key="k")
    lease = leased(store, wish)
    store.prepare(lease, prepared(wish)).result()
    store.fail(lease, "not seen").result()
    if reused:
        leased(store, claim("b", key="k"))
    again = store.take("id-a").result()
    assert again == Lease("id-a", 2)
    store.settle(again, receipt(wish), entry(wish)).result()
    assert (found(store, "a").stage, found(store, "a").reason) == (Stage.SETTLED, None)
    holder = store.find_keyed(PAYER, "k").result()
    assert holder == found(store, "b" if reused else "a")


def test_a_failure_is_kept_with_its_reason(store: Store) -> None:
    """claimed -> failed ends the lease and tells why."""
    store.fail(leased(store, claim("a")), "reverted: out of funds").result()
    assert (found(store, "a").stage, found(store, "a").reason) == (Stage.FAILED, "reverted: out of funds")
    assert not found(store, "a").leased


def steps(store: Store, lease: Lease, name: str) -> dict[str, object]:
    """Every step that needs a lease, not yet run."""
    wish = claim(name)
    return {
        "prepare": lambda: store.prepare(lease, prepared(wish)).result(),
        "settle": lambda: store.settle(lease, receipt(wish), entry(wish)).result(),
        "fail": lambda: store.fail(lease, "no").result(),
        "deliver": lambda: store.deliver(lease, DELIVERY).result(),
    }


def reach(store: Store, stage: Stage) -> Lease:
    """A payment `a` in a stage, with a lease that holds."""
    wish = claim("a")
    lease = leased(store, wish)
    if stage in {Stage.PREPARED, Stage.SETTLED}:
        store.prepare(lease, prepared(wish)).result()
    if stage == Stage.SETTLED:
        store.settle(lease, receipt(wish), entry(wish)).result()
    if stage == Stage.FAILED:
        store.fail(lease, "no").result()
        taken = store.take("id-a").result()
        assert taken is not None
        return taken
    return lease


@pytest.mark.guard("F09")
@pytest.mark.parametrize(
    ("stage", "step"),
    [
        (Stage.CLAIMED, "settle"),
        (Stage.CLAIMED, "deliver"),
        (Stage.PREPARED, "prepare"),
        (Stage.PREPARED, "deliver"),
        (Stage.SETTLED, "prepare"),
        (Stage.SETTLED, "fail"),
        (Stage.FAILED, "prepare"),
        (Stage.FAILED, "fail"),
        (Stage.FAILED, "deliver"),
    ],
)
def test_a_step_from_the_wrong_stage_is_refused(store: Store, stage: Stage, step: str) -> None:
    """Nothing is skipped, nothing goes backwards, and the refusal changes nothing."""
    lease = reach(store, stage)
    before = found(store, "a"), store.balances().result()
    with pytest.raises(StoreError) as refused:
        steps(store, lease, "a")[step]()  # type: ignore[operator]
    assert not isinstance(refused.value, LeaseLost)
    assert (found(store, "a"), store.balances().result()) == before


@pytest.mark.parametrize("step", ["prepare", "settle", "fail", "deliver"])
def test_an_old_lease_number_is_fenced_off(store: Store, step: str) -> None:
    """Whoever lost the lease to another changes nothing any more, in any stage."""
    for stage in (Stage.CLAIMED, Stage.PREPARED, Stage.SETTLED):
        lease = reach(store, stage) if stage == Stage.CLAIMED else _advance(store, stage)
        store.release(lease).result()
        newer = store.take("id-a").result()
        assert newer == Lease("id-a", lease.number + 1)
        before = found(store, "a")
        with pytest.raises(LeaseLost):
            steps(store, lease, "a")[step]()  # type: ignore[operator]
        store.release(lease).result()
        assert found(store, "a") == before
        store.release(newer).result()


def _advance(store: Store, stage: Stage) -> Lease:
    lease = store.take("id-a").result()
    assert lease is not None
    wish = claim("a")
    if stage == Stage.PREPARED:
        store.prepare(lease, prepared(wish)).result()
    else:
        store.settle(lease, receipt(wish), entry(wish)).result()
    return lease


@pytest.mark.parametrize("step", ["prepare", "settle", "fail", "deliver"])
def test_a_lease_that_ended_is_gone(store: Store, step: str) -> None:
    """After release, failure or delivery, and for payments that never were, no step goes through."""
    lease = leased(store, claim("a"))
    store.release(lease).result()
    delivered(store, claim("b"))
    for gone, name in ((lease, "a"), (Lease("id-b", 1), "b"), (Lease("id-never", 1), "never")):
        with pytest.raises(LeaseLost):
            steps(store, gone, name)[step]()  # type: ignore[operator]


def test_a_released_payment_can_be_taken_by_one(store: Store) -> None:
    """A lease that holds can't be taken; a released one can, once."""
    lease = leased(store, claim("a"))
    assert store.take("id-a").result() is None
    store.release(lease).result()
    assert not found(store, "a").leased
    assert store.take("id-a").result() == Lease("id-a", 2)
    assert store.take("id-a").result() is None


def test_a_delivered_payment_is_never_taken_again(store: Store) -> None:
    """Delivery is the end."""
    delivered(store, claim("a"))
    assert store.take("id-a").result() is None


def test_a_payment_is_prepared_with_its_own_proof_only(store: Store) -> None:
    """Recording bytes of another challenge, proof or payer is refused."""
    lease = leased(store, claim("a"))
    for other in (
        prepared(claim("b")),
        replace(prepared(claim("a")), proof="other"),
        replace(prepared(claim("a")), payer="x"),
    ):
        with pytest.raises(UsageError):
            store.prepare(lease, other).result()
    assert found(store, "a").stage == Stage.CLAIMED


def test_a_large_body_is_not_kept(store: Store) -> None:
    """A body of exactly the limit is kept whole, a byte more leaves status and headers."""
    for name, size in (("a", MAX_KEPT_BODY), ("b", MAX_KEPT_BODY + 1)):
        store.deliver(settled(store, claim(name)), replace(DELIVERY, body=b"x" * size)).result()
    assert found(store, "a").delivery == replace(DELIVERY, body=b"x" * MAX_KEPT_BODY)
    assert found(store, "b").delivery == replace(DELIVERY, body=None)


@pytest.mark.parametrize("body", [None, b""])
def test_no_body_and_an_empty_body_differ(store: Store, body: bytes | None) -> None:
    """What was not whole is None, what was empty stays empty."""
    store.deliver(settled(store, claim("a")), replace(DELIVERY, body=body)).result()
    delivery = found(store, "a").delivery
    assert delivery is not None
    assert delivery.body == body


# --- the journal ---------------------------------------------------------------------------------


@pytest.mark.guard("F10")
def test_the_same_entry_posted_twice_counts_once(store: Store) -> None:
    """Settling again with the same entry is no error and posts nothing."""
    wish = claim("a")
    lease = settled(store, wish)
    store.settle(lease, receipt(wish), entry(wish)).result()
    assert list(store.entries(None, 10).result()) == [entry(wish)]
    assert store.balances().result() == {ASSET: {f"payer:{PAYER}": -10_000, "payee:shop": 10_000}}


@pytest.mark.guard("F10")
def test_an_entry_with_other_content_is_refused(store: Store) -> None:
    """One id never means two things, and one payment is never posted under two ids."""
    wish = claim("a")
    lease = settled(store, wish)
    for other in (entry(wish, units=9_999), replace(entry(wish), at_s=1.0), replace(entry(wish), id="charge/other")):
        with pytest.raises(LedgerError):
            store.settle(lease, receipt(wish), other).result()
    second = leased(store, claim("b"))
    store.prepare(second, prepared(claim("b"))).result()
    with pytest.raises(LedgerError):
        store.settle(second, receipt(claim("b")), replace(entry(claim("b")), id=entry(wish).id)).result()
    assert found(store, "b").stage == Stage.PREPARED
    assert list(store.entries(None, 10).result()) == [entry(wish)]


def test_amounts_beyond_every_machine_integer_are_exact(store: Store) -> None:
    """Sums of 2^200 and 2^255 come back to the last unit, and every asset sums to zero."""
    for n, units in enumerate((2**200, 2**200 + 1, 2**255, 2**64, 1, 0)):
        settled(store, claim(str(n)), units)
    settled(store, claim("other"), 5, asset="net:2/else")
    total = 2 * 2**200 + 2**255 + 2**64 + 2
    assert store.balances().result() == {
        ASSET: {f"payer:{PAYER}": -total, "payee:shop": total},
        "net:2/else": {f"payer:{PAYER}": -5, "payee:shop": 5},
    }
    every = [posting for each in store.entries(None, 100).result() for posting in each.postings]
    assert set(totals(every).values()) == {0}


def test_the_journal_is_read_in_pages_in_the_order_of_posting(store: Store) -> None:
    """Each page continues after the last; an entry keeps the order of its postings, or has none."""
    wishes = [claim(f"{n}") for n in range(5)]
    for wish in wishes:
        settled(store, wish)
    free = claim("free")
    lease = leased(store, free)
    store.prepare(lease, prepared(free)).result()
    store.settle(lease, receipt(free), Entry("charge/free", 3.0, "r", ())).result()
    expected = [*(entry(wish) for wish in wishes), Entry("charge/free", 3.0, "r", ())]
    first = store.entries(None, 4).result()
    assert list(first) == expected[:4]
    assert list(store.entries(first[-1].id, 4).result()) == expected[4:]
    assert list(store.entries(expected[-1].id, 4).result()) == []
    with pytest.raises(UsageError):
        store.entries("charge/unknown", 4).result()


def test_one_account_may_stand_in_an_entry_twice(store: Store) -> None:
    """Postings are kept each by itself, splits to one payee included."""
    wish = claim("a")
    lease = leased(store, wish)
    store.prepare(lease, prepared(wish)).result()
    split = tuple(Posting(account, ASSET, units) for account, units in (("a", -3), ("b", 1), ("b", 1), ("b", 1)))
    store.settle(lease, receipt(wish), Entry("e", 1.0, "r", split)).result()
    assert store.entries(None, 1).result()[0].postings == split
    assert store.balances().result() == {ASSET: {"a": -3, "b": 3}}


# --- budgets -------------------------------------------------------------------------------------


def budget(units: int, limit: int = 100, key: str = "sponsor") -> tuple[Budget, ...]:
    """One budget of an hour."""
    return (Budget(key, units, limit, 3600),)


def test_a_budget_is_drawn_to_its_limit_and_not_beyond(store: Store) -> None:
    """What would exceed it claims nothing: neither the challenge nor the proof is used."""
    leased(store, claim("a", budgets=budget(60)))
    over = budget(41)
    assert store.claim(claim("b", budgets=over)).result() == OverBudget(over[0])
    assert store.find("id-b").result() is None
    leased(store, claim("b", budgets=budget(40)))
    assert isinstance(store.claim(claim("c", budgets=budget(1))).result(), OverBudget)
    leased(store, claim("c", budgets=budget(100, key="other")))


def test_budgets_are_drawn_all_or_none(store: Store) -> None:
    """If the second of two is exceeded, the first is not drawn on either."""
    both = (*budget(70, key="a"), *budget(200, key="b"))
    assert store.claim(claim("a", budgets=both)).result() == OverBudget(both[1])
    leased(store, claim("a", budgets=budget(100, key="a")))


def test_a_failed_payment_gives_its_budget_back(store: Store) -> None:
    """And only its own draw."""
    lease = leased(store, claim("a", budgets=budget(60)))
    leased(store, claim("b", budgets=budget(40)))
    store.fail(lease, "reverted").result()
    assert isinstance(store.claim(claim("c", budgets=budget(61))).result(), OverBudget)
    leased(store, claim("c", budgets=budget(60)))


@pytest.mark.guard("T30")
def test_a_payment_that_failed_after_it_was_sent_keeps_its_budget(store: Store) -> None:
    """Its fee may have been taken: a payer whose payments all fail must not cost more than the budget."""
    wish = claim("a", budgets=budget(60))
    lease = leased(store, wish)
    store.prepare(lease, prepared(wish)).result()
    store.fail(lease, "reverted").result()
    assert isinstance(store.claim(claim("b", budgets=budget(41))).result(), OverBudget)
    leased(store, claim("b", budgets=budget(40)))


def test_a_budget_holds_amounts_of_any_size(store: Store) -> None:
    """2^200 units are counted to the last one."""
    leased(store, claim("a", budgets=budget(2**200, 2**201)))
    assert isinstance(store.claim(claim("b", budgets=budget(2**200 + 1, 2**201))).result(), OverBudget)
    leased(store, claim("b", budgets=budget(2**200, 2**201)))


def test_a_budget_is_not_drawn_on_by_less_than_nothing(store: Store) -> None:
    """A negative draw would give others more room."""
    with pytest.raises(UsageError):
        store.claim(claim("a", budgets=budget(-1))).result()
    assert store.find("id-a").result() is None


# --- lists ---------------------------------------------------------------------------------------


def names(payments: object) -> list[str]:
    """The names of listed payments."""
    return [each.challenge.id.removeprefix("id-") for each in payments]  # type: ignore[attr-defined]


def test_payments_are_listed_newest_first_in_pages(store: Store) -> None:
    """Each page continues before the last one; bodies are left out."""
    for n in range(5):
        delivered(store, claim(str(n)))
    first = store.payments(Query(limit=2)).result()
    assert names(first) == ["4", "3"]
    assert names(store.payments(Query(limit=9, before="id-3")).result()) == ["2", "1", "0"]
    assert first[0].delivery == replace(DELIVERY, body=None)
    with pytest.raises(UsageError):
        store.payments(Query(before="id-unknown")).result()


def test_payments_are_listed_by_stage_payer_and_time(store: Store) -> None:
    """Each condition narrows the list; all together must hold."""
    leased(store, claim("claimed"))
    settled(store, claim("settled"))
    delivered(store, claim("delivered"))
    leased(store, replace(claim("other"), payer="payer-2"))
    both = frozenset({Stage.SETTLED, Stage.CLAIMED})
    assert names(store.payments(Query(stages=both)).result()) == ["other", "settled", "claimed"]
    assert names(store.payments(Query(stages=both, payer=PAYER)).result()) == ["settled", "claimed"]
    at = found(store, "settled").claimed_at_s
    assert names(store.payments(Query(since_s=at)).result()) == ["other", "delivered", "settled"]
    assert names(store.payments(Query(until_s=at)).result()) == ["claimed"]


def test_unresolved_are_the_prepared_ones_on_which_nobody_works(store: Store) -> None:
    """Oldest first, without those somebody works on."""
    for name in ("a", "b", "c", "d"):
        lease = leased(store, claim(name))
        if name != "d":
            store.prepare(lease, prepared(claim(name))).result()
        if name != "b":
            store.release(lease).result()
    assert names(store.unresolved(10).result()) == ["a", "c"]
    assert names(store.unresolved(1).result()) == ["a"]


# --- the handle ----------------------------------------------------------------------------------


def test_a_closed_store_says_so(store: Store) -> None:
    """After close every call is refused by name; closing again does nothing."""
    lease = leased(store, claim("a"))
    store.close()
    store.close()
    for call in (
        lambda: store.find("id-a"),
        lambda: store.claim(claim("b")),
        lambda: store.release(lease),
        lambda: store.payments(Query()),
        store.ping,
        store.balances,
    ):
        with pytest.raises(StoreError):
            call().result()


def test_text_that_is_not_unicode_is_refused_by_name(store: Store) -> None:
    """A lone surrogate can't be stored; nothing else is disturbed by the attempt."""
    if type(store).__name__ == "MemoryStore":
        pytest.skip("not applicable: memory encodes nothing")
    with pytest.raises(UsageError):
        store.claim(claim("\ud800")).result()
    with pytest.raises(UsageError):
        store.find("id-\ud800").result()
    leased(store, claim("a"))
