"""Problem details as they travel (RFC 9457, CORE section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from coinslot.errors import Problem

BASE = "https://paymentauth.org/problems/"
CONTENT_TYPE = "application/problem+json"


def problem_body(problem: Problem, **members: object) -> bytes:
    """The JSON body of a problem, with extension members (for example `challengeId`); absent ones (None) left out."""
    body: dict[str, object] = {
        "type": BASE + problem.slug,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "reference": problem.reference,
        **members,
    }
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def problem_slug(body: bytes) -> str | None:
    """The last path segment of a problem's `type`, whatever its base, or None. For clients: never trust, only report."""
    try:
        members: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    kind = members.get("type") if isinstance(members, Mapping) else None
    return kind.rsplit("/", 1)[-1] if isinstance(kind, str) and kind else None
