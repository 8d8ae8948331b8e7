"""Every error coinslot raises, one tree.

    CoinslotError
    ├── UsageError                 the caller asked for something that can't be: bad amount, key, URL, setting
    │   ├── ConfigError            a settings file, flag or environment variable is wrong
    │   └── MissingDependency      an extra is not installed (start-up only, never a slow fallback)
    ├── ProtocolError              bytes from the other side that are not MPP
    │   ├── MalformedHeader        a challenge, Accept-Payment or receipt header can't be read
    │   └── (problems, see Problem below)
    ├── Problem                    what a server answers with: status + RFC 9457 type
    │   ├── not paid, may ask again (402 with a fresh challenge)
    │   │     PaymentRequired, PaymentInsufficient, PaymentExpired, VerificationFailed, MalformedCredential,
    │   │     InvalidChallenge
    │   ├── SessionProblem         the same three ends for payment channels
    │   │     402 with a fresh challenge: InvalidVoucher, SignerMismatch, AmountExceedsDeposit, DeltaTooSmall,
    │   │     ChallengeNotFound, InsufficientBalance (StreamDry: in the middle of an answer);
    │   │     410 without one: ChannelNotFound, ChannelFinalized;
    │   │     all of them where the method's document names no such problems (402): ChannelRefused
    │   ├── not a payment matter (no challenge)
    │   │     BadRequest 400, NotFound 404, MethodNotAllowed 405, MethodUnsupported 400, BodyTooLarge 413,
    │   │     KeyReused 422, TooManyVouchers 429
    │   ├── already paid, replay (no challenge)
    │   │     PaymentInFlight 409, AlreadyDelivered 409, ChallengeUsed 409
    │   └── outcome unknown (no challenge, never retried blindly)
    │         OutcomePending 503, StoreUnavailable 503, RailUnavailable 503
    ├── PaymentError               what a client raises
    │   ├── PolicyRefused          the purse said no; nothing was signed
    │   ├── NoPayableOffer         nothing offered can be paid with what is configured; nothing was signed
    │   ├── BodyNotRepeatable      the body is a stream that can't be sent twice; nothing was signed
    │   ├── ServerUnreachable      no connection to the server; nothing was paid
    │   ├── PaymentRefused         the server refused what was presented; it did not say it was paid
    │   ├── ChannelsNotClosed      several channels of a session could not be closed; all others were
    │   └── PaymentOutcomeUnknown  presented, and the answer was lost: look at `reference` before paying again
    ├── StoreError
    │   ├── StoreBusy              not written within the bounded wait; nothing changed
    │   ├── StoreNewer             the file was written by a newer coinslot; nothing was touched
    │   ├── StoreBroken            a commit or fsync failed; whatever was not acknowledged must be looked up again
    │   └── LeaseLost              another process holds the delivery now
    ├── ChainError
    │   ├── RpcUnreachable         no answer: whether the node acted is not known
    │   ├── RpcRefused             the node answered with a JSON-RPC error
    │   ├── BadSignature           a signature the chain itself would not accept
    │   └── BadTransaction         bytes that are not exactly one transaction, call or event that we know
    ├── LedgerError                postings that don't sum to zero, or a conflict
    ├── WalletError                a key file: missing, not ours, unsafe to write
    │   ├── WalletExists           a wallet of that name is there already; nothing was overwritten
    │   └── WalletLocked           wrong passphrase, or a file that was changed: which of them is not told
    └── DevnetError                a local chain could not be started, or stopped
        ├── PortTaken              something else listens there; nothing was started
        ├── NodeUnavailable        the node's program is not here and could not be fetched
        └── IntegrityMismatch      what was fetched is not what was pinned; it was thrown away

Verification raises; it never returns False. Messages never carry credentials, keys or preimages.
"""

from __future__ import annotations

from collections.abc import Mapping


class CoinslotError(Exception):
    """Base of everything coinslot raises on purpose."""


