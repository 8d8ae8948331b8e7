"""The vectors in core.json are what our code makes today, and what others would make by the document's words."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from vectors import generate

from coinslot.core.challenge import Challenge, KeyRing, bind, parse_challenge
from coinslot.core.credential import decode_credential

VECTORS: dict[str, Any] = json.loads(generate.FILE.read_text(encoding="utf-8"))


def test_the_file_is_what_the_code_makes() -> None:
    """Run `python tests/vectors/generate.py` and explain the difference, or undo the change."""
    assert generate.FILE.read_text(encoding="utf-8") == generate.text()


@pytest.mark.spec("CORE-038", "CORE-019", "CORE-034", "CORE-036")
@pytest.mark.parametrize("name", VECTORS["challenges"])
def test_the_id_is_the_document_s_hmac(name: str) -> None:
    """Seven slots joined by "|", absent ones empty, HMAC-SHA256, base64url; a `header` slot before the last if used."""
    vector = VECTORS["challenges"][name]
    told = parse_challenge(vector["field"])
    slots = [told.realm, told.method, told.intent, told.request, told.expires or "", told.digest or ""]
    slots += [told.header] if told.header else []
    slots += [told.opaque or ""]
    for key, ident in zip(VECTORS["keys"], (vector["id"], vector["id_under_other_key"]), strict=True):
        mac = hmac.new(bytes.fromhex(key), "|".join(slots).encode(), hashlib.sha256).digest()
        assert bind(bytes.fromhex(key), told) == ident == base64.urlsafe_b64encode(mac).decode().rstrip("=")


@pytest.mark.spec("CORE-020", "CORE-032", "CORE-037")
@pytest.mark.parametrize("name", VECTORS["challenges"])
def test_a_challenge_survives_the_round_trip(name: str) -> None:
    """Field to challenge to credential and back: every text is echoed as it came, and the server knows its own."""
    vector = VECTORS["challenges"][name]
    offered = parse_challenge(vector["field"])
    claimed = decode_credential(vector["credential"].removeprefix("Payment ")).challenge
    assert claimed == offered
    assert KeyRing((generate.KEY,)).issued(claimed)
    assert not KeyRing((generate.OTHER_KEY,)).issued(claimed)


@pytest.mark.spec("CORE-024", "CORE-025", "CORE-033", "CHG-002")
@pytest.mark.parametrize("name", VECTORS["challenges"])
def test_what_is_written_is_sorted_compact_and_unpadded(name: str) -> None:
    """`request` is base64url without padding of JSON with sorted names and no spaces (these have no odd numbers)."""
    vector = VECTORS["challenges"][name]
    told: Challenge = parse_challenge(vector["field"])
    assert "=" not in told.request
    text = base64.urlsafe_b64decode(told.request + "=" * (-len(told.request) % 4)).decode()
    assert text == json.dumps(vector["of"]["request"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
