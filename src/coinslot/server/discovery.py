"""Discovery from the same route table that charges (document DISC): OpenAPI with x-payment-info, and llms.txt.

It advises; the 402 alone counts. Whoever reads it learns nothing that a request would not tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coinslot.errors import ConfigError
from coinslot.server.price import Price, Route, Routes

OPENAPI = "3.1.0"
# DISC section 4.1 recommends five minutes.
CACHE_CONTROL = "max-age=300"
# Where the document must stand (DISC "Document Location"), and where language models look.
OPENAPI_PATH = "/openapi.json"
LLMS_PATH = "/llms.txt"
ANY_METHOD = ("get", "post", "put", "patch", "delete")
# What OpenAPI has a place for; a route of other methods is told by its 402 only.
_METHODS = frozenset([*ANY_METHOD, "head", "options", "trace"])
_WITH_BODY = frozenset(["post", "put", "patch"])
# The intents that the document's schema knows.
_INTENTS = ("charge", "session")
# Registries list a service under so many categories at most.
MAX_CATEGORIES = 5
_CATEGORY = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_DOCS = ("apiReference", "homepage", "llms")
# RFC 3986: a scheme and what may follow it, nothing that must be escaped.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+\Z")
_STEP = re.compile(r"\*\*|\*|\{[A-Za-z_][A-Za-z0-9_]*\}")


@dataclass(frozen=True, slots=True)
class Service:
    """What a service says of itself: its name, the version of its API, categories such as "data" or "developer-tools",
    and links by name (apiReference, homepage, llms). Raises ConfigError naming the setting.
    """

    title: str
    version: str = "1.0.0"
    categories: tuple[str, ...] = ()
    docs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.title or not self.version:
            raise ConfigError("title, version: a service has a name and a version")
        if len(self.categories) > MAX_CATEGORIES or not all(_CATEGORY.match(one) for one in self.categories):
            raise ConfigError(f"categories: up to {MAX_CATEGORIES} in lower case, such as 'developer-tools'")
        for name, uri in self.docs.items():
            if name not in _DOCS:
                raise ConfigError(f"docs: {name!r} is none of {', '.join(_DOCS)}")
            if not _URI.match(uri):
                raise ConfigError(f"docs: {name} is a URL, such as 'https://example.com/docs'")

    def info(self) -> dict[str, Any]:
        """The x-service-info object; empty if there is nothing to say."""
        info: dict[str, Any] = {"categories": list(self.categories)} if self.categories else {}
        return {**info, "docs": dict(self.docs)} if self.docs else info


def _template(path: str) -> tuple[str, list[str]]:
    """The path as OpenAPI writes it, and the names of its parameters."""
    names: list[str] = []

    def name(step: re.Match[str]) -> str:
        text = step.group()
        names.append(text[1:-1] if text.startswith("{") else ("rest" if not names else f"rest{len(names) + 1}"))
        return f"{{{names[-1]}}}"

    return _STEP.sub(name, path), names


def _offers(price: Price) -> list[dict[str, Any]]:
    description = {"description": price.extras.description} if price.extras.description else {}
    fixed = price.fixed_requests()
    if not fixed:  # a computed price is told by the 402 only
        found = [{"intent": one.intent, "method": one.method, "amount": None, **description} for one in price.sellers]
        return [offer for offer in found if offer["intent"] in _INTENTS]
    offers = []
    for method, intent, request in fixed:
        if intent in _INTENTS:
            currency = {"currency": request["currency"]} if isinstance(request.get("currency"), str) else {}
            offers.append({"intent": intent, "method": method, "amount": request["amount"], **currency, **description})
    return offers


def _charge(operation: dict[str, Any], price: Price) -> dict[str, Any]:
    """The operation with what it costs."""
    responses = {**operation.get("responses", {}), "402": {"description": "Payment Required"}}
    offers = _offers(price)
    return {**operation, **({"x-payment-info": {"offers": offers}} if offers else {}), "responses": responses}


def _operation(route: Route, method: str, names: list[str]) -> dict[str, Any]:
    operation: dict[str, Any] = {"responses": {"200": {"description": "The resource."}}}
    if route.summary:
        operation["summary"] = route.summary
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if method in _WITH_BODY:  # we know that there may be one, and no more (DISC-029)
        operation["requestBody"] = {"content": {"*/*": {}}}
    return operation if route.price is None else _charge(operation, route.price)


def openapi(routes: Routes, service: Service) -> dict[str, Any]:
    """An OpenAPI document of the routes, priced and free (DISC-002 to DISC-028). Raises ConfigError for none."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes.routes:
        path, names = _template(route.path)
        for method in [one.lower() for one in sorted(route.methods)] or list(ANY_METHOD):
            if method in _METHODS:
                paths.setdefault(path, {}).setdefault(method, _operation(route, method, names))
    if not paths:
        raise ConfigError("a discovery document needs at least one route")
    document: dict[str, Any] = {"openapi": OPENAPI, "info": {"title": service.title, "version": service.version}}
    if service.info():
        document["x-service-info"] = service.info()
    return {**document, "paths": paths}


def priced(document: Mapping[str, Any], routes: Routes) -> dict[str, Any]:
    """An application's own OpenAPI document with prices added to the operations that this table charges for.

    Its schemas and texts stay. Paths are matched as they stand, `{name}` being a segment like any other.
    """
    paths: dict[str, Any] = {}
    for path, item in document.get("paths", {}).items():
        paths[path] = dict(item)
        for method, operation in item.items():
            route = routes.find(method.upper(), path) if method in _METHODS else None
            if route is not None and route.price is not None:
                paths[path][method] = _charge(operation, route.price)
    return {**document, "paths": paths}


def llms_txt(routes: Routes, service: Service) -> str:
    """The same for language models, in a page of text."""
    how = "> Paid HTTP API: it answers 402 with `WWW-Authenticate: Payment`; pay a challenge and repeat the request."
    lines = [f"# {service.title}", "", how, "", "## Routes", ""]
    for route in routes.routes:
        methods = ", ".join(sorted(route.methods)) or "any method"
        lines.append(f"- `{methods} {route.path}`: {_price_text(route.price)}")
    lines += ["", f"The machine-readable form is {OPENAPI_PATH}.", ""]
    if service.docs:
        lines += ["## Docs", "", *(f"- [{name}]({uri})" for name, uri in service.docs.items()), ""]
    return "\n".join(lines)


def _price_text(price: Price | None) -> str:
    if price is None:
        return "free"
    methods = ", ".join(dict.fromkeys(f"{one.method}/{one.intent}" for one in price.sellers))
    amount = "a price computed for each request" if callable(price.amount) else f"{price.amount}"
    return f"{amount} ({methods})" + (f" - {price.extras.description}" if price.extras.description else "")
