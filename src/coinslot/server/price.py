"""What a route costs, and the table of routes. Prices come from here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from coinslot.core.canonical import decode_object, encode_object
from coinslot.core.challenge import MAX_DESCRIPTION_CHARS
from coinslot.core.header import quote
from coinslot.drive import Flow, call
from coinslot.errors import ConfigError, MalformedHeader, UsageError
from coinslot.intents import acts
from coinslot.method import ChargeSeller, Extras, Seller, sells_charges, sells_sessions
from coinslot.money import parse_decimal
from coinslot.server.request import Incoming

Amount: TypeAlias = str | int | Decimal
Pricing: TypeAlias = Callable[[Incoming], Amount | Awaitable[Amount]]

NO_EXTRAS = Extras()
# Every challenge of a 402 is a header; more methods than this make the answer larger than proxies pass.
MAX_SELLERS = 8
# What a stream may deliver on one durable write, and what its client pays for at most that it did not get if the server
# dies: enough that the write costs a unit nothing.
WINDOW = 64
# How long a stream that ran dry waits for a voucher (TSES "Insufficient Balance During Streaming").
PATIENCE_DRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to pay: whom to ask, and what.

    `asked` is the request object, which nobody changes, and `request` the same as it will travel (base64url of JCS).
    `terms`: of a session.
    """

    seller: Seller
    asked: Mapping[str, Any]
    terms: acts.Terms | None = None
    request: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "request", encode_object(self.asked))

    @property
    def method(self) -> str:
        """The method's name."""
        return self.seller.method

    @property
    def intent(self) -> str:
        """The intent's name."""
        return self.seller.intent


@dataclass(frozen=True, slots=True)
class Metering:
    """How a price per unit is taken while its units are delivered.

    `unit` names them ("llm_token"). `window` of them are set aside durably at once, `least` must be covered before the
    first byte, and an answer that counted fewer than `minimum` costs that many. `patience_s`: how long a stream that
    ran dry waits for a voucher. `events`: every answer is a stream of events, so that on credit (docs/adr/0015) nothing
    need be covered first; else `least` is, since only events can say how they are paid afterwards.
    """

    unit: str = "unit"
    window: int = WINDOW
    least: int = 1
    minimum: int = 1
    patience_s: float = PATIENCE_DRY_S
    events: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.window or not 0 <= self.minimum <= self.least or self.patience_s < 0:
            raise UsageError("metering: 1 <= least <= window, 0 <= minimum <= least, patience_s 0 or more")


