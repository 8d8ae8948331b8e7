"""What the gate hands a door when a request is paid for: run the handler, then report what became of its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from coinslot.core.receipt import Receipt
from coinslot.core.record import quick
from coinslot.server.answer import Headers
from coinslot.server.meter import Meter
from coinslot.store.protocol import Lease


@dataclass(frozen=True, slots=True)
class ChargeAdmission:
    """A charge, settled and recorded; the lease is held until its one delivery is recorded."""

    receipt: Receipt
    payer: str
    asset: str
    lease: Lease
    headers: Headers = field(default=(), repr=False)

    @property
    def reported(self) -> bool:
        """Whether anything is recorded of its answer: always."""
        return True


@quick
@dataclass(frozen=True, slots=True)
class SessionAdmission:
    """Bought from a channel: what it costs is spent, or set aside in the meter's window.

    With an `idempotency_key` the answer is kept for whoever repeats the request.
    """

    receipt: Receipt
    payer: str
    asset: str
    key: str
    idempotency_key: str | None = None
    meter: Meter | None = field(default=None, repr=False)
    headers: Headers = field(default=(), repr=False)

    @property
    def reported(self) -> bool:
        """Whether anything is recorded of its answer: its units, or the answer itself."""
        return self.meter is not None or self.idempotency_key is not None


# Paid for: the handler may run. The door says `delivered` or `abandoned` to the gate, once. `asset` is the key of what
# was paid with; `headers` go with a 2xx answer, beside the receipt.
Admission: TypeAlias = ChargeAdmission | SessionAdmission