# --- the caller ----------------------------------------------------------------------------------


class UsageError(CoinslotError):
    """The caller passed something that can't be right: an amount, a key, a URL."""


class ConfigError(UsageError):
    """A setting is wrong. The message names the setting, the reason and what would do."""


class MissingDependency(UsageError):
    """A needed native library is not installed. `extra` is the extra that brings it."""

    def __init__(self, message: str, *, extra: str) -> None:
        super().__init__(f"{message}; install it with: pip install 'coinslot[{extra}]'")
        self.extra = extra


# --- the wire ------------------------------------------------------------------------------------


class ProtocolError(CoinslotError):
    """The other side sent something that is not MPP."""


class MalformedHeader(ProtocolError):
    """A header can't be read. The message says which part, never repeats its value."""


class Problem(CoinslotError):
    """An answer of a server, in the words of RFC 9457. `challenge` says whether a fresh offer goes with it."""

    slug = "bad-request"
    status = 400
    title = "Bad request"
    challenge = False

    def __init__(self, detail: str = "", *, retry_after_s: int | None = None, reference: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retry_after_s = retry_after_s
        self.reference = reference

    def members(self) -> dict[str, str]:
        """Extension members of the problem's body (RFC 9457 section 3.2): amounts as decimal text of base units."""
        return {}


class PaymentRequired(Problem):
    """No credential came with the request (CORE section 3)."""

    slug, status, title, challenge = "payment-required", 402, "Payment required", True


class PaymentInsufficient(Problem):
    """The proof pays less than was asked."""

    slug, status, title, challenge = "payment-insufficient", 402, "Payment insufficient", True


class PaymentExpired(Problem):
    """The challenge or the authorization is past its time and was never used."""

    slug, status, title, challenge = "payment-expired", 402, "Payment expired", True


class VerificationFailed(Problem):
    """The proof is not good, or the chain refused it for good: nothing was paid."""

    slug, status, title, challenge = "verification-failed", 402, "Payment verification failed", True


class MalformedCredential(Problem):
    """The credential can't be read."""

    slug, status, title, challenge = "malformed-credential", 402, "Malformed credential", True


class InvalidChallenge(Problem):
    """The echoed challenge was not issued by us for this request."""

    slug, status, title, challenge = "invalid-challenge", 402, "Invalid challenge", True


class BadRequest(Problem):
    """The request breaks a rule that no payment would mend."""

    slug, status, title = "bad-request", 400, "Bad request"


class NotFound(Problem):
    """The gate neither sells this path nor gives it away."""

    slug, status, title = "not-found", 404, "Not found"


class MethodNotAllowed(Problem):
    """The path has a price under other methods, and the table does not name this one."""

    slug, status, title = "method-not-allowed", 405, "Method not allowed"


class MethodUnsupported(Problem):
    """The credential names a method or an intent that this route doesn't take."""

    slug, status, title = "method-unsupported", 400, "Payment method not supported"


class BodyTooLarge(Problem):
    """The body is larger than what can be bound to a payment."""

    slug, status, title = "body-too-large", 413, "Body too large to bind to a payment"


class KeyReused(Problem):
    """An Idempotency-Key was used before with other content."""

    slug, status, title = "idempotency-key-reused", 422, "Idempotency-Key reused with other content"


class TooManyVouchers(Problem):
    """A channel sends vouchers that buy nothing, faster than they are answered."""

    slug, status, title = "too-many-vouchers", 429, "Too many vouchers that buy nothing"


class PaymentInFlight(Problem):
    """The same payment is being settled or delivered right now."""

    slug, status, title = "payment-in-flight", 409, "This payment is being processed"


class AlreadyDelivered(Problem):
    """This payment was delivered and its answer was not kept."""

    slug, status, title = "already-delivered", 409, "This payment was already delivered"


class ChallengeUsed(Problem):
    """The challenge, or the proof, was used with another proof, or another challenge."""

    slug, status, title = "challenge-used", 409, "Challenge or proof already used"


class OutcomePending(Problem):
    """Broadcast, and the chain has not told the end yet. `reference` is the transaction hash."""

    slug, status, title = "payment-outcome-unknown", 503, "Payment outcome not known yet"


class StoreUnavailable(Problem):
    """The record could not be written in time; nothing was settled by this request."""

    slug, status, title = "store-unavailable", 503, "Payment record unavailable"


class RailUnavailable(Problem):
    """The payment network can't be asked; nothing was broadcast by this request."""

    slug, status, title = "payment-rail-unavailable", 503, "Payment network unavailable"


# --- payment channels ----------------------------------------------------------------------------


class SessionProblem(Problem):
    """A problem of a payment channel. `channel_id` names it in the answer, where it is known."""

    slug, status, title, challenge = "session/invalid-signature", 402, "Session problem", True

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after_s: int | None = None,
        reference: str | None = None,
        channel_id: str | None = None,
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, reference=reference)
        self.channel_id = channel_id

    def members(self) -> dict[str, str]:
        """The channel's id, where it is known."""
        return {} if self.channel_id is None else {"channelId": self.channel_id}


