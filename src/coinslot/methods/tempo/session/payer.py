"""The client's side of tempo sessions, for one account on one chain, in both session protocols.

Who is believed about what:

    the settings      chain, escrows, tokens: what a server names must be among them before anything is signed  T07 T47
    our own records   what was signed. A server's word counts only as far as our signature comes with it        T24
    the chain         deposits, what was settled, requests to close

Nothing is sent by what signs: a channel's id is known before its transaction is sent, so that the caller can write both
down first. Vouchers are signed by a plain key (the chain takes no access key's signature for an account's): an access
key, or a voucher key of its own, is named to the escrow as authorized signer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from coinslot.chains.evm.hexdata import to_hex
from coinslot.chains.evm.rpc import latest_block, send_raw_sync
from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.canonical import canonical
from coinslot.core.challenge import Challenge
from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, now, random_bytes
from coinslot.errors import ChannelNotFound, MalformedHeader, NoPayableOffer, RpcRefused, UsageError
from coinslot.intents import acts
from coinslot.intents.acts import Act, Balance, Held, Move, OnChain, Sendable
from coinslot.intents.dry import read_need_voucher
from coinslot.methods.tempo.paying import (
    NAME,
    VALID_S,
    PayerConfig,
    chain_time_s,
    hand_over,
    max_fee_per_gas,
    needed_key_authorization,
    require_balance,
    sign_as_account,
    valid_before,
)
from coinslot.methods.tempo.session.calls import OpenCall, RequestCloseCall, WithdrawCall
from coinslot.methods.tempo.session.escrow import V1, VERSIONS, WITHDRAW_AFTER_S, Escrow, pinned_escrow
from coinslot.methods.tempo.session.exit import exit_transaction, require_there, require_withdrawable
from coinslot.methods.tempo.session.fields import read_units, read_word
from coinslot.methods.tempo.session.ownchannels import find_channels, look_up
from coinslot.methods.tempo.session.payload import ClosePayload, OpenPayload, TopUpPayload, VoucherPayload
from coinslot.methods.tempo.session.receipt import read_session_receipt
from coinslot.methods.tempo.session.record import Recorded, read_record, record_opened, scheme_of
from coinslot.methods.tempo.session.reserve import ChainChannel, read_channel
from coinslot.methods.tempo.session.suggestion import believed, names, told_snapshot
from coinslot.methods.tempo.session.terms import INTENT, SessionTerms, read_session_terms, require_terms
from coinslot.methods.tempo.session.transaction import Funding, open_transaction, top_up_transaction
from coinslot.methods.tempo.source import source_of
from coinslot.methods.tempo.tokens import PATH_USD, fee_units, network
from coinslot.methods.tempo.transaction.build import serialise, transaction_hash
from coinslot.methods.tempo.transaction.fields import TempoTransaction
from coinslot.money import Asset
from coinslot.plain import PlainSessionPayer

# Geth's code for what was executed and reverted; other nodes took it over.
REVERTED = 3


@dataclass(frozen=True, slots=True)
class SessionPayerConfig:
    """A payer's settings, parsed. `escrows` are allowed besides the pinned ones; `protocols` are names of versions."""

    wallet: PayerConfig
    voucher_key: PrivateKey
    escrows: frozenset[str]
    protocols: frozenset[str]

    def key_of(self, signer: str) -> PrivateKey | None:
        """Our key of that address, if we have it. One that signs for another account is its own signer here."""
        for key in (self.voucher_key, self.wallet.key):
            if key.address == signer:
                return key
        return None

    @property
    def signers(self) -> frozenset[str]:
        """The addresses whose vouchers we can sign."""
        return frozenset({self.voucher_key.address, self.wallet.key.address})

    def all_escrows(self) -> tuple[Escrow, ...]:
        """Everywhere a channel of this account may live."""
        chain = self.wallet.chain_id
        pinned = [found for version in VERSIONS.values() if (found := pinned_escrow(version, chain)) is not None]
        others = [Escrow(version, chain, address) for address in sorted(self.escrows) for version in VERSIONS.values()]
        return tuple(dict.fromkeys((*pinned, *others)))


