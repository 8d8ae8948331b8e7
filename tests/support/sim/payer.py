"""A client written by hand: careful, patient, honest, and killed now and then. Its paper survives it.

It buys one thing after the other. A request has one key and one voucher for its whole life: whatever happens, the same
is presented again, until the goods are there or the channel is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from coinslot.core.challenge import Challenge, parse_challenges
from coinslot.core.credential import encode_credential
from coinslot.drive import Flow, now, send, sleep
from coinslot.errors import CoinslotError
from coinslot.intents.acts import Act, Held
from coinslot.method import SessionPayer
from coinslot.server.answer import Answer
from coinslot.server.request import Incoming
from support.sim.engine import Broken, Process, Sim
from support.sim.net import Line, NoAnswer, NotSent
from support.sim.shop import PRICE_UNITS

# How much goes into a channel at once, and how often it may grow.
DEPOSIT_UNITS = 8 * PRICE_UNITS
TOP_UP_UNITS = 4 * PRICE_UNITS
# A request that was tried so often, in a world that has recovered, is stuck. I8
TRIES = 400


@dataclass(frozen=True)
class Move:
    """A signed opening or top-up, to be presented word for word where its challenge is from, until its end is known."""

    path: str
    challenge: Challenge
    payload: Mapping[str, Any]
    source: str
    dead_after_s: float

    def credential(self) -> str:
        """As it travels."""
        return encode_credential(self.challenge, self.payload, self.source)


@dataclass
class Wish:
    """One thing to buy. `total_units` is what its voucher says, once it was signed; `units` of a stream, 0: an item."""

    key: str
    units: int
    total_units: int | None = None
    granted_units: int = 0  # what it may cost at most: authorized for it and not known to be unspent
    body: bytes | None = None
    lost: bool = False  # its channel went away under it


@dataclass
class Paper:
    """What a payer has written down: survives crashes, written before anything is sent."""

    held: Held | None = None
    opening: Move | None = None
    topping: Move | None = None
    wishes: list[Wish] = field(default_factory=list)
    at: int = 0
    closing: bool = False
    done: bool = False
    authorized: dict[str, int] = field(default_factory=dict)  # the most ever signed, per channel


class Payer:
    """A client process with one wallet."""

    def __init__(self, sim: Sim, name: str, payer: SessionPayer, wishes: list[Wish], leaves: str) -> None:
        self.sim, self.payer, self.leaves = sim, payer, leaves
        self.keyed = sim.rng.random() < 0.6  # without a key what is lost is lost, and bought again
        self.paper = Paper(wishes=wishes)
        self.process = Process(name)
        self._challenges: dict[str, Challenge] = {}
        self.tries = 0
        self._begin()

    def _begin(self) -> None:
        self.process.alive = True
        self._challenges = {}
        self.process.on_crash.append(lambda: self.sim.after(4 * self.sim.rng.random(), self._begin))
        if not self.paper.done:
            self.sim.start(self.process, self._life(), self._ended, f"{self.process.name} buys")

    def _ended(self, result: object, error: BaseException | None) -> None:
        if error is not None:
            raise error

    def _life(self) -> Flow[None]:
        paper = self.paper
        while paper.at < len(paper.wishes):
            wish = paper.wishes[paper.at]
            yield from sleep(self.sim.rng.random())
            yield from self._get(wish)
            paper.at += 1
        if self.leaves == "close" and paper.held is not None:
            yield from self._close()
        elif self.leaves == "request" and paper.held is not None:
            yield from self._request_close()
        paper.done = True

    @property
    def done(self) -> bool:
        """Whether it has what it wished for."""
        return self.paper.done

    @property
    def wishes(self) -> list[Wish]:
        """What it wished for."""
        return self.paper.wishes

    # --- one wish

    def _get(self, wish: Wish) -> Flow[None]:
        for _ in range(TRIES):
            self.tries += 1
            if (yield from self._try(wish)):
                return
        raise Broken(f"I8: {self.process.name} can't buy {wish.key}, ever: {self.paper.held}")

    def _try(self, wish: Wish) -> Flow[bool]:
        path = "/stream" if wish.units else "/item"
        challenge = self._challenges.get(path)
        if challenge is None:
            yield from self._ask(path, wish)
            return False
        opening, topping = self.paper.opening, self.paper.topping
        if opening is not None and opening.path != path:
            yield from self._present(wish, opening, self._opened)
            return False
        if topping is not None:
            yield from self._present(wish, topping, self._topped)
            return False
        credential = yield from self._credential(path, wish, challenge)
        if credential is None:
            return False
        request = self._request("GET", path, wish, credential)
        answer = yield from self._send(Line(request, self._listen(path)))
        if answer is None:
            return wish.units > 0 and self.paper.opening is None  # what came of a stream, came
        return (yield from self._read(path, wish, answer))

    def _credential(self, path: str, wish: Wish, challenge: Challenge) -> Flow[str | None]:
        paper = self.paper
        if paper.held is None:
            terms = self.payer.terms(challenge)
            first = PRICE_UNITS
            try:
                move = yield from self.payer.open(challenge, terms, DEPOSIT_UNITS, first)
            except CoinslotError:
                yield from sleep(0.5)
                return None
            paper.held, paper.opening = move.held, Move(path, challenge, move.payload, move.source, move.dead_after_s)
            wish.total_units = first
            self._authorize(wish, first)
        if paper.opening is not None:
            return paper.opening.credential()
        held = paper.held
        if wish.total_units is None:
            total = held.signed_units + PRICE_UNITS
            if total > held.deposit_units:
                try:
                    top = yield from self.payer.top_up(challenge, held, TOP_UP_UNITS)
                except CoinslotError:
                    yield from sleep(0.5)
                    return None
                paper.topping = Move(path, challenge, top.payload, top.source, top.dead_after_s)
                return None
            self._sign(wish, total)
        assert wish.total_units is not None
        voucher = self.payer.sign(held, wish.total_units)
        payload = self.payer.payload(held, Act.VOUCHER, wish.total_units, voucher)
        return encode_credential(challenge, payload, self.payer.source())

    def _sign(self, wish: Wish, total_units: int) -> None:
        held = self.paper.held
        assert held is not None
        self._authorize(wish, total_units - held.signed_units)
        wish.total_units = total_units
        self.paper.held = replace(held, signed_units=total_units, voucher=self.payer.sign(held, total_units))

    def _authorize(self, wish: Wish, units: int) -> None:
        """Written down before it leaves: what is signed is for something that was wished for. I2"""
        held = self.paper.held
        assert held is not None
        wish.granted_units += units
        self.paper.authorized[held.key] = self.paper.authorized.get(held.key, 0) + units

    # --- answers

    def _read(self, path: str, wish: Wish, answer: Answer) -> Flow[bool]:
        self.sim.tell(self.process.name, wish.key, answer.status, _slug(answer))
        if answer.status == 200 and answer.body:
            wish.body = answer.body
            self._opened()
            return True
        if answer.status == 200 and wish.units and wish.granted_units:
            wish.body = b""
            return True
        if answer.status in (200, 204):  # the opening was done before, or the voucher is known and bought nothing
            if self.paper.opening is None:
                self._higher(wish, answer)
            self._opened()
            return False
        if answer.status == 402:
            yield from self._again(path, wish, answer)
            return False
        if answer.status == 410 and _slug(answer) == "channel-finalized":
            self._gone(wish)
            return False
        yield from sleep(0.3 if answer.status != 410 else 1.0)
        return False

    def _opened(self) -> None:
        self.paper.opening = None

    def _higher(self, wish: Wish, answer: Answer) -> None:
        """What was signed is known and free on the channel, and bought nothing: the least that buys is one more."""
        held = self.paper.held
        assert held is not None
        total = held.signed_units + PRICE_UNITS
        if total <= held.deposit_units:
            self._sign(wish, total)
        else:
            wish.total_units = None

    def _again(self, path: str, wish: Wish, answer: Answer) -> Flow[None]:
        challenges, _ = parse_challenges([value for name, value in answer.headers if name == "www-authenticate"])
        offered = [one for one in challenges if one.intent == "session"]
        if offered:
            self._challenges[path] = offered[0]
        slug = _slug(answer)
        if self.paper.opening is not None:
            yield from self._reopen(path, wish)
        elif slug in {"insufficient-balance", "delta-too-small"}:
            self._higher(wish, answer)
        else:
            yield from sleep(0.2)

    def _reopen(self, path: str, wish: Wish) -> Flow[None]:
        """The opening was refused. If it can never happen any more, another channel; else the same, asked anew."""
        held, opening = self.paper.held, self.paper.opening
        assert held is not None
        assert opening is not None
        yield from sleep(0.5)
        try:
            state = yield from self.payer.look(held)
        except CoinslotError:
            return
        if not state.exists and (yield from now()) > (held.dead_after_s or 0) + 10:
            self.paper.held = self.paper.opening = None
            wish.total_units = None
            wish.granted_units = 0
        elif path == opening.path and path in self._challenges:
            self.paper.opening = replace(opening, challenge=self._challenges[path])
            yield from sleep(self._patience())

    def _patience(self) -> float:
        """Between two looks at a transaction that was refused and may still happen: longer each time."""
        return min(30.0, 0.5 + self.tries / 10)

    def _gone(self, wish: Wish) -> None:
        """The channel was closed: what was authorized on it for this wish may have been taken without goods."""
        wish.lost = True
        self.paper.held = self.paper.opening = self.paper.topping = None
        wish.total_units = None

    # --- moving money, and talking

    def _present(self, wish: Wish, move: Move, done: Callable[[], None]) -> Flow[None]:
        request = self._request("HEAD", move.path, None, move.credential())
        answer = yield from self._send(Line(request))
        if answer is None:
            return
        self.sim.tell(self.process.name, "presents", answer.status, _slug(answer))
        if answer.status in (200, 204):
            done()
        elif answer.status == 410:
            self._gone(wish)
        elif answer.status == 402:
            yield from self._again(move.path, wish, answer)
            if self.paper.topping is not None:
                yield from self._look_after()
        else:
            yield from sleep(0.3)

    def _topped(self) -> None:
        held = self.paper.held
        assert held is not None
        self.paper.held = replace(held, deposit_units=held.deposit_units + TOP_UP_UNITS)
        self.paper.topping = None

    def _look_after(self) -> Flow[None]:
        """A refused top-up is made anew, unless the bank shows that it happened, or it may still happen."""
        held = self.paper.held
        assert held is not None
        try:
            state = yield from self.payer.look(held)
        except CoinslotError:
            return
        topping = self.paper.topping
        assert topping is not None
        happened = state.exists and state.deposit_units > held.deposit_units
        if not happened and (yield from now()) > topping.dead_after_s + 10:
            self.paper.topping = None
        elif topping.path in self._challenges:
            self.paper.topping = replace(topping, challenge=self._challenges[topping.path])
            yield from sleep(self._patience())

    def _ask(self, path: str, wish: Wish) -> Flow[None]:
        answer = yield from self._send(Line(self._request("GET", path, wish, None)))
        if answer is not None and answer.status == 402:
            challenges, _ = parse_challenges([value for name, value in answer.headers if name == "www-authenticate"])
            self._challenges[path] = challenges[0]
        elif answer is not None:
            yield from sleep(0.3)

    def _request(self, method: str, path: str, wish: Wish | None, credential: str | None) -> Incoming:
        headers: dict[str, tuple[str, ...]] = {}
        if wish is not None and self.keyed:
            headers["idempotency-key"] = (wish.key,)
        if credential is not None:
            headers["authorization"] = (credential,)
        query = f"n={wish.units}" if wish is not None and path == "/stream" else ""
        return Incoming(method, path, query, headers, manages=method in {"HEAD", "POST"})

    def _send(self, line: Line) -> Flow[Answer | None]:
        try:
            answer: Answer = yield from send(line)
        except (NoAnswer, NotSent):
            yield from sleep(0.2)
            return None
        return answer

    def _listen(self, path: str) -> Callable[[Line, Any], None]:
        """A stream that runs dry is helped, while there is something to help with."""

        def hear(line: Line, told: Any) -> None:
            kind, what = told
            if kind == "need" and line.open and self.paper.at < len(self.paper.wishes):
                wish = self.paper.wishes[self.paper.at]
                flow = self._help(path, wish, int(what["requiredCumulative"]))
                self.sim.start(self.process, flow, self._ended, f"{self.process.name} helps")

        return hear

    def _help(self, path: str, wish: Wish, required_units: int) -> Flow[None]:
        held = self.paper.held
        challenge = self._challenges.get(path)
        if held is None or challenge is None or self.paper.at >= len(self.paper.wishes):
            return
        rest = wish.units * PRICE_UNITS - wish.granted_units
        total = min(required_units, held.signed_units + max(0, rest), held.deposit_units)
        if total <= held.signed_units:
            return
        self._sign(wish, total)
        voucher = self.payer.sign(held, total)
        payload = self.payer.payload(held, Act.VOUCHER, total, voucher)
        request = self._request("HEAD", path, None, encode_credential(challenge, payload, self.payer.source()))
        for _ in range(3):
            if (yield from self._send(Line(request))) is not None:
                return

    # --- leaving

    def _close(self) -> Flow[None]:
        for _ in range(TRIES):
            held = self.paper.held
            if held is None:
                return
            if "/item" not in self._challenges:
                yield from self._ask("/item", self.paper.wishes[-1])
                continue
            payload = self.payer.payload(held, Act.CLOSE, held.signed_units, held.voucher)
            credential = encode_credential(self._challenges["/item"], payload, self.payer.source())
            answer = yield from self._send(Line(self._request("POST", "/item", None, credential)))
            if answer is None:
                continue
            self.sim.tell(self.process.name, "close", answer.status, _slug(answer))
            if answer.status in (200, 204, 410):
                return
            if answer.status == 402:
                self._challenges.pop("/item")
            yield from sleep(0.5)
        raise Broken(f"I8: {self.process.name} can't close, ever")

    def _request_close(self) -> Flow[None]:
        held = self.paper.held
        assert held is not None
        for _ in range(20):
            try:
                sendable = yield from self.payer.request_close(held)
                yield from self.payer.send(sendable.raw)
            except CoinslotError:
                yield from sleep(1.0)
            else:
                return


def _slug(answer: Answer) -> str:
    if answer.status < 400 or not answer.body.startswith(b"{"):
        return ""
    return str(msgspec.json.decode(answer.body).get("type", "")).rpartition("/")[2]