class ChannelRefused(VerificationFailed):
    """A problem of a channel in the words of the core, for methods whose documents name no others: verification-failed,
    with the same detail and members.
    """

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after_s: int | None = None,
        reference: str | None = None,
        members: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, reference=reference)
        self._members = dict(members or {})

    @classmethod
    def of(cls, problem: Problem) -> ChannelRefused:
        """The same problem in these words."""
        return cls(
            problem.detail,
            retry_after_s=problem.retry_after_s,
            reference=problem.reference,
            members=problem.members(),
        )

    def members(self) -> dict[str, str]:
        """Those of the problem that it stands for."""
        return dict(self._members)


class InvalidVoucher(SessionProblem):
    """The signature of a voucher, or of a request to close, is not good."""

    slug, title = "session/invalid-signature", "Invalid signature"


class SignerMismatch(SessionProblem):
    """Signed by somebody who may not sign for this channel."""

    slug, title = "session/signer-mismatch", "Signer mismatch"


class AmountExceedsDeposit(SessionProblem):
    """The voucher says more than the channel holds."""

    slug, title = "session/amount-exceeds-deposit", "Amount exceeds deposit"


class DeltaTooSmall(SessionProblem):
    """The voucher adds less than the least step to what was accepted, or nothing where that is refused."""

    slug, title = "session/delta-too-small", "Delta too small"


class ChallengeNotFound(SessionProblem):
    """The challenge under which a channel is managed is unknown or past its time."""

    slug, title = "session/challenge-not-found", "Challenge not found"


class InsufficientBalance(SessionProblem):
    """What was authorized and not spent yet doesn't cover the cost: `required_top_up` base units are missing."""

    slug, title = "session/insufficient-balance", "Insufficient balance"

    def __init__(
        self,
        detail: str = "",
        *,
        retry_after_s: int | None = None,
        reference: str | None = None,
        channel_id: str | None = None,
        required_top_up: int | None = None,
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, reference=reference, channel_id=channel_id)
        self.required_top_up = required_top_up

    def members(self) -> dict[str, str]:
        """The channel's id, and what is missing."""
        missing = {} if self.required_top_up is None else {"requiredTopUp": str(self.required_top_up)}
        return super().members() | missing


class StreamDry(InsufficientBalance):
    """A running answer used up what was authorized, and no further voucher came in time: it ends here."""


class ChannelNotFound(SessionProblem):
    """No channel has this id, or the chain doesn't show it yet."""

    slug, status, title, challenge = "session/channel-not-found", 410, "Channel not found", False


class ChannelFinalized(SessionProblem):
    """The channel was closed, or its payer asked the chain to close it: nothing more can be bought on it."""

    slug, status, title, challenge = "session/channel-finalized", 410, "Channel finalized", False