@dataclass(frozen=True, slots=True)
class Price:
    """What one call costs: decimal text in whole tokens ("0.01"), or a function of the request, run once a challenge.

    `sellers` are the ways to pay, liked best first: by charge, or from a session's channel. With `metering` the amount
    is that of one unit, and sessions are the only way. `deposit` (whole tokens) is suggested to clients that open a
    channel. `bind_body` binds a charge to the body's bytes; without it bodies of any size stream through, and whoever
    paid may send another body. `provers` let a client prove its account (a charge of zero), to be told of channels that
    it has here. Raises UsageError, for fixed prices at start-up.
    """

    amount: Amount | Pricing
    sellers: Sequence[Seller]
    extras: Extras = NO_EXTRAS
    bind_body: bool = True
    metering: Metering | None = None
    deposit: Decimal | None = None
    provers: Sequence[ChargeSeller] = ()
    proofs: tuple[Offer, ...] = field(init=False, repr=False, compare=False)
    _fixed: tuple[Offer, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.sellers) <= MAX_SELLERS:
            raise UsageError(f"a price needs one to {MAX_SELLERS} ways to be paid")
        if self.metering is not None and not all(sells_sessions(one) for one in self.sellers):
            raise UsageError("a metered price is paid from sessions only")
        _check_description(self.extras.description)
        fixed = () if callable(self.amount) else self._offers(parse_decimal(self.amount))
        object.__setattr__(self, "_fixed", fixed)
        object.__setattr__(self, "proofs", _proofs(self.provers) if self.by_session else ())

    @property
    def by_session(self) -> bool:
        """Whether a channel can pay this price."""
        return any(sells_sessions(one) for one in self.sellers)

    def _offers(self, price: Decimal) -> tuple[Offer, ...]:
        return tuple(self._offer(one, price) for one in self.sellers)

    def _offer(self, seller: Seller, price: Decimal) -> Offer:
        if sells_sessions(seller):
            request = seller.offer(price, self.extras, self._tariff())
            return Offer(seller, request, seller.terms(request))
        if sells_charges(seller):
            return Offer(seller, seller.offer(price, self.extras))
        raise UsageError("a seller of neither charges nor sessions")

    def _tariff(self) -> acts.Tariff:
        return acts.Tariff(self.metering.unit if self.metering else "request", self.deposit)

    @property
    def fixed(self) -> tuple[Offer, ...]:
        """The ways to pay, where they are the same for every request; else nothing."""
        return self._fixed

    def offers(self, request: Incoming) -> Flow[tuple[Offer, ...]]:
        """The ways to pay for this request. Raises what a pricing function raises, UsageError for what it returns."""
        if self._fixed or not callable(self.amount):
            return self._fixed
        amount = yield from call(self.amount, request)
        return self._offers(parse_decimal(amount))

    def fixed_requests(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(method, intent, request object) of each fixed offer, for discovery; empty where the price is computed."""
        return [(one.method, one.intent, decode_object(one.request)) for one in self._fixed]


def _proofs(provers: Sequence[ChargeSeller]) -> tuple[Offer, ...]:
    found = []
    for one in provers:
        with suppress(UsageError):  # a method without proofs
            found.append(Offer(one, one.offer(Decimal(0), NO_EXTRAS)))
    return tuple(found)


def _check_description(text: str | None) -> None:
    """It travels in a header: what could end that header is refused when the price is made. T40"""
    if text is None:
        return
    try:
        quote(text)
    except MalformedHeader as error:
        raise UsageError(f"description: {error}") from None
    if len(text) > MAX_DESCRIPTION_CHARS:
        raise UsageError(f"description: at most {MAX_DESCRIPTION_CHARS} characters")


# How clients speak of a channel without asking for content: HEAD, and POST without a body.
MANAGING = frozenset({"HEAD", "POST"})
_ROUTE = re.compile(r"(?:(?P<methods>[A-Za-z]+(?:,[A-Za-z]+)*|\*) +)?(?P<path>/[^\s?#]*)\Z", re.ASCII)
_STEP = re.compile(r"\*\*|\*|\{[A-Za-z_][A-Za-z0-9_]*\}")


def path_pattern(path: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """`*` and `{name}` match one segment, `**` any number, a last `/*` everything below.

    What stands behind a wildcard is looked for where it first comes, and not again: a later place would leave less for
    the rest. Only what ends the path may come before. So no path takes long, however many wildcards there are. T41
    """
    steps = list(_STEP.finditer(path))
    if not steps:
        return re.compile(re.escape(path) + r"\Z", re.DOTALL | flags)
    ends = [step.start() for step in steps[1:]] + [len(path)]
    many = [step.group() == "**" or (step.group() == "*" and step.end() == len(path)) for step in steps]
    text, closing = re.escape(path[: steps[0].start()]), ""
    for n, (step, end) in enumerate(zip(steps, ends, strict=True)):
        words = re.escape(path[step.end() : end])
        if many[n]:
            more = any(many[n + 1 :])
            text += closing + ("(?>.*?" if more else ".*") + words
            closing = ")" if more else ""
        else:
            text += f"[^/]+{words}" if end == len(path) else f"(?>[^/]+?{words})"
    return re.compile(text + r"\Z", re.DOTALL | flags)


def literal(path: str) -> int:
    """How many characters of a pattern stand for themselves: of two patterns, the narrower has more."""
    return len(_STEP.sub("", path))


@dataclass(frozen=True, slots=True)
class Route:
    """A pattern such as "GET /paid/*" and its price; None is free. No method means any; GET includes HEAD."""

    pattern: str
    price: Price | None
    summary: str = ""
    methods: frozenset[str] = field(init=False)
    path: str = field(init=False)
    _matcher: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        match = _ROUTE.match(self.pattern)
        if match is None:
            raise ConfigError(f"{self.pattern!r} is no route; write it like 'GET /paid/*' or '/v1/**'")
        named = (match["methods"] or "*").upper()
        methods = frozenset() if named == "*" else frozenset(named.split(","))
        object.__setattr__(self, "methods", methods | {"HEAD"} if "GET" in methods else methods)
        object.__setattr__(self, "path", match["path"])
        object.__setattr__(self, "_matcher", path_pattern(match["path"]))

    def matches(self, method: str, path: str) -> bool:
        """Whether a request falls under this route."""
        return (not self.methods or method in self.methods) and self.covers(path)

    def manages(self, method: str, path: str) -> bool:
        """Whether a request may be about the channel that pays this route, though it has no content for the method."""
        by_session = self.price is not None and self.price.by_session
        return by_session and method in MANAGING and self.covers(path)

    def covers(self, path: str) -> bool:
        """Whether a path falls under this route, whatever the method."""
        return self._matcher.match(path) is not None


@dataclass(frozen=True, slots=True)
class Routes:
    """Routes in order; the first that matches counts."""

    routes: tuple[Route, ...]

    @classmethod
    def of(cls, routes: Iterable[Route]) -> Routes:
        """A table. Raises ConfigError if a pattern stands twice."""
        table = tuple(routes)
        seen = [route.pattern for route in table]
        twice = sorted({pattern for pattern in seen if seen.count(pattern) > 1})
        if twice:
            raise ConfigError(f"route {twice[0]!r} is listed twice")
        return cls(table)

    def find(self, method: str, path: str) -> Route | None:
        """The route of a request, or None. `method` as sent: methods are case-sensitive, only upper-case ones exist."""
        for route in self.routes:
            if route.matches(method, path):
                return route
        return None

    def managed(self, method: str, path: str) -> Price | None:
        """The price of the first route that a request may be about the channel of, though it asks for no content."""
        return next((route.price for route in self.routes if route.manages(method, path)), None)
