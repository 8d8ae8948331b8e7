"""Records of the payer's book that can't be read: named, with what is safe and what to do; the others go on."""

from __future__ import annotations

from collections.abc import Sequence

from coinslot.cli.columns import safe
from coinslot.errors import StoreBroken
from coinslot.store.book import Damaged

_CHANNEL = (
    "What it holds is on the chain, nothing is paid by it, and everything else in the book works. Put a backup of the "
    "book in its place; or find it again in a new one, by `coinslot channels sync --book NEW`, and get it back by "
    "`coinslot channels close ID --book NEW`"
)
_CHARGE = (
    "It may have been paid, nothing is paid by it, and everything else in the book works; who asks for the same again "
    "is refused. Look for it on the chain, put a backup of the book in its place, or remove it by `coinslot sent "
    "forget ID --force`"
)


def require_readable(damaged: Sequence[Damaged], *, charges: bool = False) -> None:
    """Raise StoreBroken where records of channels, or of charges, can't be read: said last, after what can be said."""
    found = [one for one in damaged if one.charge == charges]
    if not found:
        return
    kind = "payment that was sent" if charges else "channel"
    each = "; ".join(f"{safe(one.id) or 'one without a name'} ({safe(one.reason)})" for one in found)
    count = f"the record of a {kind}" if len(found) == 1 else f"{len(found)} records, each of a {kind},"
    raise StoreBroken(f"{count} can't be read: {each}. {_CHARGE if charges else _CHANNEL}.")
