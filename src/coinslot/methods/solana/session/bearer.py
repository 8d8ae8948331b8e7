"""The proof by which a payer uses a channel whose vouchers the operator signs (SSES "Session Bearer Proof").

One signature over the channel and the challenge under which it was opened, presented again with every request: whoever
has it can spend what is left in the channel, so it is kept out of logs and repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.chains.solana.signature import Key, signature_text, verify
from coinslot.core.canonical import canonical
from coinslot.errors import BadSignature, InvalidVoucher, SignerMismatch, UsageError
from coinslot.intents.members import read_object
from coinslot.methods.solana.session.fields import read_address, read_signature, read_text

DOMAIN = "mpp-session-auth-v1"
PROOF_TYPE = "proof"


@dataclass(frozen=True, slots=True)
class Authentication:
    """Who may use a channel, as said by whoever presents it. Nothing is verified yet."""

    challenge_id: str
    payer: str
    signature: bytes = field(repr=False)

    def members(self) -> dict[str, str]:
        """As JSON."""
        return {
            "type": PROOF_TYPE,
            "challengeId": self.challenge_id,
            "payer": self.payer,
            "signature": signature_text(self.signature),
        }

    def verify(self, channel_id: str, payer: str, challenge_id: str) -> None:
        """That the payer of a channel signed for this channel and the challenge that opened it.

        All three are what the server knows, never what a request says. Raises SignerMismatch, InvalidVoucher.
        """
        if self.payer != payer:  # T15
            raise SignerMismatch("the proof is not the payer's of this channel", channel_id=channel_id)
        if self.challenge_id != challenge_id:  # T08: a proof belongs to the challenge that opened the channel
            raise InvalidVoucher("the proof belongs to another challenge", channel_id=channel_id)
        try:
            verify(payer, bearer_message(channel_id, payer, challenge_id), self.signature)  # T13
        except (BadSignature, UsageError) as error:
            raise InvalidVoucher(str(error), channel_id=channel_id) from None


def bearer_message(channel_id: str, payer: str, challenge_id: str) -> bytes:
    """The bytes to sign: canonical JSON. Raises UsageError."""
    return canonical({"channelId": channel_id, "domain": DOMAIN, "payer": payer, "sessionChallengeId": challenge_id})


def sign_bearer(key: Key, channel_id: str, challenge_id: str) -> Authentication:
    """The proof of the payer whose key this is. Raises UsageError."""
    message = bearer_message(channel_id, key.address, challenge_id)
    return Authentication(challenge_id, key.address, key.sign(message))


def read_authentication(value: object, name: str = "authentication") -> Authentication:
    """A proof from JSON. Raises UsageError, which names the member."""
    fields = read_object(value, name)
    if fields.get("type") != PROOF_TYPE:
        raise UsageError(f"{name}.type is not {PROOF_TYPE}")
    return Authentication(
        read_text(fields.get("challengeId"), f"{name}.challengeId"),
        read_address(fields.get("payer"), f"{name}.payer"),
        read_signature(fields.get("signature"), f"{name}.signature"),
    )
