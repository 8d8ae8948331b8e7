"""Why transactions fail, as nodes spell it: the error in JSON, and the sentence that goes with it."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from solders.transaction_status import TransactionConfirmationStatus, TransactionErrorType, TransactionStatus

Failure: TypeAlias = object

BLOCKHASH_NOT_FOUND = "BlockhashNotFound"
ALREADY_PROCESSED = "AlreadyProcessed"
# The sentences of the runtime, for errors that payments meet. Others are told by their names.
_SENTENCES = {
    "AccountInUse": "Account in use",
    "AccountLoadedTwice": "Account loaded twice",
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "ProgramAccountNotFound": "Attempt to load a program that does not exist",
    "InsufficientFundsForFee": "Insufficient funds for fee",
    "InvalidAccountForFee": "This account may not be used to pay transaction fees",
    ALREADY_PROCESSED: "This transaction has already been processed",
    BLOCKHASH_NOT_FOUND: "Blockhash not found",
    "CallChainTooDeep": "Loader call chain is too deep",
    "MissingSignatureForFee": "Transaction requires a fee but has no signature present",
    "InvalidAccountIndex": "Transaction contains an invalid account reference",
    "SignatureFailure": "Transaction did not pass signature verification",
    "InvalidProgramForExecution": "This program may not be used for executing instructions",
    "SanitizeFailure": "Transaction failed to sanitize accounts offsets correctly",
    "UnsupportedVersion": "Transaction version is unsupported",
    "InvalidWritableAccount": "Transaction loads a writable account that cannot be written",
    "AddressLookupTableNotFound": "Transaction loads an address table account that doesn't exist",
    "InvalidAddressLookupTableIndex": "Transaction address table lookup uses an invalid index",
    "MaxLoadedAccountsDataSizeExceeded": "Transaction exceeded max loaded accounts data size cap",
}
_INSTRUCTION_SENTENCES = {
    "GenericError": "generic instruction error",
    "InvalidArgument": "invalid program argument",
    "InvalidInstructionData": "invalid instruction data",
    "InvalidAccountData": "invalid account data for instruction",
    "AccountDataTooSmall": "account data too small for instruction",
    "InsufficientFunds": "insufficient funds for instruction",
    "IncorrectProgramId": "incorrect program id for instruction",
    "MissingRequiredSignature": "missing required signature for instruction",
    "AccountAlreadyInitialized": "instruction requires an uninitialized account",
    "UninitializedAccount": "instruction requires an initialized account",
    "NotEnoughAccountKeys": "insufficient account keys for instruction",
    "InvalidSeeds": "Provided seeds do not result in a valid address",
    "IllegalOwner": "Provided owner is not allowed",
    "InvalidAccountOwner": "Invalid account owner",
    "ComputationalBudgetExceeded": "Computational budget exceeded",
    "ProgramFailedToComplete": "Program failed to complete",
    "PrivilegeEscalation": "Cross-program invocation with unauthorized signer or writable account",
    "UnsupportedProgramId": "Unsupported program id",
}


def failure_json(error: TransactionErrorType) -> Failure:
    """The error as JSON has it: a name, or a name with its details."""
    told = TransactionStatus(
        slot=0,
        confirmations=None,
        status=None,
        err=error,
        confirmation_status=TransactionConfirmationStatus.Processed,
    )
    failure: Failure = msgspec.json.decode(told.to_json())["err"]
    return failure


def sentence(failure: Failure) -> str:
    """The same in the runtime's words."""
    if isinstance(failure, str):
        return _SENTENCES.get(failure, failure)
    if not isinstance(failure, dict):
        return str(failure)
    ((name, detail),) = failure.items()
    if name == "InstructionError":
        return f"Error processing Instruction {detail[0]}: {_instruction_sentence(detail[1])}"
    if name == "InsufficientFundsForRent":
        return f"Transaction results in an account ({detail['account_index']}) with insufficient funds for rent"
    return str(name)


def _instruction_sentence(reason: object) -> str:
    if isinstance(reason, dict) and "Custom" in reason:
        return f"custom program error: {reason['Custom']:#x}"
    return _INSTRUCTION_SENTENCES.get(str(reason), str(reason))
