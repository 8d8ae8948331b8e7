# pragma version 0.4.3
# pragma evm-version cancun
"""
An own stand-in, for local chains only, for the channel reserve that Tempo nodes have built in (TIP-1034).

An independent test implementation of the published interface: not the real precompile, and no proof of how that behaves.
Two things a contract can't know are put in place by the chain's door before each transaction that needs them: the hash
of the transaction (storage slot 0), and an allowance for the tokens that the precompile would simply pull.

One storage slot per channel: settled 0..95, deposit 96..191, close requested at 192..223, zeros above.
"""

struct Descriptor:
    payer: address
    payee: address
    operator: address
    token: address
    salt: bytes32
    authorizedSigner: address
    expiringNonceHash: bytes32

struct State:
    settled: uint96
    deposit: uint96
    closeRequestedAt: uint32

struct Channel:
    descriptor: Descriptor
    state: State

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable
    def transferPolicyId() -> uint64: view

interface Policies:
    def isAuthorizedSender(policy: uint64, user: address) -> bool: view
    def isAuthorizedRecipient(policy: uint64, user: address) -> bool: view

event ChannelOpened:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    operator: address
    token: address
    authorizedSigner: address
    salt: bytes32
    expiringNonceHash: bytes32
    deposit: uint96

event Settled:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    cumulativeAmount: uint96
    deltaPaid: uint96
    newSettled: uint96

event TopUp:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    additionalDeposit: uint96
    newDeposit: uint96

event CloseRequested:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    closeGraceEnd: uint256

event ChannelClosed:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    settledToPayee: uint96
    refundedToPayer: uint96

event CloseRequestCancelled:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)

VERIFIER: constant(address) = 0x5165300000000000000000000000000000000000
POLICIES: constant(address) = 0x403c000000000000000000000000000000000000
# The first 12 bytes of every TIP-20 token's address.
TOKEN_PREFIX: constant(bytes12) = 0x20c000000000000000000000
# Bytes 4 to 13 of an address that only forwards to another one (TIP-1022).
VIRTUAL_MAGIC: constant(bytes10) = 0xfdfdfdfdfdfdfdfdfdfd
GRACE: constant(uint64) = 900
VOUCHER: constant(bytes32) = keccak256("Voucher(bytes32 channelId,uint96 cumulativeAmount)")
DOMAIN: constant(bytes32) = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
NAME: constant(bytes32) = keccak256("TIP20 Channel Reserve")
VERSION: constant(bytes32) = keccak256("1")
# Longer than any signature that the verifier reads, so that it, not the decoder, refuses those.
SIGNATURE_BYTES: constant(uint256) = 4096
BATCH: constant(uint256) = 256

# Slot 0: the hash of the transaction that runs, zero where nobody put it there.
context: bytes32
# Slot 1.
states: HashMap[bytes32, uint256]
opened_here: transient(HashMap[bytes32, bool])


@external
def open(
    payee: address, operator: address, token: address, deposit: uint96, salt: bytes32, authorizedSigner: address
) -> bytes32:
    if payee == empty(address) or self._is_token(payee):
        raw_revert(method_id("InvalidPayee()"))
    if self._is_virtual(payee) and (operator == empty(address) or self._is_virtual(operator)):
        raw_revert(method_id("InvalidPayee()"))
    if not self._is_token(token) or token.codesize == 0:
        raw_revert(method_id("InvalidToken()"))
    if deposit == 0:
        raw_revert(method_id("ZeroDeposit()"))
    context: bytes32 = self.context
    if context == empty(bytes32):
        raw_revert(method_id("ExpiringNonceHashNotSet()"))
    channel: bytes32 = self._id(
        Descriptor(
            payer=msg.sender,
            payee=payee,
            operator=operator,
            token=token,
            salt=salt,
            authorizedSigner=authorizedSigner,
            expiringNonceHash=context,
        )
    )
    if self.states[channel] != 0 or self.opened_here[channel]:
        raw_revert(method_id("ChannelAlreadyExists()"))
    self.opened_here[channel] = True
    self._write(channel, State(settled=0, deposit=deposit, closeRequestedAt=0))
    self._pull(token, payee, deposit)
    log ChannelOpened(
        channelId=channel,
        payer=msg.sender,
        payee=payee,
        operator=operator,
        token=token,
        authorizedSigner=authorizedSigner,
        salt=salt,
        expiringNonceHash=context,
        deposit=deposit,
    )
    return channel


