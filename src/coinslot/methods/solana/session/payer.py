"""The client's side of Solana sessions, for one account on one cluster.

Who is believed about what:

    the settings      cluster, channel programs, tokens, limits: see wallet.py                              T07 T47
    our own records   what was signed. A server's word counts only as far as our signature comes with it    T24
    our own node      blockhash and slot of a challenge, deposits, what was settled, who asked to close     T47

Nothing is sent by what signs: a channel's id is known before its transaction is sent, so that the caller can write both
down first. Where the server signs the vouchers (`operator`), a request presents a proof of who pays, the same each
time; the whole deposit is then what we authorized, since the server may take it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from coinslot.chains.solana.expiry import LIFE_S
from coinslot.chains.solana.instruction import U64_MAX
from coinslot.chains.solana.message import read_transaction
from coinslot.chains.solana.rpc import account, block_time, latest_blockhash
from coinslot.chains.solana.sending import PREFLIGHT_FAILED, await_status, preflight_failure, send_transaction, simulate
from coinslot.core.canonical import canonical
from coinslot.core.challenge import Challenge
from coinslot.core.credential import decode_credential
from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, now, random_bytes
from coinslot.errors import (
    BadTransaction,
    MalformedCredential,
    NoPayableOffer,
    RpcRefused,
    UsageError,
)
from coinslot.intents import acts
from coinslot.intents.acts import Act, Balance, Held, Left, Move, OnChain, Sendable
from coinslot.intents.dry import read_need_voucher
from coinslot.methods.solana.session import exit as leaving
from coinslot.methods.solana.session.bearer import Authentication, sign_bearer
from coinslot.methods.solana.session.channel import ChannelAccount, Seeds
from coinslot.methods.solana.session.configure import known_treasury
from coinslot.methods.solana.session.escrow import CHANNEL_PROGRAM
from coinslot.methods.solana.session.fields import read_address, read_units
from coinslot.methods.solana.session.leftovers import Leftovers, leftovers
from coinslot.methods.solana.session.looking import own_state
from coinslot.methods.solana.session.opening import (
    OPEN_UNITS,
    TOP_UP_UNITS,
    Funding,
    fee_lamports,
    open_transaction,
    opening_lamports,
    own_fee,
    purse_of,
    reference_of,
    require_fresh,
    require_means,
    signed_by,
    top_up_transaction,
    usable,
)
from coinslot.methods.solana.session.ownchannels import find_channels, look_up
from coinslot.methods.solana.session.payload import (
    ClosePayload,
    OpenPayload,
    TopUpPayload,
    UsePayload,
    VoucherPayload,
    read_payload,
)
from coinslot.methods.solana.session.program import Open, TopUp
from coinslot.methods.solana.session.receipt import read_session_receipt
from coinslot.methods.solana.session.record import NAME, Recorded, proof_hash, read_record, recorded_of
from coinslot.methods.solana.session.snapshot import believed, names
from coinslot.methods.solana.session.terms import INTENT, SessionTerms
from coinslot.methods.solana.session.voucher import SignedVoucher, decode_voucher, sign_voucher
from coinslot.methods.solana.session.wallet import SessionPayerConfig, pinned_terms, require_openable, same_asked
from coinslot.methods.solana.source import source_of

# Two equal top-ups on one blockhash would be one transaction: what they may compute is drawn from this range.
_DISTINCT_UNITS = 2**12
# What nodes say, too, where a transaction was tried out and failed.
FAILED = PREFLIGHT_FAILED


@dataclass(frozen=True, slots=True)
class SolanaSessionPayer:
    """Pays from channels of one account."""

    method: ClassVar[str] = NAME
    intent: ClassVar[str] = INTENT
    config: SessionPayerConfig

    @property
    def network(self) -> str:
        """The CAIP-2 id of the cluster of the wallet's node."""
        return self.config.wallet.network

    @property
    def account(self) -> str:
        """The address that pays."""
        return self.config.account

    @property
    def opens_signed(self) -> bool:
        """An opening carries no voucher (SSES-112)."""
        return False

    def signs(self, held: Held) -> bool:
        """Whether the channel's vouchers are ours to sign, and not its server's. Raises UsageError."""
        return not self._recorded(held).operator

    def withdraw_after_s(self, held: Held) -> float:
        """The channel's own grace period, by a clock that may be behind (SSES "Grace Period")."""
        return float(self._recorded(held).grace_s + leaving.CLOCK_SLACK_S)

    def source(self) -> str:
        """Who pays, as a DID."""
        return source_of(self.network, self.account)

    # --- terms ---------------------------------------------------------------------------------------

    def terms(self, challenge: Challenge) -> SessionTerms:
        """What is asked, if all that it names is known here. Raises NoPayableOffer."""
        return pinned_terms(self.config, challenge)

    def most_units(self, terms: acts.Terms) -> int | None:
        """What `operator_deposit` allows where the server signs the vouchers (T47); else None."""
        mine = _own(terms)
        return None if mine.operator is None else self.config.most_units(mine)

    def require_openable(self, terms: acts.Terms) -> None:
        """That this wallet's owner allows a deposit under these terms. Raises NoPayableOffer."""
        require_openable(self.config, _own(terms))

    def _judged(self, challenge: Challenge, terms: acts.Terms) -> SessionTerms:
        """The challenge's own terms, which must be those that were judged. Raises NoPayableOffer. T24"""
        mine = self.terms(challenge)
        if not same_asked(mine, terms):
            raise NoPayableOffer("solana: the challenge asks for something else than what was agreed to")  # T24
        return mine

    def fits(self, held: Held, terms: acts.Terms) -> bool:
        """Whether this channel of ours can pay these terms. Raises UsageError for a record that can't be read."""
        if (held.method, held.payer, held.network) != (NAME, self.account, self.network):
            return False
        if not isinstance(terms, SessionTerms):
            return False
        recorded = self._recorded(held)
        seeds = recorded.seeds
        theirs = (terms.program, terms.recipient, terms.mint, terms.splits)
        if (recorded.program, seeds.payee, seeds.mint, recorded.splits) != theirs:  # T07 T47
            return False
        if terms.operator is None:
            return not recorded.operator and seeds.authorized_signer in self.config.signers
        return recorded.operator and seeds.authorized_signer == terms.operator and recorded.echo is not None

    def _recorded(self, held: Held) -> Recorded:
        """The terms that a record's channel stands for. Raises UsageError. T08"""
        return recorded_of(held.state, held.channel_id)

    # --- money into a channel --------------------------------------------------------------------------

    def open(self, challenge: Challenge, terms: acts.Terms, deposit_units: int, first_units: int) -> Flow[Move]:
        """Sign the opening of a new channel; nothing is sent. Where the server signs the vouchers, less is deposited
        than was asked for if the wallet's limit says so, and all of it is authorized.

        Raises NoPayableOffer, ChainError; UsageError for amounts that contradict each other.
        """
        mine, config, wallet = self._judged(challenge, terms), self.config, self.config.wallet
        require_openable(config, mine)
        if first_units or deposit_units < mine.amount_units:
            raise UsageError("an opening carries no voucher, and a deposit covers one unit at least")
        deposit_units = min(deposit_units, config.most_units(mine))  # T47
        least = max(mine.minimum_deposit_units, mine.amount_units)
        if deposit_units < least:
            raise NoPayableOffer(
                f"solana: the server takes deposits from {mine.asset.text(least)}, and no more than "
                f"{mine.asset.text(deposit_units)} may be deposited"
            )
        purse = purse_of(wallet, mine.mint)
        lamports = 0
        if mine.fee_payer is None:
            lamports = yield from opening_lamports(wallet, purse.token_program, OPEN_UNITS)
        newest = yield from require_means(wallet, purse, deposit_units, lamports)
        funding = yield from require_fresh(wallet, mine, newest)
        recorded = self._planned(challenge, mine, int.from_bytes((yield from random_bytes(8)), "big"))
        call = Open(
            recorded.seeds,
            token_program=recorded.token_program,
            rent_payer=recorded.rent_payer,
            deposit_units=deposit_units,
            grace_s=recorded.grace_s,
            splits=recorded.splits,
        )
        raw = open_transaction(wallet, mine.program, call, funding)
        payload = self._opening(recorded, deposit_units, raw)
        return self._opened(recorded, payload, funding, (yield from now()))

    def _planned(self, challenge: Challenge, terms: SessionTerms, salt: int) -> Recorded:
        """The channel that is about to be opened: its address is fixed by this. Whoever pays the fee pays the rent."""
        operator, wallet = terms.operator, self.config.wallet
        return Recorded(
            network=self.network,
            program=terms.program,
            seeds=Seeds(
                payer=self.account,
                payee=terms.recipient,
                mint=terms.mint,
                authorized_signer=operator or self.config.voucher_key.address,  # T15
                salt=salt,
                open_slot=terms.recent_slot or 0,  # SSES-113
            ),
            token_program=purse_of(wallet, terms.mint).token_program,
            rent_payer=terms.fee_payer or self.account,
            grace_s=terms.grace_s or 0,
            splits=terms.splits,
            operator=operator is not None,
            challenge_id=None if operator is None else challenge.id,
            echo=None if operator is None else _echo(challenge),
        )

    def _opening(self, recorded: Recorded, deposit_units: int, raw: bytes) -> OpenPayload:
        seeds = recorded.seeds
        return OpenPayload(
            channel_id=recorded.id,
            payer=seeds.payer,
            payee=seeds.payee,
            mint=seeds.mint,
            authorized_signer=seeds.authorized_signer,
            salt=seeds.salt,
            deposit_units=deposit_units,
            grace_s=recorded.grace_s,
            open_slot=seeds.open_slot,
            transaction=raw,
            splits=recorded.splits,
            authentication=self._proof(recorded) if recorded.operator else None,
        )

    def _opened(self, recorded: Recorded, payload: OpenPayload, funding: Funding, at_s: float) -> Move:
        members, reference = payload.members(), reference_of(payload.transaction, recorded.id, funding.fee_payer)
        held = replace(
            recorded.held(payload.deposit_units),
            opening=canonical(members),
            reference=reference,
            dead_after_s=at_s + LIFE_S,
            opened_at_s=at_s,
            used_at_s=at_s,
        )
        if recorded.operator:  # T47: the server may take it all, so all of it is authorized now
            held = replace(held, signed_units=held.deposit_units, voucher=self.sign(held, held.deposit_units))
        return Move(held, members, self.source(), reference, at_s + LIFE_S)

    def top_up(self, challenge: Challenge, held: Held, additional_units: int) -> Flow[Move]:
        """Sign an addition to the deposit; nothing is sent. `move.held` is `held`: its deposit grows when it is there.

        Raises NoPayableOffer, ChainError; UsageError beyond what the chain can count.
        """
        terms, recorded, wallet = self.terms(challenge), self._recorded(held), self.config.wallet
        if not self.fits(held, terms):
            raise NoPayableOffer("solana: the channel does not pay what this challenge asks")
        total = held.deposit_units + additional_units
        if additional_units <= 0 or total > U64_MAX:
            raise UsageError("a top-up adds something, and no more than a channel can hold")
        if total > self.config.most_units(terms):  # T47
            raise NoPayableOffer("solana: more than this wallet deposits where the server signs (operator_deposit)")
        leaving.require_open((yield from self._state(recorded)))  # SSES-217: a closing channel takes no deposit
        more = int.from_bytes((yield from random_bytes(2)), "big") % _DISTINCT_UNITS
        lamports = yield from own_fee(wallet, terms, TOP_UP_UNITS + more)
        if lamports is not None:
            terms = replace(terms, fee_payer=None)
        yield from require_means(wallet, purse_of(wallet, terms.mint), additional_units, lamports or 0)
        funding = yield from usable(wallet, terms)
        call = TopUp(recorded.id, self.account, terms.mint, recorded.token_program, additional_units)
        raw = top_up_transaction(wallet, recorded.program, call, funding, more)
        payload = TopUpPayload(recorded.id, additional_units, raw).members()
        reference = reference_of(raw, recorded.id, funding.fee_payer)
        return Move(held, payload, self.source(), reference, (yield from now()) + LIFE_S)

    # --- vouchers and proofs -----------------------------------------------------------------------------

    def sign(self, held: Held, total_units: int) -> bytes:
        """A voucher that lets the payee take `total_units` in all, without an end. Where the server signs the vouchers:
        what names our proof, and is none. Raises UsageError: not our key, or too much.
        """
        recorded = self._recorded(held)
        if recorded.operator:
            return proof_hash(self._proof(recorded).signature).encode()  # T38: who reads the book can't use it
        key = self.config.key_of(recorded.seeds.authorized_signer)
        if key is None:  # T15
            signer = recorded.seeds.authorized_signer
            raise UsageError(f"the channel's vouchers are signed by {signer}, which is no key of ours")
        return sign_voucher(key, held.channel_id, total_units).encode()

    def _proof(self, recorded: Recorded) -> Authentication:
        """Who we are, for this channel and the challenge that opened it: the same bytes each time. SSES-090"""
        if recorded.challenge_id is None:
            raise UsageError("how this channel was opened is not known any more, so it can't be used; close it")
        return sign_bearer(self.config.wallet.key, recorded.id, recorded.challenge_id)

    def payload(self, held: Held, act: Act, total_units: int, voucher: bytes) -> Mapping[str, Any]:
        """What presents a signed voucher, or the proof of who pays, to buy (VOUCHER, USE) or to close (CLOSE).

        Raises UsageError for other acts, and for a voucher that is not the one of that total.
        """
        recorded = self._recorded(held)
        if act not in (Act.VOUCHER, Act.USE, Act.CLOSE):
            raise UsageError("a voucher buys or closes; what moves money into a channel is signed by open and top_up")
        if recorded.operator:
            proof = self._proof(recorded)
            if act is Act.CLOSE:
                return ClosePayload(held.channel_id, authentication=proof).members()
            return UsePayload(held.channel_id, proof).members()
        signed = _own_voucher(held, total_units, voucher)
        if act is Act.CLOSE:
            return ClosePayload(held.channel_id, signed).members()
        return VoucherPayload(held.channel_id, signed).members()

    def echoed(self, held: Held, challenge: Challenge) -> Challenge:
        """The challenge that a request from this channel echoes: a proof belongs to the opening's (SSES-094)."""
        recorded = self._recorded(held)
        if not recorded.operator or recorded.echo is None:
            return challenge
        return _read_echo(recorded.echo)

    # --- what a server says ------------------------------------------------------------------------------

    def hint(
        self, challenge: Challenge, terms: acts.Terms, fields: Mapping[str, str], held: Held | None
    ) -> Held | None:
        """Our record of the channel that a server suggests, with what its snapshot proves of our signatures.

        A channel that is not on record is passed over: only the chain tells its terms. Raises NoPayableOffer. T24
        """
        mine = self._judged(challenge, terms)
        if held is None or not self.fits(held, mine):
            return None
        if self.signs(held):
            shown = believed(fields, held)
            if shown is not None:
                return shown
        return held if held.channel_id in names(mine.channel_id, fields) else None

    def balance(self, receipt: Receipt) -> Balance:
        """What a receipt says of a channel. Raises MalformedHeader."""
        told = read_session_receipt(receipt)
        return Balance(told.channel_id, told.accepted_units, told.spent_units, units=told.units)

    def needed(self, told: Mapping[str, Any]) -> Balance:
        """What a stream that ran dry asks for. Raises MalformedHeader."""
        return read_need_voucher(told, read_address, read_units).balance()

    # --- what the chain says -----------------------------------------------------------------------------

    def look(self, held: Held) -> Flow[OnChain]:
        """The channel as the chain has it, also where the chain has freed its account. Raises ChainError."""
        return (yield from look_up(self.config.wallet.rpc_url, held, self._recorded(held), _built_on(held)))

    def find(self, since_s: float) -> Flow[Sequence[Held]]:
        """Channels of this account that the chain has, opened since then. Raises ChainError. F04

        What was signed on them is not known: `signed_units` is what was settled.
        """
        wallet, programs = self.config.wallet, self.config.all_programs()
        return (yield from find_channels(wallet.rpc_url, self.network, programs, self.account, since_s))

    # --- without the server's help -------------------------------------------------------------------------

    def request_close(self, held: Held) -> Flow[Sendable]:
        """Sign the request to close. Nothing is sent. Raises NoPayableOffer, ChainError."""
        recorded = self._recorded(held)
        leaving.require_open((yield from self._state(recorded)))
        yield from self._require_fee(leaving.REQUEST_UNITS)
        funding = yield from self._own_funding()
        raw = signed_by(self.config.wallet, [leaving.request(recorded)], leaving.REQUEST_UNITS, funding)
        return (yield from _sendable(raw))

    def withdraw(self, held: Held) -> Flow[Sendable]:
        """Sign the withdrawal of the rest, with the seal before it where that is missing. Nothing is sent.

        Raises NoPayableOffer while the payee may still settle, ChainError.
        """
        recorded, wallet = self._recorded(held), self.config.wallet
        state = yield from self._state(recorded)
        leaving.require_withdrawable(state, (yield from self._chain_time_s()))
        assert state is not None  # noqa: S101 - require_withdrawable
        own = yield from account(wallet.rpc_url, leaving.own_account(recorded))
        yield from self._require_fee(leaving.WITHDRAW_UNITS + leaving.DISTRIBUTE_UNITS)
        funding = yield from self._own_funding()
        calls = leaving.withdrawal(recorded, state, creates=own is None)
        more = yield from leaving.payout(wallet.rpc_url, recorded, state, self._treasury(recorded))
        if more:
            units = leaving.WITHDRAW_UNITS + leaving.DISTRIBUTE_UNITS
            with suppress(NoPayableOffer):  # too many recipients to be named beside it: our rest comes first
                raw = signed_by(wallet, [*calls, *more], units, funding)
                if (yield from simulate(wallet.rpc_url, raw)).failure is None:
                    return (yield from _sendable(raw))
        return (yield from _sendable(signed_by(wallet, calls, leaving.WITHDRAW_UNITS, funding)))

    def left(self, known: Sequence[Held]) -> Flow[Left]:
        """The channels that are over and hold rent of ours; `known`: closed ones of the book. Raises ChainError."""
        config, url = self.config, self.config.wallet.rpc_url
        treasury = {} if (owner := self._treasury_owner(CHANNEL_PROGRAM)) is None else {CHANNEL_PROGRAM: owner}
        programs, own = config.all_programs(), [one for one in known if one.payer == self.account]
        found = yield from leftovers(url, self.network, programs, self.account, own, treasury)
        ready = tuple(one for batch in found.batches for one in batch.channels)
        return Left(ready, found.waiting, found)

    def collect(self, left: Left) -> Flow[Sequence[Sendable]]:
        """Sign what brings it back, but for what the chain would refuse now. Nothing is sent. Raises NoPayableOffer,
        ChainError.
        """
        if not isinstance(left.evidence, Leftovers):
            raise UsageError("not what `left` found")
        signed: list[Sendable] = []
        for batch in left.evidence.batches:
            yield from self._require_fee(batch.units)
            with suppress(NoPayableOffer):  # too many recipients to be named: the payee pays them out
                raw = signed_by(self.config.wallet, batch.calls, batch.units, (yield from self._own_funding()))
                if (yield from simulate(self.config.wallet.rpc_url, raw)).failure is None:
                    signed.append((yield from _sendable(raw)))
        return signed

    def _state(self, recorded: Recorded) -> Flow[ChannelAccount | None]:
        found = yield from account(self.config.wallet.rpc_url, recorded.id)
        return own_state(recorded, found)

    def _chain_time_s(self) -> Flow[float]:
        """The chain's clock as of its newest block, ours where the node doesn't know."""
        url = self.config.wallet.rpc_url
        newest = yield from latest_blockhash(url)
        time_s = yield from block_time(url, newest.slot)
        return (yield from now()) if time_s is None else float(time_s)

    def _own_funding(self) -> Flow[Funding]:
        return Funding(None, (yield from latest_blockhash(self.config.wallet.rpc_url)).blockhash)

    def _require_fee(self, units: int) -> Flow[None]:
        """That our account can pay for leaving by itself. Raises NoPayableOffer, ChainError."""
        wallet = self.config.wallet
        needed = yield from fee_lamports(wallet, units)
        found = yield from account(wallet.rpc_url, wallet.account)
        held = 0 if found is None else found.lamports
        if held < needed:
            raise NoPayableOffer(
                f"solana: leaving a channel without its server costs a network fee: {wallet.account} holds {held} "
                f"lamports, and {needed} are needed. Send it some SOL, or ask the server to close the channel"
            )

    def _treasury(self, recorded: Recorded) -> str | None:
        """Who owns the treasury of a channel's program, where that is known."""
        return self._treasury_owner(recorded.program)

    def _treasury_owner(self, program: str) -> str | None:
        if program != CHANNEL_PROGRAM:
            return None
        return known_treasury(self.config.wallet.cluster)

    def send(self, raw: bytes) -> Flow[None]:
        """Broadcast what was signed, and wait until the chain shows it; a second time does no harm.

        Raises RpcRefused if it can't happen or failed, RpcUnreachable if that is not known: then look.
        """
        url = self.config.wallet.rpc_url
        try:
            signature = yield from send_transaction(url, raw)
        except RpcRefused as refusal:
            failure = preflight_failure(refusal)
            if failure is None:
                raise
            raise RpcRefused(f"the chain would refuse it: {failure.text}", code=refusal.code) from None
        status = yield from await_status(url, signature)
        if status.failure is not None:
            reason = f"the transaction {signature} failed ({status.failure.text}); only its fee was spent"
            raise RpcRefused(reason, code=FAILED)


