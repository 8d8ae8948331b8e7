"""Whatever is done to a transaction: what is sponsored pays exactly, and costs no more than allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from coinslot.chains.solana.budget import build_unit_limit, build_unit_price
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.memo import Memo, build_memo
from coinslot.chains.solana.message import build_message, read_transaction, sign_partially
from coinslot.chains.solana.programs import (
    ATA_PROGRAM,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
)
from coinslot.chains.solana.system import build_transfer
from coinslot.chains.solana.token import CloseAccount, build_close_account
from coinslot.errors import ChainError, Problem
from coinslot.intents.charge import Settled
from coinslot.methods.solana.tokens import USDC
from support.solanashop import DOLLAR, SOL, SolanaShop
from support.solanasmuggling import Case, create, make, nonce_advance, sponsors_transfer


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, int, int, int, int]]:
    """A few edits: what, where, and three numbers to choose by."""
    kinds = st.sampled_from(["duplicate", "remove", "move", "account", "role", "data", "insert", "program", "budget"])
    numbers = st.integers(0, 2**16)
    return draw(st.lists(st.tuples(kinds, numbers, numbers, numbers, numbers), min_size=1, max_size=4))


def _pool(case: Case) -> list[str]:
    owners = [case.sponsor.address, case.payer.address, case.thief.address, case.marked, case.unmarked]
    owners.append(case.terms.legs[0].recipient)
    return owners + [case.ata(each) for each in owners] + [USDC, SYSTEM_PROGRAM, TOKEN_PROGRAM, ATA_PROGRAM]


def _nasty(case: Case) -> list[Instruction]:
    return [
        build_transfer(case.sponsor.address, case.thief.address, SOL),
        build_transfer(case.payer.address, case.sponsor.address, 10),
        sponsors_transfer(case),
        create(case, case.thief.address),
        create(case, case.marked),
        build_close_account(
            CloseAccount(TOKEN_PROGRAM, case.ata(case.sponsor), case.thief.address, case.sponsor.address)
        ),
        build_memo(Memo("", ())),
        build_memo(Memo(case.terms.external_id or "")),
        build_unit_price(10**7),
        build_unit_limit(400_000),
        nonce_advance(case),
    ]


def mutated(case: Case, edits: list[tuple[str, int, int, int, int]]) -> list[Instruction]:
    """The honest instructions, edited."""
    found, pool, nasty = case.good, _pool(case), _nasty(case)
    for kind, where, one, two, three in edits:
        if not found:
            break
        at = where % len(found)
        each = found[at]
        if kind == "duplicate":
            found.insert(one % (len(found) + 1), each)
        elif kind == "remove":
            found.pop(at)
        elif kind == "move":
            found.insert(one % len(found), found.pop(at))
        elif kind == "insert":
            found.insert(at, nasty[one % len(nasty)])
        elif kind == "program":
            found[at] = replace(each, program=pool[one % len(pool)])
        elif kind == "budget":
            found.append(build_unit_price(one * 1_000) if two % 2 else build_unit_limit(one * 20))
        elif kind == "data" and each.data:
            place = one % len(each.data)
            found[at] = replace(each, data=each.data[:place] + bytes((two % 256,)) + each.data[place + 1 :])
        elif each.accounts:
            place = one % len(each.accounts)
            old = each.accounts[place]
            if kind == "account":
                new = replace(old, address=pool[two % len(pool)])
            else:
                new = replace(old, signer=bool(two % 2), writable=bool(three % 2))
            found[at] = replace(each, accounts=(*each.accounts[:place], new, *each.accounts[place + 1 :]))
    return found


@pytest.fixture(scope="module")
def fuzzed(hall: SolanaShop) -> Case:
    """A case whose payer has enough for every example that gets through."""
    case = make(hall)
    hall.chain.fund(case.payer.address, 1000 * DOLLAR, "USDC")
    hall.chain.fund(case.sponsor.address, 1000 * SOL, "SOL")
    return case


@pytest.mark.guard("T30")
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=changes())
@example(edits=[("move", 0, 1, 0, 0)])  # the order of what it may cost means nothing: this one gets through
@example(edits=[("remove", 0, 0, 0, 0)])  # so does one that bids nothing
def test_whatever_is_sponsored_pays_exactly_and_costs_no_more_than_allowed(
    fuzzed: Case, edits: list[tuple[str, int, int, int, int]]
) -> None:
    """However the honest transaction is edited: if it is taken at all, it does what was asked on the real SVM."""
    case, shop = fuzzed, fuzzed.shop
    config = case.seller.config
    assert config.sponsor is not None
    shop.chain.running.advance_slots(1)  # a blockhash of its own: the same bytes again would be the same payment
    try:
        instructions = mutated(case, edits)
        message = build_message(case.sponsor.address, instructions, shop.chain.blockhash())
        wanted = read_transaction(sign_partially(message, [])).signers
        keys = [key for key in (case.payer, case.thief) if key.address in wanted]
        checked = case.check(sign_partially(message, keys))
        prepared = shop.prepare(case.seller, checked)
    except (Problem, ChainError, ValueError):
        return
    legs = [(leg.recipient, leg.amount_units) for leg in case.terms.legs]
    before = [shop.held(recipient) for recipient, _ in legs]
    purse, gold = shop.held(case.sponsor.address, "SOL"), shop.held(case.sponsor.address)
    event("sponsored")
    outcome = shop.settle(case.seller, prepared)
    cost = purse - shop.held(case.sponsor.address, "SOL")
    assert cost <= config.sponsor.max_fee_lamports + config.sponsor.rent_lamports
    assert cost <= max(budget.units for budget in checked.budgets)
    assert shop.held(case.sponsor.address) == gold
    if isinstance(outcome, Settled):
        assert [shop.held(recipient) - had for (recipient, _), had in zip(legs, before, strict=True)] == [
            units for _, units in legs
        ]
