"""Discovery pages for an application's own prices: /openapi.json and /llms.txt beside a paying middleware.

    app = discoverable(CoinslotMiddleware(app, slot, {"GET /paid/*": "0.01"}), Service("My API"))

`discoverable_wsgi` does the same for the WSGI middleware. Both pages are free, whatever the table says of other paths,
and readable from any origin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from coinslot.server.answer import Answer
from coinslot.server.discovery import CACHE_CONTROL, LLMS_PATH, OPENAPI_PATH, Service, llms_txt, openapi, priced
from coinslot.server.price import Routes
from coinslot.transports import wsgi
from coinslot.transports.asgi import App, CoinslotMiddleware, Receive, Scope, Send, route_path, send_answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Pages:
    """The pages of a route table, made once. Raises ConfigError for a table without routes.

    `document`: an OpenAPI document of the application's own, to which the prices are added; else one is made.
    """

    def __init__(self, routes: Routes, service: Service, document: Mapping[str, Any] | None = None) -> None:
        told = openapi(routes, service) if document is None else priced(document, routes)
        self._pages = {
            OPENAPI_PATH: _page("application/json", msgspec.json.encode(told)),
            LLMS_PATH: _page("text/plain; charset=utf-8", llms_txt(routes, service).encode("utf-8")),
        }

    def find(self, method: str, path: str) -> Answer | None:
        """The page that a request asks for, or None."""
        return self._pages.get(path) if method in ("GET", "HEAD") else None


def _page(kind: str, body: bytes) -> Answer:
    headers = (("content-type", kind), ("cache-control", CACHE_CONTROL), ("access-control-allow-origin", "*"))
    return Answer(200, headers, body)


def discoverable(app: CoinslotMiddleware, service: Service, document: Mapping[str, Any] | None = None) -> App:
    """The middleware with its discovery pages in front. Raises ConfigError."""
    pages = Pages(app.routes, service, document)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        page = pages.find(scope["method"], route_path(scope)) if scope["type"] == "http" else None
        if page is None:
            await app(scope, receive, send)
        else:
            await send_answer(page, scope, send)

    return serve


def discoverable_wsgi(
    app: wsgi.CoinslotMiddleware, service: Service, document: Mapping[str, Any] | None = None
) -> WSGIApplication:
    """The WSGI middleware with its discovery pages in front. Raises ConfigError."""
    pages = Pages(app.routes, service, document)

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        page = pages.find(environ["REQUEST_METHOD"], wsgi.route_path(environ))
        return app(environ, start_response) if page is None else wsgi.send_answer(page, environ, start_response)

    return serve