@external
def settle(descriptor: Descriptor, cumulativeAmount: uint96, signature: Bytes[SIGNATURE_BYTES]):
    channel: bytes32 = self._id(descriptor)
    state: State = self._existing(channel)
    self._require_payee_or_operator(descriptor)
    if cumulativeAmount > state.deposit:
        raw_revert(method_id("AmountExceedsDeposit()"))
    if cumulativeAmount <= state.settled:
        raw_revert(method_id("AmountNotIncreasing()"))
    self._require_voucher(descriptor, channel, cumulativeAmount, signature)
    delta: uint96 = cumulativeAmount - state.settled
    state.settled = cumulativeAmount
    self._write(channel, state)
    self._pay_payee(descriptor, delta)
    log Settled(
        channelId=channel,
        payer=descriptor.payer,
        payee=descriptor.payee,
        cumulativeAmount=cumulativeAmount,
        deltaPaid=delta,
        newSettled=cumulativeAmount,
    )


@external
def topUp(descriptor: Descriptor, additionalDeposit: uint96):
    channel: bytes32 = self._id(descriptor)
    state: State = self._existing(channel)
    self._require_payer(descriptor)
    closing: bool = state.closeRequestedAt != 0
    if additionalDeposit == 0 and not closing:
        return
    if additionalDeposit > max_value(uint96) - state.deposit:
        raw_revert(method_id("DepositOverflow()"))
    state.deposit += additionalDeposit
    state.closeRequestedAt = 0
    self._write(channel, state)
    if additionalDeposit != 0:
        self._pull(descriptor.token, descriptor.payee, additionalDeposit)
    if closing:
        log CloseRequestCancelled(channelId=channel, payer=descriptor.payer, payee=descriptor.payee)
    log TopUp(
        channelId=channel,
        payer=descriptor.payer,
        payee=descriptor.payee,
        additionalDeposit=additionalDeposit,
        newDeposit=state.deposit,
    )


@external
def close(
    descriptor: Descriptor, cumulativeAmount: uint96, captureAmount: uint96, signature: Bytes[SIGNATURE_BYTES]
):
    channel: bytes32 = self._id(descriptor)
    state: State = self._existing(channel)
    self._require_payee_or_operator(descriptor)
    if captureAmount < state.settled or captureAmount > cumulativeAmount:
        raw_revert(method_id("CaptureAmountInvalid()"))
    if captureAmount > state.deposit:
        raw_revert(method_id("AmountExceedsDeposit()"))
    if captureAmount > state.settled:
        self._require_voucher(descriptor, channel, cumulativeAmount, signature)
    self.states[channel] = 0
    if captureAmount > state.settled:
        self._pay_payee(descriptor, captureAmount - state.settled)
    self._end(channel, descriptor, captureAmount, state.deposit - captureAmount)


@external
def requestClose(descriptor: Descriptor):
    channel: bytes32 = self._id(descriptor)
    state: State = self._existing(channel)
    self._require_payer(descriptor)
    if state.closeRequestedAt != 0:
        return
    state.closeRequestedAt = convert(block.timestamp, uint32)
    self._write(channel, state)
    log CloseRequested(
        channelId=channel,
        payer=descriptor.payer,
        payee=descriptor.payee,
        closeGraceEnd=block.timestamp + convert(GRACE, uint256),
    )


@external
def withdraw(descriptor: Descriptor):
    channel: bytes32 = self._id(descriptor)
    state: State = self._existing(channel)
    self._require_payer(descriptor)
    requested: uint256 = convert(state.closeRequestedAt, uint256)
    if requested == 0 or block.timestamp < requested + convert(GRACE, uint256):
        raw_revert(method_id("CloseNotReady()"))
    self.states[channel] = 0
    self._end(channel, descriptor, state.settled, state.deposit - state.settled)


# --- views ---


@external
@view
def CLOSE_GRACE_PERIOD() -> uint64:
    return GRACE


@external
@view
def VOUCHER_TYPEHASH() -> bytes32:
    return VOUCHER


@external
@view
def getChannel(descriptor: Descriptor) -> Channel:
    return Channel(descriptor=descriptor, state=self._read(self._id(descriptor)))


@external
@view
def getChannelState(channelId: bytes32) -> State:
    return self._read(channelId)


@external
@view
def getChannelStatesBatch(channelIds: DynArray[bytes32, BATCH]) -> DynArray[State, BATCH]:
    found: DynArray[State, BATCH] = []
    for channel: bytes32 in channelIds:
        found.append(self._read(channel))
    return found


@external
@view
def computeChannelId(
    payer: address,
    payee: address,
    operator: address,
    token: address,
    salt: bytes32,
    authorizedSigner: address,
    expiringNonceHash: bytes32,
) -> bytes32:
    return self._id(
        Descriptor(
            payer=payer,
            payee=payee,
            operator=operator,
            token=token,
            salt=salt,
            authorizedSigner=authorizedSigner,
            expiringNonceHash=expiringNonceHash,
        )
    )