# --- the client ----------------------------------------------------------------------------------


class PaymentError(CoinslotError):
    """A paying client could not, or would not, pay."""


class PolicyRefused(PaymentError):
    """The purse said no. Nothing was signed or sent."""


class NoPayableOffer(PaymentError):
    """None of the offers can be paid with what is configured. Nothing was signed or sent."""


class BodyNotRepeatable(PaymentError):
    """The request body is a stream that can be read once only. Nothing was signed or sent."""


class ServerUnreachable(PaymentError):
    """No connection to the server, or none that lasted, before anything was presented. Nothing was paid."""


class PaymentRefused(PaymentError):
    """The server answered the credential with a refusal. `reference` is what was presented, `status` its answer.

    `problem` is the last segment of its problem type and `detail` its explanation, both cleaned of control characters
    and cut, or None and "": words of the other side, to show and never to act on.
    """

    def __init__(
        self, message: str, *, status: int, reference: str | None = None, problem: str | None = None, detail: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reference = reference
        self.problem = problem
        self.detail = detail


class PaymentOutcomeUnknown(PaymentError):
    """A payment was presented and its answer was lost. Look `reference` up on the chain before paying again.

    `resume`, where there is one, presents the same payment once more instead of paying anew: hand it to the door.
    """

    def __init__(self, message: str, *, reference: str | None, resume: object = None) -> None:
        super().__init__(message)
        self.reference = reference
        self.resume = resume


class ChannelsNotClosed(PaymentError):
    """Several channels could not be closed. `failures` has the error of each, by the channel's key; all others are."""

    def __init__(self, failures: Mapping[str, Exception]) -> None:
        told = "; ".join(f"{key}: {type(error).__name__}: {error}" for key, error in failures.items())
        super().__init__(f"{len(failures)} channels could not be closed: {told}")
        self.failures = dict(failures)


# --- stores, chains, ledger ----------------------------------------------------------------------


class StoreError(CoinslotError):
    """The record could not be read or written."""


class StoreBusy(StoreError):
    """Not written within the bounded wait. Nothing changed; ask again."""


class StoreNewer(StoreError):
    """The store was written by a newer coinslot. Nothing was touched."""


class StoreBroken(StoreError):
    """A commit failed. What was not acknowledged must be looked up again."""


class LeaseLost(StoreError):
    """The lease lapsed and another process may hold it now: stop, deliver nothing more."""


class ChainError(CoinslotError):
    """A chain could not be asked, or refused."""


class RpcUnreachable(ChainError):
    """No answer came: whether the node acted on the request is not known."""


class RpcRefused(ChainError):
    """The node answered with a JSON-RPC error."""

    def __init__(self, message: str, *, code: int, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class BadSignature(ChainError):
    """A signature that the chain itself would not accept."""


class BadTransaction(ChainError):
    """Bytes that are not, in their one canonical spelling, a transaction, call or event that we know."""


class LedgerError(CoinslotError):
    """Postings that don't sum to zero per asset, or contradict what is recorded."""


# --- local chains for tests and demos ------------------------------------------------------------


class DevnetError(CoinslotError):
    """A local chain could not be started, or stopped by itself."""


class PortTaken(DevnetError):
    """Something else listens on the wanted port. Nothing was started."""


class NodeUnavailable(DevnetError):
    """The node's program is not on this machine and could not be fetched."""


class IntegrityMismatch(DevnetError):
    """A fetched program is not the one that was pinned. It was thrown away, never run."""


# --- wallets -------------------------------------------------------------------------------------


class WalletError(CoinslotError):
    """A wallet is missing, its file can't be read, or it can't be written safely. Never carries a key or passphrase."""


class WalletExists(WalletError):
    """A wallet of that name exists. Nothing was overwritten: a lost key is lost money."""


class WalletLocked(WalletError):
    """The passphrase is wrong or the file was changed. Which of them is not told: it would help only a guesser."""