@dataclass(frozen=True, slots=True)
class TempoSessionPayer(PlainSessionPayer):
    """Pays from channels of one account."""

    method: ClassVar[str] = NAME
    intent: ClassVar[str] = INTENT
    config: SessionPayerConfig

    @property
    def network(self) -> str:
        """The chain of the wallet's node."""
        return network(self.config.wallet.chain_id)

    @property
    def account(self) -> str:
        """The address that pays, in lower case."""
        return self.config.wallet.account

    def withdraw_after_s(self, held: acts.Held) -> float:
        """How long after a request to close to wait before withdrawing (TSES-189)."""
        return float(WITHDRAW_AFTER_S)

    def source(self) -> str:
        """Who pays, as a DID."""
        return source_of(self.config.wallet.chain_id, self.account)

    # --- terms ---------------------------------------------------------------------------------------

    def terms(self, challenge: Challenge) -> SessionTerms:
        """What is asked, if it is on our chain, on an escrow and in a token that we know. Raises NoPayableOffer."""
        wallet = self.config.wallet
        try:
            terms = read_session_terms(challenge.request_object(), wallet.asset)
            require_terms(terms, wallet.chain_id, self.config.escrows)  # T07 T47
        except (UsageError, MalformedHeader) as error:
            raise NoPayableOffer(f"tempo: {error}") from None
        if terms.version.name not in self.config.protocols:  # TSES-006
            raise NoPayableOffer(f"tempo: this wallet does not take session protocol {terms.version.name}")
        if terms.token not in wallet.tokens:  # T47
            raise NoPayableOffer(f"tempo: the token {terms.token} is neither pinned nor in this wallet's tokens")
        return terms

    def _judged(self, challenge: Challenge, terms: acts.Terms) -> SessionTerms:
        """The challenge's own terms, which must be those that were judged; a fresh one may suggest another channel.

        Raises NoPayableOffer. T24
        """
        mine = self.terms(challenge)
        if not isinstance(terms, SessionTerms) or _asked(mine) != _asked(terms):
            raise NoPayableOffer("tempo: the challenge asks for something else than what was agreed to")  # T24
        return mine

    def fits(self, held: Held, terms: acts.Terms) -> bool:
        """Whether this channel of ours can pay these terms. Raises UsageError for a record that can't be read."""
        if held.method != NAME or held.payer != self.account or not isinstance(terms, SessionTerms):
            return False
        recorded = self._recorded(held)
        theirs = (terms.escrow, terms.recipient, terms.token, terms.operator)
        ours = (recorded.ref.escrow, recorded.terms.payee, recorded.terms.token, recorded.operator)
        return ours == theirs and recorded.terms.signer in self.config.signers  # T07 T47

    def _recorded(self, held: Held) -> Recorded:
        """The terms that a record's channel stands for. Raises UsageError."""
        recorded = read_record(held.state)
        if recorded.ref.id != held.channel_id:  # T08
            raise UsageError("the record of a channel names another channel")
        return recorded

    # --- money into a channel --------------------------------------------------------------------------

    def open(self, challenge: Challenge, terms: acts.Terms, deposit_units: int, first_units: int) -> Flow[Move]:
        """Sign the opening of a new channel and its first voucher; nothing is sent.

        Raises NoPayableOffer, ChainError; UsageError for amounts that contradict each other or the protocol's width.
        """
        mine = self._judged(challenge, terms)
        if not 0 <= first_units <= deposit_units or deposit_units < mine.amount_units:
            raise UsageError("a deposit covers one unit at least, and the first voucher")
        call = OpenCall(
            payee=mine.recipient,
            token=mine.token,
            deposit_units=deposit_units,
            salt=to_hex((yield from random_bytes(32))),
            authorized_signer=self.config.voucher_key.address,  # T15: a plain key, as the chain demands
            operator=mine.operator,  # TSES-037
        )
        funding = yield from self._funding(challenge, mine)
        tx, ref = open_transaction(mine.escrow, call, funding)
        yield from self._require_funds(tx, mine.asset, deposit_units)
        raw = hand_over(self.config.wallet, sign_as_account(self.config.wallet, tx))
        voucher = scheme_of(ref.escrow).sign(self.config.voucher_key, ref.id, first_units)
        payload = OpenPayload(ref, raw, first_units, voucher, call.authorized_signer).members()
        at_s = yield from now()
        held = replace(
            record_opened(ref, self.account, call).held(deposit_units),
            signed_units=first_units,
            voucher=voucher,
            opening=canonical(payload),
            reference=_reference(tx, raw, ref.id),
            dead_after_s=float(funding.valid_before),
            opened_at_s=at_s,
            used_at_s=at_s,
        )
        return Move(held, payload, self.source(), held.reference, float(funding.valid_before))

    def top_up(self, challenge: Challenge, held: Held, additional_units: int) -> Flow[Move]:
        """Sign an addition to the deposit; nothing is sent. `move.held` is `held`: its deposit grows when it is there.

        Raises NoPayableOffer, ChainError; UsageError beyond the protocol's width.
        """
        terms, recorded = self.terms(challenge), self._recorded(held)
        if not self.fits(held, terms):
            raise NoPayableOffer("tempo: the channel does not pay what this challenge asks")
        if additional_units <= 0 or held.deposit_units + additional_units > terms.version.max_units:
            raise UsageError("a top-up adds something, and no more than this session protocol can hold")
        funding = yield from self._funding(challenge, terms)
        funding = replace(funding, valid_after=(yield from _some_time_ago(funding.valid_before)))
        tx = top_up_transaction(recorded.ref, terms.token, additional_units, funding)
        yield from self._require_funds(tx, terms.asset, additional_units)
        raw = hand_over(self.config.wallet, sign_as_account(self.config.wallet, tx))
        payload = TopUpPayload(recorded.ref, raw, additional_units).members()
        reference = _reference(tx, raw, recorded.ref.id)
        return Move(held, payload, self.source(), reference, float(funding.valid_before))

    def _funding(self, challenge: Challenge, terms: SessionTerms) -> Flow[Funding]:
        head = yield from latest_block(self.config.wallet.rpc_url)
        before_s = valid_before(challenge.expires, head, (yield from now()))
        return (yield from self._paid(terms.asset, before_s, sponsored=terms.sponsored))

    def _paid(self, asset: Asset, before_s: int, *, sponsored: bool = False) -> Flow[Funding]:
        wallet = self.config.wallet
        return Funding(
            account=wallet.account,
            max_fee_per_gas=(yield from max_fee_per_gas(wallet)),
            valid_before=before_s,
            fee_token=None if sponsored else self._fee_token(asset),
            sponsored=sponsored,
            key_authorization=(yield from needed_key_authorization(wallet)),
        )

    def _fee_token(self, asset: Asset) -> str:
        """The owner's choice, else the channel's own token where fees can be paid in it (TSES-048)."""
        return self.config.wallet.fee_token or (asset.id if asset.peg == "USD" else PATH_USD)

    def _require_funds(self, tx: TempoTransaction, asset: Asset, units: int) -> Flow[None]:
        """TSES-053: not to sign what can't be paid."""
        wallet, fee = self.config.wallet, 0 if tx.sponsored else fee_units(tx.max_fee)
        together = tx.fee_token == asset.id
        yield from require_balance(wallet, asset, units, fee if together else 0)
        if fee and not together:
            yield from require_balance(wallet, wallet.asset(wallet.chain_id, str(tx.fee_token)), 0, fee)

    # --- vouchers --------------------------------------------------------------------------------------

    def sign(self, held: Held, total_units: int) -> bytes:
        """65 bytes that let the payee take `total_units` in all. Raises UsageError: not our key, or too much."""
        recorded = self._recorded(held)
        key = self.config.key_of(recorded.terms.signer)
        if key is None:  # T15
            raise UsageError(f"the channel's vouchers are signed by {recorded.terms.signer}, which is no key of ours")
        if type(total_units) is not int:  # T20
            raise UsageError("an amount in base units is an int")
        return scheme_of(recorded.ref.escrow).sign(key, held.channel_id, total_units)

    def payload(self, held: Held, act: Act, total_units: int, voucher: bytes) -> Mapping[str, Any]:
        """What presents a signed voucher, to buy (VOUCHER) or to close (CLOSE). Raises UsageError for other acts."""
        ref = self._recorded(held).ref
        if act is Act.VOUCHER:
            return VoucherPayload(ref, total_units, voucher).members()
        if act is Act.CLOSE:
            return ClosePayload(ref, total_units, voucher).members()
        raise UsageError("a voucher buys or closes; what moves money into a channel is signed by open and top_up")

    # --- what a server says ------------------------------------------------------------------------------

    def hint(
        self, challenge: Challenge, terms: acts.Terms, fields: Mapping[str, str], held: Held | None
    ) -> Held | None:
        """The channel that a server suggests, with what it proves, if it can be believed; see suggestion.py.

        It may be another one than `held`. A v1 channel, or an id without a snapshot, is believed only if it is `held`.
        Raises NoPayableOffer.
        """
        mine = self._judged(challenge, terms)
        snapshot = told_snapshot(mine, fields)
        if snapshot is None:
            known = held is not None and names(mine, fields, held.channel_id) and self.fits(held, mine)
            return held if known else None
        same = held if held is not None and held.channel_id == snapshot.channel_id else None
        return believed(snapshot, mine, self.account, self.config.signers, same)  # F04 F05

    def balance(self, receipt: Receipt) -> Balance:
        """What a receipt says of a channel. Raises MalformedHeader."""
        told = read_session_receipt(receipt)
        return Balance(told.channel_id, told.accepted_units, told.spent_units, units=told.units)

    def needed(self, told: Mapping[str, Any]) -> Balance:
        """What a stream that ran dry asks for. Raises MalformedHeader."""
        return read_need_voucher(told, read_word, partial(read_units, most=V1.max_units)).balance()

    # --- what the chain says -----------------------------------------------------------------------------

    def look(self, held: Held) -> Flow[OnChain]:
        """The channel as the chain has it, also where the chain has forgotten it. Raises ChainError."""
        return (yield from look_up(self.config.wallet.rpc_url, held, self._recorded(held)))

    def find(self, since_s: float) -> Flow[Sequence[Held]]:
        """Channels of this account that were opened since then, closed ones too. Raises ChainError. F04

        What was signed on them is not known: `signed_units` is what was settled.
        """
        wallet = self.config.wallet
        return (yield from find_channels(wallet.rpc_url, self.config.all_escrows(), wallet.account, since_s))

    # --- without the server's help -------------------------------------------------------------------------

    def request_close(self, held: Held) -> Flow[Sendable]:
        """Sign the request to close. Nothing is sent. Raises NoPayableOffer, ChainError."""
        found = yield from self._there(held)
        return (yield from self._leave(RequestCloseCall(found.channel), found))

    def withdraw(self, held: Held) -> Flow[Sendable]:
        """Sign the withdrawal of the rest. Nothing is sent.

        Raises NoPayableOffer while the payee may still settle, ChainError.
        """
        found = yield from self._there(held)
        head = yield from latest_block(self.config.wallet.rpc_url)
        require_withdrawable(found.state, chain_time_s(head, (yield from now())))
        return (yield from self._leave(WithdrawCall(found.channel), found))

    def _there(self, held: Held) -> Flow[ChainChannel]:
        try:
            found = yield from read_channel(self.config.wallet.rpc_url, self._recorded(held).ref)
        except ChannelNotFound:
            raise NoPayableOffer("tempo: the chain knows no such channel; it was closed, or never opened") from None
        require_there(found.state)
        return found

    def _leave(self, call: RequestCloseCall | WithdrawCall, found: ChainChannel) -> Flow[Sendable]:
        wallet = self.config.wallet
        asset = wallet.asset(wallet.chain_id, found.token)
        head = yield from latest_block(wallet.rpc_url)
        before_s = chain_time_s(head, (yield from now())) + VALID_S
        funding = yield from self._paid(asset, before_s)
        funding = replace(funding, valid_after=(yield from _some_time_ago(before_s)))
        tx = exit_transaction(call, funding)
        yield from self._require_funds(tx, asset, 0)
        raw = serialise(sign_as_account(wallet, tx))
        return Sendable(transaction_hash(raw), raw, float(before_s))

    def send(self, raw: bytes) -> Flow[None]:
        """Broadcast what was signed, and wait until the chain shows it; a second time does no harm.

        Raises RpcRefused if it can't happen or was reverted, RpcUnreachable if that is not known: then look.
        """
        receipt = yield from send_raw_sync(self.config.wallet.rpc_url, raw)
        if not receipt.succeeded:
            reference = receipt.transaction_hash
            raise RpcRefused(f"the transaction {reference} was reverted; only its fee was spent", code=REVERTED)


def _asked(terms: SessionTerms) -> SessionTerms:
    """The terms without what a server only suggests."""
    return replace(terms, channel_id=None, snapshot=None, suggested_deposit_units=None)


def _reference(tx: TempoTransaction, raw: bytes, channel_id: str) -> str:
    """What to look up: the hash, or where a sponsor decides about that, the channel."""
    return f"channel:{channel_id}" if tx.sponsored else transaction_hash(raw)


def _some_time_ago(before_s: int) -> Flow[int]:
    """A random second of the past: entropy that keeps two equal transactions apart."""
    draw = int.from_bytes((yield from random_bytes(8)), "big")
    return 1 + draw % (before_s - 2 * VALID_S)