def _own(terms: acts.Terms) -> SessionTerms:
    if not isinstance(terms, SessionTerms):
        raise UsageError("not terms of a solana session")
    return terms


def _own_voucher(held: Held, total_units: int, voucher: bytes) -> SignedVoucher:
    """The voucher on record, which must be the one that is meant. Raises UsageError. T08"""
    signed = decode_voucher(voucher)
    meant = (held.channel_id, total_units, held.signer)
    if (signed.channel_id, signed.cumulative_units, signed.signer) != meant:  # T08
        raise UsageError("the voucher is of another channel, or for another amount")
    return signed


def _echo(challenge: Challenge) -> str:
    """A challenge as text, to be echoed later on."""
    return canonical(dict(challenge.echo())).decode()


def _read_echo(text: str) -> Challenge:
    """Raises UsageError."""
    try:
        return Challenge(**json.loads(text))
    except (TypeError, ValueError):
        raise UsageError("the record's challenge can't be read") from None


def _built_on(held: Held) -> str | None:
    """The blockhash of an opening whose end is not known."""
    if not held.opening:
        return None
    try:
        payload = decode_credential(held.opening.decode().partition(" ")[2]).payload_object()
        shown = read_payload(payload, operator=read_record(held.state).operator)
        if isinstance(shown, OpenPayload | TopUpPayload):
            return read_transaction(shown.transaction).blockhash
    except (MalformedCredential, BadTransaction, UsageError, UnicodeDecodeError):
        pass
    return None


def _sendable(raw: bytes) -> Flow[Sendable]:
    return Sendable(read_transaction(raw).signature, raw, (yield from now()) + LIFE_S)
