"""A gate that sells from channels of the channel program on a local chain, and a client whose every byte is made here.

    till = SolanaTill(svm)                       # operator=True, sponsored=False, splits=(...), metering=..., **config
    buyer = till.buyer(deposit=10_000)           # its channel is open
    till.serve(buyer.pay(1_000))                 # a credential: "you may take 1000 in all", or the proof of who pays
    till.serve(buyer.close())

A request costs COST base units. What the client sends is built from the bytes of the channel program, not by the payer
of the method, so that a mistake that both sides make alike does not hide.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from solders.keypair import Keypair

from coinslot.chains.solana.budget import build_unit_limit
from coinslot.chains.solana.instruction import Instruction
from coinslot.chains.solana.message import build_message, sign_partially
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.core.challenge import Challenge, KeyRing
from coinslot.core.credential import encode_credential
from coinslot.core.receipt import Receipt, decode_receipt
from coinslot.devnet.channels.solana.program import PROGRAM_ID, TREASURY_OWNER
from coinslot.drive import run
from coinslot.intents import session
from coinslot.intents.charge import DailyLimits
from coinslot.method import Extras
from coinslot.methods.solana.session.bearer import sign_bearer
from coinslot.methods.solana.session.channel import ChannelAccount, Seeds, derive_channel, read_channel_account
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.payout import Till
from coinslot.methods.solana.session.program import (
    Open,
    RequestClose,
    TopUp,
    build_open,
    build_request_close,
    build_top_up,
)
from coinslot.methods.solana.session.record import channel_key
from coinslot.methods.solana.session.seller import SessionConfig, SolanaSessionSeller
from coinslot.methods.solana.session.sponsoring import Sponsoring
from coinslot.methods.solana.session.voucher import SignedVoucher, sign_voucher
from coinslot.methods.solana.sponsor import Sponsor
from coinslot.money import Asset
from coinslot.server.admission import Admission, SessionAdmission
from coinslot.server.answer import Answer
from coinslot.server.delivery import Delivering
from coinslot.server.events import Event
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.price import Metering, Price
from coinslot.server.request import Incoming
from coinslot.server.settler import Policy, Report, settle_round, watch_round
from coinslot.store.channels import SessionStore
from coinslot.store.memory import MemoryStore
from support.svm import SvmChain
from support.till import REALM, SECRET, SetWorld, asking, first, offered

COST = 1_000
PRICE = "0.001"
DEPOSIT = 10_000
PURSE = 5_000_000
GRACE_S = 900
WORDS = Incoming("GET", "/paid/words", "page=1")
HEAD = replace(WORDS, method="HEAD")
USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
PYUSD = "2b1kV6DkPAnxd5ixfnxCpjxmKwqjjaYmCZfHsFu24GXo"
RENT_LAMPORTS = 5_000_000


def key_of(pair: Keypair) -> Key:
    """The same key as the product holds it."""
    return Key(bytes(pair.secret()))


def sponsor(key: Key, max_fee_lamports: int = 50_000, payer_daily_lamports: int = 10**9) -> Sponsoring:
    """A sponsor with room for a hundred channels."""
    daily = DailyLimits(payer_daily_lamports, 10**10)
    return Sponsoring(Sponsor(key, 200_000, max_fee_lamports, 2_100_000, daily), RENT_LAMPORTS)


class SolanaTill:
    """One gate, one price that channels pay, a chain, and what a settler does."""

    def __init__(
        self,
        svm: SvmChain,
        store: SessionStore | None = None,
        *,
        metering: Metering | None = None,
        operator: bool = False,
        sponsored: bool = True,
        mint: str = USDC,
        seed: str = "",
        **config: Any,
    ) -> None:
        self.svm = svm
        self.world = SetWorld()
        self.world.at_s = time.time()
        self.store: SessionStore = store if store is not None else MemoryStore(clock=self.world.now)
        self.payee, self.payer = _key(svm, "payee", seed), _key(svm, "fees", seed)
        self.operator = _key(svm, "operator", seed) if operator else None
        self.mint, self.token_program = mint, TOKEN_2022_PROGRAM if mint == PYUSD else TOKEN_PROGRAM
        genesis = str(svm.rpc("getGenesisHash"))
        given: dict[str, Any] = {
            "rpc_url": svm.rpc_url,
            "cluster": "localnet",
            "program": PROGRAM_ID,
            "asset": Asset(f"solana:{genesis[:32]}", mint, 6, "USDC", "USD"),
            "token_program": self.token_program,
            "recipient": self.payee.address,
            "till": Till(self.payee, self.payer, TREASURY_OWNER, 0),
            "grace_s": GRACE_S,
            "idle_s": 3_600,
            "sponsoring": sponsor(self.payer) if sponsored else None,
            "operator": self.operator,
        }
        self.seller = SolanaSessionSeller(SessionConfig(**(given | config)))
        self.events: list[Event] = []
        self.gate = Gate(Issuer(REALM, KeyRing((SECRET,))), self.store, 5.0, self.events.append)
        self.price = Price(PRICE, (self.seller,), Extras(), metering=metering)
        self.runs = 0
        self.watch()

    def close(self) -> None:
        """Let go of connections."""
        self.world.close()
        self.store.close()

    def watch(self) -> None:
        """What a watcher does: it has just looked at every channel."""
        self.store.note_watched(self.seller.network).result()

    def look(self) -> Report:
        """A watcher's round: the records follow the chain, and nothing is sent."""
        return run(watch_round(self.store, (self.seller,)), self.world)

    def settle(self, policy: Policy | None = None, turn: int = 1) -> Report:
        """One round of a settler."""
        return run(settle_round(self.store, (self.seller,), policy or Policy(), None, turn), self.world)

    # --- what a door does

    def present(self, credential: str | None, request: Incoming = WORDS, **headers: str) -> Answer | Admission:
        """What the gate says."""
        return run(self.gate.admit(asking(request, credential, **headers), self.price), self.world)

    def answer(self, credential: str | None, request: Incoming = WORDS, **headers: str) -> Answer:
        """What the gate answers by itself."""
        got = self.present(credential, request, **headers)
        assert isinstance(got, Answer), got
        return got

    def admitted(self, credential: str, request: Incoming = WORDS, **headers: str) -> SessionAdmission:
        """The admission under which a handler would run now."""
        got = self.present(credential, request, **headers)
        assert isinstance(got, SessionAdmission), got
        return got

    def serve(self, credential: str | None, request: Incoming = WORDS, **headers: Any) -> Answer:
        """The gate's answer, or that of a handler that ran."""
        got = self.present(credential, request, **headers)
        if isinstance(got, Answer):
            return got
        self.runs += 1
        watching = Delivering(got.receipt, got.headers)
        told = watching.begin(200, [("content-type", "text/plain")])
        watching.add(b"words")
        delivery = watching.finish()
        assert delivery is not None
        run(self.gate.delivered(got, delivery), self.world)
        return Answer(200, told, b"words")

    # --- what a client does

    def challenge(self, request: Incoming = WORDS) -> Challenge:
        """The offer of a 402."""
        answer = self.answer(None, request)
        assert answer.status == 402, (answer.status, answer.body)
        return next(one for one in offered(answer) if one.intent == session.INTENT)

    def client(self, challenge: Challenge | None = None, *, units: int = PURSE, **changes: Any) -> Buyer:
        """A client that is about to open a channel, with a token account and no SOL of its own where we sponsor it."""
        symbol = {USDC: "USDC", PYUSD: "PYUSD"}[self.mint]
        lamports = 0 if self.seller.config.sponsoring is not None else 10**9
        pair = self.svm.keypair(lamports=lamports, **{symbol: units})
        return Buyer(self, key_of(pair), challenge or self.challenge(), **changes)

    def buyer(self, deposit: int = DEPOSIT, **changes: Any) -> Buyer:
        """A client whose channel is open."""
        buyer = self.client(deposit=deposit, **changes)
        answer = self.answer(buyer.open())
        assert answer.status == 200, (answer.status, answer.body)
        return buyer


