"""Discovery from the same route table that charges (document DISC): OpenAPI with x-payment-info, and llms.txt.

It advises; the 402 alone counts. Whoever reads it learns nothing that a request would not tell.
"""

from __future__ import annotations

import re
from typing import Any

from coinslot.server.price import Price, Route, Routes

OPENAPI = "3.1.0"
# DISC section 4.1 recommends five minutes.
CACHE_CONTROL = "max-age=300"
ANY_METHOD = ("get", "post", "put", "patch", "delete")
_STEP = re.compile(r"\*\*|\*|\{[A-Za-z_][A-Za-z0-9_]*\}")


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
        return [{"intent": one.intent, "method": one.method, "amount": None, **description} for one in price.sellers]
    offers = []
    for method, intent, request in fixed:
        currency = {"currency": request["currency"]} if isinstance(request.get("currency"), str) else {}
        offers.append({"intent": intent, "method": method, "amount": request["amount"], **currency, **description})
    return offers


def _operation(route: Route, names: list[str]) -> dict[str, Any]:
    operation: dict[str, Any] = {"responses": {"200": {"description": "The resource."}}}
    if route.summary:
        operation["summary"] = route.summary
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if route.price is not None:
        operation["x-payment-info"] = {"offers": _offers(route.price)}
        operation["responses"]["402"] = {"description": "Payment Required"}
    return operation


def openapi(routes: Routes, *, title: str, version: str, categories: tuple[str, ...] = ()) -> dict[str, Any]:
    """An OpenAPI document of the routes, priced and free (DISC-002 to DISC-028)."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes.routes:
        path, names = _template(route.path)
        methods = [one.lower() for one in sorted(route.methods)] or list(ANY_METHOD)
        for method in methods:
            paths.setdefault(path, {}).setdefault(method, _operation(route, names))
    document: dict[str, Any] = {"openapi": OPENAPI, "info": {"title": title, "version": version}}
    if categories:
        document["x-service-info"] = {"categories": list(categories)}
    return {**document, "paths": paths}


def llms_txt(routes: Routes, *, title: str) -> str:
    """The same for language models, in a page of text."""
    how = "> Paid HTTP API: it answers 402 with `WWW-Authenticate: Payment`; pay a challenge and repeat the request."
    lines = [f"# {title}", "", how, "", "## Routes", ""]
    for route in routes.routes:
        methods = ", ".join(sorted(route.methods)) or "any method"
        lines.append(f"- `{methods} {route.path}`: {_price_text(route.price)}")
    return "\n".join([*lines, "", "The machine-readable form is /openapi.json.", ""])


def _price_text(price: Price | None) -> str:
    if price is None:
        return "free"
    methods = ", ".join(dict.fromkeys(f"{one.method}/{one.intent}" for one in price.sellers))
    amount = "a price computed for each request" if callable(price.amount) else f"{price.amount}"
    return f"{amount} ({methods})" + (f" - {price.extras.description}" if price.extras.description else "")
