"""What must hold after every step, whatever went wrong (I1 to I9), told by those who see it and looked up on the disk.

The oracle knows what a perfect observer knows: the bank's books, the store's rows, what left which handler.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from coinslot.core.credential import find_credential
from coinslot.core.receipt import decode_receipt
from coinslot.intents.session import Channel, Stage
from coinslot.server.admission import SessionAdmission
from coinslot.server.answer import Answer
from coinslot.server.request import Incoming
from coinslot.store import channel_operations, operations
from coinslot.store.channels import ChannelQuery
from coinslot.store.sqlite_file import SqliteDb
from support.sim.bank import SimBank
from support.sim.engine import Broken, Sim
from support.sim.stores import Disk
from support.toychannel import voucher_parts
from support.toyescrow import signer_of_voucher

# The journal is summed after so many commits, and in the end: every time would be most of the work.
JOURNAL_EVERY = 64


class Oracle:
    """Looks at everything, changes nothing."""

    def __init__(self, sim: Sim, disk: Disk, bank: SimBank) -> None:
        self._sim, self._disk, self._bank = sim, disk, bank
        self.secrets: set[bytes] = set()
        self.total = 0
        self._seen: dict[str, Channel] = {}
        self._commits = 0
        self._read_at = -1
        self._rows: list[Channel] = []
        self.delivered: Counter[str] = Counter()  # base units that left handlers, per channel
        self.requests: dict[tuple[str, str], str] = {}  # channel and key -> the run whose answer left first
        self._running: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self.kept: dict[tuple[str, str], bytes] = {}
        sim.checks.append(self.check)

    # --- told by the servers

    def runs(self, incoming: Incoming, got: SessionAdmission, run_name: str) -> None:
        """A handler begins."""
        record = self._record(got.key)
        self.say(record.stage is not Stage.OPENING, "I1", "sold on a channel that is not open yet")

    def ended(self, incoming: Incoming, run_name: str) -> None:
        """A handler gave no answer."""

    def sold(self, incoming: Incoming, got: SessionAdmission, units: int, run_name: str) -> None:
        """A whole answer is about to leave. A request that is run again after a crash was bought once. I1 I5"""
        key = got.idempotency_key
        if key is not None and (got.key, key) in self.requests:
            return
        if key is not None:
            self.requests[got.key, key] = run_name
        self.delivers(got.key if key is None else self._paying(got.key, units), units)

    def _paying(self, channel: str, units: int) -> str:
        """The channel that paid for what leaves on this one under a key: a key is its payer's, and what it bought on a
        channel that has ended since runs again on the next.
        """
        here = self._record(channel)
        for one in (here, *self._rows):
            spare = one.spent + one.reserved - self.delivered[one.key]
            if (one.payer, one.payee) == (here.payer, here.payee) and spare >= units:
                return one.key
        return channel

    def delivers(self, channel: str, units: int) -> None:
        """So much of a channel's money's worth leaves now. I1"""
        self.delivered[channel] += units
        record = self._record(channel)
        paid = record.spent + record.reserved
        self.say(
            self.delivered[channel] <= paid, "I1", f"{self.delivered[channel]} delivered, {paid} paid or set aside"
        )

    def answered(self, incoming: Incoming, answer: Answer) -> None:
        """An answer leaves. I4 I9"""
        for name, value in answer.headers:
            if name.lower() == "payment-receipt":
                self._receipt(value, closes=_closes(incoming))
        told = answer.body + b"".join(value.encode() for _, value in answer.headers)
        for secret in self.secrets:
            self.say(secret not in told, "I9", "a secret in an answer")
        if answer.status >= 500 and find_credential(incoming.all("authorization"), ()) is None:
            self._sim.tell("server error without payment", answer.status, answer.body[:200])

    def _receipt(self, value: str, *, closes: bool) -> None:
        receipt = decode_receipt(value)
        record = self._record(f"toy:main/{receipt.reference}")
        told = int(receipt.extra["acceptedCumulative"]), int(receipt.extra["spent"])
        if closes:  # it names the voucher that asked for the close, which buys nothing and need not be on record
            told = min(told[0], record.accepted), told[1]
        self.say(
            told[0] <= record.accepted and told[1] <= record.spent + record.reserved,
            "I4",
            f"a receipt says {told}, on record are {record.accepted}, {record.spent}",
        )

    # --- looked up

    def channels(self) -> list[Channel]:
        """All rows, read again only after something was written."""
        if self._disk.commits != self._read_at:
            self._rows = channel_operations.listed(self._db(), ChannelQuery(limit=1000))
            self._read_at = self._disk.commits
        return self._rows

    def _db(self) -> SqliteDb:
        return SqliteDb(self._disk.connection, lambda: self._sim.wall())

    def _record(self, key: str) -> Channel:
        record = channel_operations.find(self._db(), key)
        self.say(record is not None, "I4", f"told of {key}, which is not on record")
        assert record is not None
        return record

    def check(self) -> None:
        """After every event; only what was written since is looked at."""
        if self._disk.commits == self._commits:
            return
        journal = self._disk.commits // JOURNAL_EVERY != self._commits // JOURNAL_EVERY
        self._commits = self._disk.commits
        for record in self.channels():
            old = self._seen.get(record.key)
            if old != record:
                self._check(record, old)
                self._seen[record.key] = record
        if journal:
            self.check_books()

    def _check(self, new: Channel, old: Channel | None) -> None:
        held = 0 <= new.settled <= new.accepted <= new.deposit and 0 <= new.spent + new.reserved <= new.accepted
        self.say(held, "I3", f"amounts that contradict each other: {new}")
        if old is not None:
            grown = (
                old.accepted <= new.accepted
                and old.spent <= new.spent
                and old.settled <= new.settled
                and old.deposit <= new.deposit
            )
            self.say(grown, "I3", f"something shrank: {old} -> {new}")
            self.say(old.stage is not Stage.CLOSED or new.stage is Stage.CLOSED, "I3", "a closed channel came back")
        if new.voucher and (old is None or old.voucher != new.voucher):
            self._collectable(new)

    def _collectable(self, record: Channel) -> None:
        """I7: the bank itself would take the recorded voucher, for what it says, if the channel is there."""
        units, signature = voucher_parts(record.voucher)
        signer = signer_of_voucher("main", record.id, units, signature)
        self.say(units == record.accepted and signer == record.signer, "I7", "a voucher that nobody would take")
        found = self._bank.channel(record.id)
        if record.stage is Stage.OPEN:
            self.say(found is not None, "I7", "an open channel that the bank does not know")
            assert found is not None
            self.say(found.descriptor.signer == signer and found.deposit >= record.deposit, "I7", "more than is there")

    def check_books(self) -> None:
        """I6: the journal sums to zero, and the bank has what it had."""
        for asset, accounts in operations.balances(self._db()).items():
            self.say(sum(accounts.values()) == 0, "I6", f"{asset} sums to {sum(accounts.values())}")
        self.say(self._bank.total() == self.total, "I6", f"the bank had {self.total} and has {self._bank.total()}")

    def check_journal(self, captured: int) -> None:
        """I6 in the end: no escrow is left in the journal, and the payee has what the bank says. F10"""
        for accounts in operations.balances(self._db()).values():
            left = {name: units for name, units in accounts.items() if name.startswith("channel:") and units}
            self.say(not left, "I6", f"escrow left in the journal: {left}")
            got = accounts.get("payee:shop", 0)
            self.say(got == captured, "I6", f"the journal has {got} for the shop, the bank {captured}")

    def say(self, held: bool, invariant: str, what: str) -> None:
        """Raises Broken unless it held."""
        if not held:
            raise Broken(f"{invariant}: {what}")


def _closes(incoming: Incoming) -> bool:
    credential = find_credential(incoming.all("authorization"), ())
    return credential is not None and credential.payload_object().get("action") == "close"