@pytest.fixture
def solana_till(svm: SvmChain) -> Iterator[Callable[..., SolanaTill]]:
    """Makes tills on a chain of the test's own."""
    made: list[SolanaTill] = []

    def make(**given: Any) -> SolanaTill:
        made.append(SolanaTill(svm, **given))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _key(svm: SvmChain, name: str, seed: str) -> Key:
    """A key with some SOL: the same for the same seed, a new one for none."""
    if not seed:
        return key_of(svm.keypair())
    key = Key(hashlib.sha256(f"{seed}/{name}".encode()).digest())
    svm.fund(key.address, 10**9, "SOL")
    return key


@dataclass
class Buyer:
    """A client with one channel. It echoes `challenge` until it is given another."""

    till: SolanaTill
    key: Key
    challenge: Challenge
    deposit: int = DEPOSIT
    salt: int = field(default_factory=lambda: int.from_bytes(Keypair().secret()[:8], "little"))
    signer: Key | None = None  # of vouchers, where it is a delegated one
    back_dated: int = 0
    idle: int | None = None
    total: int = 0

    @property
    def request(self) -> dict[str, Any]:
        """What the challenge asks."""
        return dict(self.challenge.request_object())

    @property
    def details(self) -> dict[str, Any]:
        """Its method details."""
        return dict(self.request["methodDetails"])

    def __post_init__(self) -> None:
        """The channel that this client opens is decided by its challenge."""
        self._opened_under = self.challenge
        self._seeds: Seeds | None = None

    @property
    def seeds(self) -> Seeds:
        """The parts of the channel's address."""
        if self._seeds is None:
            details = self._opened_under.request_object()["methodDetails"]
            voucher_key = self.signer or self.key
            self._seeds = Seeds(
                self.key.address,
                self.till.payee.address,
                self.till.mint,
                details.get("operator", voucher_key.address),
                self.salt,
                int(details["recentSlot"]) - self.back_dated,
            )
        return self._seeds

    @property
    def channel(self) -> str:
        """The channel's address."""
        return derive_channel(PROGRAM_ID, self.seeds)

    @property
    def store_key(self) -> str:
        """The channel's name in the store."""
        return channel_key(self.till.seller.network, self.channel)

    @property
    def fee_payer(self) -> str:
        """Who pays for opening."""
        return str(self._opened_under.request_object()["methodDetails"].get("feePayerKey") or self.key.address)

    @property
    def call(self) -> Open:
        """What opens the channel."""
        splits = tuple(Split(one["recipient"], one["shareBps"]) for one in self.details.get("distributionSplits", ()))
        grace = int(self._opened_under.request_object()["methodDetails"]["gracePeriodSeconds"])
        return Open(self.seeds, self.till.token_program, self.fee_payer, self.deposit, grace, splits)

    def signed(self, *instructions: Instruction, blockhash: str | None = None, payer: str | None = None) -> bytes:
        """A transaction of these instructions, signed by this client only."""
        recent = blockhash or self.details.get("recentBlockhash") or self.till.svm.blockhash()
        return sign_partially(build_message(payer or self.fee_payer, instructions, recent), (self.key,))

    def open_payload(self, call: Open | None = None, raw: bytes | None = None, **members: Any) -> dict[str, Any]:
        """The payload of an opening, with one thing changed where a test says so; None leaves a member out."""
        call = call or self.call
        raw = raw or self.signed(build_unit_limit(200_000), build_open(PROGRAM_ID, call))
        payload: dict[str, Any] = {
            "action": "open",
            "channelId": self.channel,
            "payer": self.key.address,
            "payee": self.seeds.payee,
            "mint": self.seeds.mint,
            "authorizedSigner": self.seeds.authorized_signer,
            "salt": str(self.seeds.salt),
            "depositAmount": str(call.deposit_units),
            "gracePeriodSeconds": call.grace_s,
            "openSlot": str(self.seeds.open_slot),
            "distributionSplits": [{"recipient": one.recipient, "shareBps": one.share_bps} for one in call.splits],
            "idleTimeoutSeconds": self.idle,
            "authentication": self.authentication if "operator" in self.details else None,
            "transaction": base64.b64encode(raw).decode(),
        }
        if not call.splits:
            del payload["distributionSplits"]
        return {name: value for name, value in {**payload, **members}.items() if value is not None}

    @property
    def authentication(self) -> Mapping[str, object]:
        """The proof of who pays."""
        return sign_bearer(self.key, self.channel, self._opened_under.id).members()

    def credential(self, payload: Mapping[str, Any], challenge: Challenge | None = None) -> str:
        """The header value that presents a payload."""
        return encode_credential(challenge or self.challenge, payload, None)

    def open(self, **changes: Any) -> str:
        """A credential that opens the channel."""
        return self.credential(self.open_payload(**changes))

    def voucher(self, total: int, **fields: Any) -> SignedVoucher:
        """A signed total."""
        signed = sign_voucher(self.signer or self.key, self.channel, total, fields.pop("expires_at", 0))
        return replace(signed, **fields)

    def voucher_payload(self, total: int, **fields: Any) -> dict[str, Any]:
        """As JSON."""
        return {"action": "voucher", "channelId": self.channel, "voucher": self.voucher(total, **fields).members()}

    def pay(self, total: int | None = None) -> str:
        """A credential that buys: a voucher of so much in all (a request's cost more, if nothing is said), or the proof
        of who pays."""
        self.total = self.total + COST if total is None else total
        if "operator" in self.details:
            return self.credential(
                {"action": "use", "channelId": self.channel, "authentication": self.authentication}, self._opened_under
            )
        return self.credential(self.voucher_payload(self.total))

    def close(self, total: int | None = None) -> str:
        """A credential that asks to close."""
        payload: dict[str, Any] = {"action": "close", "channelId": self.channel}
        if "operator" in self.details:
            return self.credential({**payload, "authentication": self.authentication})
        signed = self.voucher(self.total if total is None else total)
        return self.credential({**payload, "voucher": signed.members()})

    def top_up(self, units: int, **changes: Any) -> str:
        """A credential that adds to the deposit."""
        call = TopUp(self.channel, self.key.address, self.till.mint, self.till.token_program, units)
        raw = self.signed(build_top_up(PROGRAM_ID, replace(call, **changes)), blockhash=self.till.svm.blockhash())
        return self.credential(
            {
                "action": "topUp",
                "channelId": self.channel,
                "additionalAmount": str(units),
                "transaction": base64.b64encode(raw).decode(),
            }
        )

    def ask_to_close(self) -> None:
        """Ask the chain to close the channel, without the server."""
        call = build_request_close(PROGRAM_ID, RequestClose(self.channel, self.key.address))
        if not self.till.svm.balance(self.key.address, "SOL"):
            self.till.svm.fund(self.key.address, 10**8, "SOL")
        send(self.till.svm, self.signed(call, blockhash=self.till.svm.blockhash(), payer=self.key.address))

    @property
    def record(self) -> session.Channel:
        """The channel as the store has it."""
        found = self.till.store.find_channel(self.store_key).result()
        assert found is not None
        return found

    @property
    def sums(self) -> tuple[int, int, int]:
        """accepted, spent, settled."""
        found = self.record
        return found.accepted, found.spent, found.settled

    @property
    def on_chain(self) -> ChannelAccount | None:
        """The channel's account."""
        told: Any = self.till.svm.rpc("getAccountInfo", self.channel, {"encoding": "base64"})
        if told["value"] is None or not told["value"]["data"][0]:
            return None
        return read_channel_account(base64.b64decode(told["value"]["data"][0]))

    @property
    def purse(self) -> int:
        """What it holds."""
        return holding(self.till, self.key.address)


def holding(till: SolanaTill, address: str) -> int:
    """Base units of the till's token."""
    return till.svm.balance(address, till.mint)


def send(svm: SvmChain, raw: bytes) -> str:
    """A signed transaction, sent without the server; its signature."""
    return str(svm.rpc("sendTransaction", base64.b64encode(raw).decode(), {"encoding": "base64"}))


def receipt_of(answer: Answer) -> Receipt:
    """The receipt of an answer, which must have one."""
    value = first(answer, "payment-receipt")
    assert value is not None, (answer.status, answer.body)
    return decode_receipt(value)
