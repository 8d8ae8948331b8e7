"""Body digests (RFC 9530), in both spellings that are deployed.

The document writes `sha-256=:BASE64:`; every deployed SDK writes `sha-256=BASE64`, some without padding. We emit the
deployed form unless told otherwise and compare digests as bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

from coinslot.errors import MalformedHeader

_DIGEST = re.compile(r"sha-256=(:?)([A-Za-z0-9+/_-]{43}=?)(:?)\Z", re.ASCII)


def body_digest(body: bytes, *, rfc9530: bool = False) -> str:
    """The `digest` value for a body."""
    text = base64.b64encode(hashlib.sha256(body).digest()).decode("ascii")
    return f"sha-256=:{text}:" if rfc9530 else f"sha-256={text}"


def parse_digest(text: str) -> bytes:
    """The 32 bytes of a `digest` value in either spelling. Raises MalformedHeader."""
    match = _DIGEST.match(text)
    if match is None or match[1] != match[3]:
        raise MalformedHeader("digest is not sha-256 in RFC 9530 or in the deployed form")
    return binascii.a2b_base64(match[2].rstrip("=").replace("-", "+").replace("_", "/") + "=")


def same_body(digest: str, body: bytes) -> bool:
    """Whether a digest is that of these bytes. Raises MalformedHeader if it can't be read."""
    return hmac.compare_digest(parse_digest(digest), hashlib.sha256(body).digest())
