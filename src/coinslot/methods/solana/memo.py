"""References: an external id that a server makes up for one challenge, so that a memo ties a payment to it.

    mpp- || 16 characters of base64url (96 random bits)

The document has clients write the external id of a charge into a memo, and lets servers verify it. With one that
nobody else was given, a payment on the chain can be shown for no other challenge, and two equal payments never become
one transaction. T05
"""

from __future__ import annotations

import re

from coinslot.core.canonical import base64url_encode
from coinslot.drive import Flow, random_bytes

_PREFIX = "mpp-"
_BYTES = 12
_REFERENCE = re.compile(r"mpp-[A-Za-z0-9_-]{16}\Z", re.ASCII)


def new_reference() -> Flow[str]:
    """A reference that nobody can have seen before."""
    return _PREFIX + base64url_encode((yield from random_bytes(_BYTES)))


def is_reference(external_id: str | None) -> bool:
    """Whether an external id was made up by a server for one challenge."""
    return external_id is not None and _REFERENCE.match(external_id) is not None
