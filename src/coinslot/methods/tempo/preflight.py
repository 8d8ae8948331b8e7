"""Before broadcasting: would the chain do what the bytes ask, and can the fee be paid?

One question to the node (eth_simulateV1) with the calls as they stand in the final bytes. It guards the payer from
paying a fee for nothing, and the sponsor from paying fees for transactions that are known to fail; what changes between
here and the chain is bounded by the sponsor's budgets. T34
"""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.chains.evm.abi import decode_address, decode_uint256, encode_address, encode_call
from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.rpc import Receipt, eth_call, get_receipt
from coinslot.drive import Flow
from coinslot.errors import (
    BadTransaction,
    PaymentInsufficient,
    RailUnavailable,
    RpcUnreachable,
    VerificationFailed,
)
from coinslot.methods.tempo.access_key import key_call, read_key_state
from coinslot.methods.tempo.legs import Binding
from coinslot.methods.tempo.pull import Pulled
from coinslot.methods.tempo.push import require_paid
from coinslot.methods.tempo.simulate import Simulated, simulate
from coinslot.methods.tempo.terms import TempoTerms
from coinslot.methods.tempo.tokens import fee_units
from coinslot.methods.tempo.transaction.fields import Call, TempoTransaction
from coinslot.methods.tempo.transaction.key_authorization import read_key_authorization
from coinslot.methods.tempo.transaction.read import SignedTransaction, read_transaction

_NO_HASH = "0x" + "00" * 32
FEE_MANAGER = "0xfeec000000000000000000000000000000000000"
# A transaction with an expiring nonce and a sponsor, without its calls; and what each further transfer of a token saves
# because the first has touched it. Both measured, both on the low side: a client that asked its node is not refused.
BASE_GAS = 30_000
WARM_GAS = 12_200


def require_fresh(url: str, transaction_hash: str) -> Flow[None]:
    """That a transaction which nothing binds to its challenge is not on the chain already. T05"""
    if (yield from get_receipt(url, transaction_hash)) is not None:
        raise VerificationFailed("this transaction is on the chain already, and nothing ties it to this challenge")


def require_key(url: str, signed: SignedTransaction) -> Flow[None]:
    """That the key which signed may act for the account it names: anybody can name any account. T18

    Asked before the payment is claimed, since what an account paid for is handed to whoever pays as that account. A
    key that the chain does not know yet must bring an authorization which the account's own key signed for it.

    Raises VerificationFailed, RpcUnreachable.
    """
    if not signed.signer.by_access_key:
        return
    call, until = key_call(signed.sender, signed.signer.key), signed.transaction.valid_before or 0
    try:
        state = read_key_state((yield from eth_call(url, call.to, call.data)))
    except BadTransaction as error:
        raise RpcUnreachable(f"the state of the access key: {error}") from None
    brought = not state.known and not state.revoked and _authorizes(signed, until)
    if not brought and not state.holds_until(until):
        raise VerificationFailed("the access key that signed is not authorized for this account (any more)")


def _authorizes(signed: SignedTransaction, until: int) -> bool:
    """Whether the transaction brings an authorization of its key by the account's own key."""
    raw = signed.transaction.key_authorization
    if raw is None:
        return False
    made = read_key_authorization(raw)
    wanted = made.authorization
    return (
        made.signer == signed.sender
        and wanted.key_id == signed.signer.key
        and wanted.chain_id in (0, signed.transaction.chain_id)
        and wanted.account in (None, signed.sender)
        and (wanted.expires_at is None or wanted.expires_at > until)
    )


def preflight(url: str, pulled: Pulled, terms: TempoTerms, binding: Binding, *, sponsored: bool) -> Flow[None]:
    """That the final bytes would pay every leg, and that the fee payer can pay.

    Raises VerificationFailed, PaymentInsufficient, RailUnavailable (the sponsor's purse is empty), ChainError.
    """
    final = read_transaction(pulled.raw)  # what will be broadcast, not what we think we made of it
    tx, payer = final.transaction, final.sender
    fee_token = pulled.fee_token or (yield from chosen_fee_token(url, pulled.fee_payer, terms.asset.id))
    balance = Call(fee_token, 0, encode_call("balanceOf(address)", encode_address(pulled.fee_payer)))
    nothing = (payer, Call(payer))
    answers = yield from simulate(
        url, [nothing, (ZERO_ADDRESS, balance), *((payer, call) for call in tx.calls), nothing]
    )
    held, moved = answers[1], answers[2:-1]
    if not all(each.succeeded for each in moved):
        raise PaymentInsufficient("the transfer would be refused: not enough balance, or a rule of the token")
    logs = tuple(log for each in moved for log in each.logs)
    require_paid(Receipt(_NO_HASH, True, 0, _NO_HASH, payer, logs), payer, terms, binding)
    spent = terms.amount_units if fee_token == terms.asset.id and not sponsored else 0
    require_fee(held, tx, spent, sponsored=sponsored)
    if sponsored:
        require_gas(tx, (answers[0], answers[-1]), moved)


def chosen_fee_token(url: str, payer: str, paid: str) -> Flow[str]:
    """What the chain takes a fee in where the transaction doesn't say: the account's own choice, else what it pays."""
    answer = yield from eth_call(url, FEE_MANAGER, encode_call("userTokens(address)", encode_address(payer)))
    try:
        chosen = decode_address(answer)
    except BadTransaction as error:
        raise RpcUnreachable(f"the account's fee token: {error}") from None
    return paid if chosen == ZERO_ADDRESS else chosen


def require_fee(held: Simulated, tx: TempoTransaction, spent: int, *, sponsored: bool) -> None:
    """That the balance which was asked for covers the highest fee, and what is spent of it besides.

    Raises RailUnavailable where the sponsor's does not, PaymentInsufficient where the payer's does not.
    """
    try:
        balance = decode_uint256(held.returned) if held.succeeded else 0
    except BadTransaction:
        balance = 0
    if balance >= fee_units(tx.max_fee) + spent:
        return
    if sponsored:  # TCHG-046, TCHG-076
        raise RailUnavailable("the account that pays the fees here is empty; nothing was charged")
    raise PaymentInsufficient("the payer can't pay the network fee")


def require_gas(tx: TempoTransaction, idle: tuple[Simulated, Simulated], moved: Sequence[Simulated]) -> None:
    """That it does not run out of gas at the sponsor's cost. T31

    Calls are simulated as transactions of their own; what an idle one takes is not the transfer's. Nodes disagree about
    estimating a batch as a whole.
    """
    alone = min(each.gas_used for each in idle)
    transfers = sum(max(each.gas_used - alone, 0) for each in moved) - (len(moved) - 1) * WARM_GAS
    needed = BASE_GAS + transfers
    if tx.gas_limit < needed:
        raise VerificationFailed(f"not sponsored: the gas limit is too low, about {needed} is needed")
