"""`coinslot gate`: a reverse proxy that charges for any HTTP API in any language.

A request takes one way only: a path that could be read in two ways is refused; a priced route is charged; a free route
passes; our own pages (/healthz, /metrics, /openapi.json, /llms.txt) answer; all else is 404, never free by accident.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import msgspec

from coinslot.drive import RealAsyncWorld, RealWorld, run, run_async, wait
from coinslot.errors import BadRequest, NotFound, StoreError
from coinslot.server.answer import Answer, refusal
from coinslot.server.discovery import Service
from coinslot.server.price import Price, Route, Routes
from coinslot.services.accepting import accept, all_sellers
from coinslot.services.asking import UsageAsked
from coinslot.services.config import GateConfig
from coinslot.services.metered import MeteredApp
from coinslot.services.metrics import CONTENT_TYPE, Metrics
from coinslot.services.pricing import Counting, tagged
from coinslot.services.proxy import Proxy
from coinslot.services.spelling import Spellings, is_ambiguous
from coinslot.services.unforged import UnforgedApp
from coinslot.transports.asgi import (
    Paying,
    Receive,
    Scope,
    Send,
    answer_commit,
    bare,
    is_preflight,
    overrides,
    send_answer,
)
from coinslot.transports.committing import CommitDoor
from coinslot.transports.pages import Pages
from coinslot.transports.slot import Slot


class GateService:
    """The application: config in, ASGI out. Raises ConfigError, MissingDependency, ChainError, StoreError at start."""

    def __init__(self, config: GateConfig) -> None:
        title = config.title or config.realm or "Paid API"
        service = Service(title, config.api_version, tuple(config.categories), config.docs)
        self.metrics = Metrics()
        with closing(RealWorld()) as world:
            accepted = run(accept(config.accept), world)
        settling = config.settling()
        self.slot = Slot(
            config.realm or config.listen,
            store=config.store,
            sellers=all_sellers(accepted),
            expires_in_s=config.expires_in_s,
            alternate_header=config.payment_header,
            observe=self.metrics,
            settle=settling.policy() if settling.inside else False,
            settle_every_s=settling.every_s,
        )
        priced = {pattern: tagged(pattern, table, self.slot.sellers) for pattern, table in config.prices.items()}
        routes = [
            *(Route(pattern, one.price) for pattern, one in priced.items()),
            *(Route(one, None) for one in config.free),
        ]
        counting = {pattern: one.counting for pattern, one in priced.items()}
        self.stand_between(Routes.of(routes), counting, config.upstream, service)

    def stand_between(
        self, routes: Routes, counting: Mapping[str, Counting | None], upstream: str, service: Service
    ) -> None:
        """Everything that is neither the slot nor its metrics. `counting` is by the pattern of a route, None where a
        price is for a request.
        """
        self.routes = routes
        self._spellings = Spellings(routes)
        self._counting = counting
        self._paying = Paying(self.slot, commits=True)
        self._commits = CommitDoor(self.slot)
        self._proxy = Proxy(upstream)
        self._unforged = UnforgedApp(self._proxy)
        self._pages = Pages(routes, service)
        self._world = RealAsyncWorld()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # T42
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._commits.takes(scope):
            await answer_commit(self._commits, scope, receive, send)
            return
        raw_path = scope.get("raw_path") or scope["path"].encode("utf-8")
        if is_ambiguous(raw_path.split(b"?", 1)[0]):  # T42
            await send_answer(refusal(BadRequest("a path with one reading only, please")), scope, send)
            return
        method, path = scope["method"], scope["path"]
        asked = _priced_method(scope)
        route = self.routes.find(asked, path)
        if self._overridden(scope, route):
            refused = refusal(BadRequest("send this request with the method it means, not with an override"))
            await send_answer(refused, scope, send)
        elif route is not None and self._spellings.slips(route, asked, path):  # T42
            refused = refusal(
                BadRequest("this path may be read as another one, which has a price: write it as that is")
            )
            await send_answer(refused, scope, send)
        elif route is not None and is_preflight(scope):
            await self._proxy(scope, receive, bare(send))  # an API may take it for the request it asks about
        elif route is not None and route.price is not None:
            await self._sell(route, route.price, scope, receive, send)
        elif route is not None:
            await self._proxy(scope, receive, send)
        elif (managed := self.routes.managed(method, path)) is not None:
            await self._paying.serve(managed, self._unforged, scope, receive, send, manages=True)
        elif method in ("GET", "HEAD") and path == "/healthz":
            await send_answer(await self._health(), scope, send)
        elif method in ("GET", "HEAD") and path == "/metrics":
            await send_answer(_page(CONTENT_TYPE, self.metrics.text().encode("utf-8"), "no-store"), scope, send)
        elif page := self._pages.find(method, path):
            await send_answer(page, scope, send)
        else:
            await send_answer(refusal(NotFound("nothing is sold or given away here")), scope, send)

    async def _sell(self, route: Route, price: Price, scope: Scope, receive: Receive, send: Send) -> None:
        counting = self._counting[route.pattern]
        if counting is None:
            await self._paying.serve(price, self._unforged, scope, receive, send)
            return
        upstream = UsageAsked(self._proxy) if counting.include_usage else self._proxy
        app = MeteredApp(upstream, counting, self.metrics.metered)
        await self._paying.serve(price, app, scope, receive, send)

    def _overridden(self, scope: Scope, route: Route | None) -> bool:
        """Whether a header asks the upstream for another method, one that has a price of its own; a preflight pays for
        none. T42
        """
        meant = [value.strip().upper() for value in overrides(scope)]
        others = [self.routes.find(method, scope["path"]) for method in meant]
        unpaid = is_preflight(scope)
        return any(one is not None and one.price is not None and (unpaid or one is not route) for one in others)

    async def _health(self) -> Answer:
        try:
            await run_async(wait(self.slot.store.ping()), self._world)
        except StoreError as error:
            body = msgspec.json.encode({"status": "failing", "store": type(error).__name__})
            return Answer(503, (("content-type", "application/json"), ("cache-control", "no-store")), body)
        return _page("application/json", b'{"status":"ok"}', "no-store")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.slot.resolving.ensure()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._proxy.close()
                await self._paying.close()
                self.slot.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _priced_method(scope: Scope) -> str:
    """A preflight is asked of the route it announces, so that the upstream can answer it."""
    if not is_preflight(scope):
        method: str = scope["method"]
        return method
    asked: list[bytes] = [value for name, value in scope["headers"] if name == b"access-control-request-method"]
    return asked[0].decode("latin-1")


def _page(kind: str, body: bytes, cache: str) -> Answer:
    return Answer(200, (("content-type", kind), ("cache-control", cache)), body)
