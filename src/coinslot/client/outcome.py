"""What an answer to a credential says: come back later, a receipt, a refusal. Words to report, never to act on."""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parsedate_to_datetime

from coinslot.client.text import plain
from coinslot.core.problem import problem_members, problem_slug
from coinslot.core.receipt import Receipt, decode_receipt
from coinslot.errors import MalformedHeader

# Being processed, and outcome not known yet: the two answers after which the same credential is presented again.
COME_BACK = frozenset({409, 503})
# "Retry-After: 0" must not become a flood.
MIN_PAUSE_S = 0.1
# No problem type has a longer name.
MAX_SLUG_CHARS = 80


def pause_after(status: int, retry_after: Sequence[str], now_s: float) -> float | None:
    """Seconds until the same credential should be presented again, or None if this answer is final."""
    if status not in COME_BACK or not retry_after:
        return None
    text = retry_after[0].strip()
    if text.isascii() and text.isdigit():
        return max(float(text[:9]), MIN_PAUSE_S)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now_s, MIN_PAUSE_S)
    except (ValueError, OverflowError):
        return None


def read_receipt(fields: Sequence[str], method: str) -> tuple[Receipt | None, str | None]:
    """The receipt of a paid answer, and what is odd about it. Never a reason to fail: the content is here."""
    if not fields:
        return None, "the server sent no receipt"
    try:
        receipt = decode_receipt(fields[0])
    except MalformedHeader as error:
        return None, f"the receipt can't be read: {plain(str(error))}"
    if len(fields) > 1:
        return receipt, "the server sent several receipts; this is the first"
    if receipt.method != method:
        return receipt, "the receipt is of another payment method than was paid with"
    return receipt, None


def refusal(body: bytes, credential: str) -> tuple[str | None, str]:
    """The last segment of the problem's type, and its detail, cleaned; our credential never shines through. T38

    Some deployed servers put the detail into `message`.
    """
    slug, members = problem_slug(body), problem_members(body)
    detail = members.get("detail", members.get("message"))
    token = credential.partition(" ")[2]
    text = detail.replace(token, "[credential]") if isinstance(detail, str) else ""
    return (plain(slug, MAX_SLUG_CHARS) or None) if slug else None, plain(text)
