"""Answers that are paid by the byte and are no events: nothing in them can ask, so vouchers go ahead of the bytes.

What was signed is never more than what came and one window (T24), and never more than the whole answer, where its
length was told.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

from coinslot.client import channels
from coinslot.client.streaming import Tap
from coinslot.client.visit import affordable_part, sign, turn
from coinslot.drive import Flow, wait
from coinslot.errors import CoinslotError, PolicyRefused

_BYTES = re.compile(r"(?:([1-9][0-9]{0,8}) bytes|byte)\Z", re.ASCII)


def block_of(unit_type: str | None) -> int | None:
    """How many bytes one unit is, by its name ("byte", "1024 bytes"); None if it is something else."""
    found = _BYTES.match(unit_type or "")
    return None if found is None else int(found[1] or 1)


@dataclass
class Pieces(Tap):
    """One such answer on its way to its reader. `length`: its bytes, None where nobody told."""

    block: int = 1
    length: int | None = None
    _came: int = 0
    _trigger_units: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        flowing = self.streams.flowing()
        covered = max(0, self.held.signed_units - flowing.basis_units)
        # what the server wanted covered at first it may want for each further piece
        self._trigger_units = min(covered, flowing.ahead_units)

    def feed(self, chunk: bytes) -> Flow[bytes]:
        """The chunk as it is; a voucher goes out where what was signed will soon be used up.

        Raises PaymentRefused, PaymentOutcomeUnknown.
        """
        before, self._came = -(-self._came // self.block), self._came + len(chunk)
        units = -(-self._came // self.block) - before
        self.streams.receive(id(self), units * self.visit.terms.amount_units)
        flowing = self.streams.flowing()
        left = self.held.signed_units - flowing.basis_units - flowing.received_units
        if left < self._trigger_units and (self.length is None or self._came < self.length):
            try:
                yield from self._ahead()
            except CoinslotError as error:
                self._kept = error  # the chunk is paid for
        return chunk

    def finish(self) -> bytes:
        """Nothing is kept back."""
        self.over()
        return b""

    def _ahead(self) -> Flow[None]:
        """Sign for a window more, as far as the deposit and the policy go."""
        lease = yield from turn(self.visit.book, self.visit.scope)
        try:
            held = (yield from wait(self.visit.book.get(self.held.key))) or self.held
            self.streams.beside(held.signed_units)
            most = self._most_units()
            with suppress(PolicyRefused):  # what is deposited may do
                held = yield from channels.covered(self.visit, held, most)
            self.held = held
            total = min(most, held.deposit_units)
            if total > held.signed_units:
                total = yield from affordable_part(self.visit, held, total)
                self.held = yield from sign(self.visit, held, total)
                self.agreed.asked_units += self.streams.asked(total)  # T24
                yield from self._send()
        finally:
            lease.release()

    def _most_units(self) -> int:
        """What came and a window, of all that run on this channel; of this one no more than its end."""
        flowing = self.streams.flowing()
        if self.length is None:
            return flowing.most_units  # T24
        price, policy = self.visit.terms.amount_units, self.visit.purse.policy
        missing = -(-self.length // self.block) - -(-self._came // self.block)
        spare = max(0, policy.window - missing) * price
        return flowing.most_units - spare  # T24
