"""Problem details as they travel (RFC 9457, CORE section 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from coinslot.core.canonical import MAX_DEPTH, nested_deeper
from coinslot.errors import Problem

BASE = "https://paymentauth.org/problems/"
CONTENT_TYPE = "application/problem+json"
# An explanation of what went wrong fits many times over.
MAX_PROBLEM_BYTES = 64 * 1024
# It is printed on terminals and written to logs: no escape sequences, no novels.
_SLUG = re.compile(r"(?:[a-z0-9_-]{1,32}/)?[a-z0-9_-]{1,64}\Z")


def problem_body(problem: Problem, **members: object) -> bytes:
    """The JSON body of a problem, with extension members (for example `challengeId`); absent ones (None) left out."""
    body: dict[str, object] = {
        **members,
        **problem.members(),
        "type": BASE + problem.slug,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "reference": problem.reference,
    }
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def problem_members(body: bytes) -> Mapping[str, Any]:
    """The members of a problem that somebody else wrote; none if it can't be read, whatever it is. T41"""
    if len(body) > MAX_PROBLEM_BYTES or nested_deeper(body.decode("latin-1"), MAX_DEPTH):
        return {}
    try:
        members: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return members if isinstance(members, Mapping) else {}


def problem_slug(body: bytes) -> str | None:
    """A problem's `type` below our base ("session/delta-too-small"), below another its last segment; None if not words.

    For clients, to be reported and never trusted: the other side wrote it.
    """
    kind = problem_members(body).get("type")
    if not isinstance(kind, str):
        return None
    slug = kind.removeprefix(BASE) if kind.startswith(BASE) else kind.rsplit("/", 1)[-1]
    return slug if _SLUG.match(slug) else None