@external
@view
def getVoucherDigest(channelId: bytes32, cumulativeAmount: uint96) -> bytes32:
    return self._digest(channelId, cumulativeAmount)


@external
@view
def domainSeparator() -> bytes32:
    return self._domain()


# --- inside ---


@internal
@view
def _id(descriptor: Descriptor) -> bytes32:
    return keccak256(abi_encode(descriptor, self, chain.id))


@internal
@view
def _domain() -> bytes32:
    return keccak256(abi_encode(DOMAIN, NAME, VERSION, chain.id, self))


@internal
@view
def _digest(channel: bytes32, amount: uint96) -> bytes32:
    return keccak256(concat(b"\x19\x01", self._domain(), keccak256(abi_encode(VOUCHER, channel, amount))))


@internal
@view
def _read(channel: bytes32) -> State:
    packed: uint256 = self.states[channel]
    return State(
        settled=convert(packed & convert(max_value(uint96), uint256), uint96),
        deposit=convert((packed >> 96) & convert(max_value(uint96), uint256), uint96),
        closeRequestedAt=convert(packed >> 192, uint32),
    )


@internal
@view
def _existing(channel: bytes32) -> State:
    state: State = self._read(channel)
    if state.deposit == 0:
        raw_revert(method_id("ChannelNotFound()"))
    return state


@internal
def _write(channel: bytes32, state: State):
    self.states[channel] = (
        convert(state.settled, uint256)
        | (convert(state.deposit, uint256) << 96)
        | (convert(state.closeRequestedAt, uint256) << 192)
    )


@internal
@view
def _require_payer(descriptor: Descriptor):
    if msg.sender != descriptor.payer:
        raw_revert(method_id("NotPayer()"))


@internal
@view
def _require_payee_or_operator(descriptor: Descriptor):
    if msg.sender == descriptor.payee:
        return
    if descriptor.operator == empty(address) or msg.sender != descriptor.operator:
        raw_revert(method_id("NotPayeeOrOperator()"))


@internal
@view
def _require_voucher(descriptor: Descriptor, channel: bytes32, amount: uint96, signature: Bytes[SIGNATURE_BYTES]):
    success: bool = False
    answer: Bytes[32] = b""
    success, answer = raw_call(
        VERIFIER,
        abi_encode(self._digest(channel, amount), signature, method_id=method_id("recover(bytes32,bytes)")),
        max_outsize=32,
        is_static_call=True,
        revert_on_failure=False,
    )
    if not success or len(answer) != 32:
        raw_revert(method_id("InvalidSignature()"))
    expected: address = descriptor.authorizedSigner
    if expected == empty(address):
        expected = descriptor.payer
    if abi_decode(answer, address) != expected:
        raw_revert(method_id("InvalidSignature()"))


@internal
def _pull(token: address, payee: address, amount: uint96):
    # nobody's tokens but the caller's own
    policy: uint64 = staticcall Token(token).transferPolicyId()
    if not staticcall Policies(POLICIES).isAuthorizedRecipient(policy, payee):
        raw_revert(method_id("PolicyForbids()"))
    assert extcall Token(token).transferFrom(msg.sender, self, convert(amount, uint256))


@internal
def _pay_payee(descriptor: Descriptor, amount: uint96):
    # the tokens come from here, but the payment is the payer's: who may not send must not pay this way either
    policy: uint64 = staticcall Token(descriptor.token).transferPolicyId()
    if not staticcall Policies(POLICIES).isAuthorizedSender(policy, descriptor.payer):
        raw_revert(method_id("PolicyForbids()"))
    assert extcall Token(descriptor.token).transfer(descriptor.payee, convert(amount, uint256))


@internal
def _end(channel: bytes32, descriptor: Descriptor, settled: uint96, refund: uint96):
    if refund != 0:
        assert extcall Token(descriptor.token).transfer(descriptor.payer, convert(refund, uint256))
    log ChannelClosed(
        channelId=channel,
        payer=descriptor.payer,
        payee=descriptor.payee,
        settledToPayee=settled,
        refundedToPayer=refund,
    )


@internal
@pure
def _is_token(account: address) -> bool:
    return convert(account, uint256) >> 64 == convert(TOKEN_PREFIX, uint256)


@internal
@pure
def _is_virtual(account: address) -> bool:
    return (convert(account, uint256) >> 48) & (2**80 - 1) == convert(VIRTUAL_MAGIC, uint256)
