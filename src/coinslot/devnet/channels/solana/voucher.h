// The voucher, read out of the Ed25519 instruction that the chain has checked just before this one (ADR-001,
// "Voucher").

#define PUBLIC_KEY_AT 16
#define SIGNATURE_AT 48
#define MESSAGE_AT 112
#define VOUCHER_LEN 50
#define ED25519_DATA_LEN (MESSAGE_AT + VOUCHER_LEN)
#define THIS_INSTRUCTION 0xffff
#define MAGIC 0x0156  // 'V', version 1

// Find the data of the instruction before the one that runs, and whether Ed25519 is its program.
static u64 previous_instruction(const account *sysvar, bytes *into) {
  CHECK(same32(sysvar->key, INSTRUCTIONS_SYSVAR), UNSUPPORTED_SYSVAR);
  u16 current = load16(sysvar->data + sysvar->data_len - 2);
  CHECK(current > 0, MISSING_ED25519_VERIFICATION);
  const u8 *at = sysvar->data + load16(sysvar->data + 2 * (u64)current);  // a count, then an offset for each
  at += 2 + (u64)load16(at) * 33;                                         // past its accounts: flags and key
  CHECK(same32(at, ED25519_PROGRAM), MISSING_ED25519_VERIFICATION);
  *into = (bytes){at + 34, load16(at + 32)};
  return 0;
}

// Accept one form only: one signature, with key, signature and message inside this very instruction, where they are
// read from below. Any other offset or index would let the chain check other bytes than those read.
static u64 read_ed25519(bytes data, const u8 **key, const u8 **message) {
  CHECK(data.length == ED25519_DATA_LEN, MALFORMED_ED25519_INSTRUCTION);
  const u8 *at = data.at;
  CHECK(at[0] == 1 && at[1] == 0, MALFORMED_ED25519_INSTRUCTION);
  CHECK(load16(at + 2) == SIGNATURE_AT && load16(at + 4) == THIS_INSTRUCTION, MALFORMED_ED25519_INSTRUCTION);
  CHECK(load16(at + 6) == PUBLIC_KEY_AT && load16(at + 8) == THIS_INSTRUCTION, MALFORMED_ED25519_INSTRUCTION);
  CHECK(load16(at + 10) == MESSAGE_AT && load16(at + 12) == VOUCHER_LEN, MALFORMED_ED25519_INSTRUCTION);
  CHECK(load16(at + 14) == THIS_INSTRUCTION, MALFORMED_ED25519_INSTRUCTION);
  *key = at + PUBLIC_KEY_AT;
  *message = at + MESSAGE_AT;
  return 0;
}

// Move the settled watermark up to what the voucher says.
static u64 apply_voucher(account *at, channel *ch, const account *sysvar, i64 now_s) {
  bytes data;
  const u8 *key, *message;
  TRY(previous_instruction(sysvar, &data));
  TRY(read_ed25519(data, &key, &message));
  CHECK(load16(message) == MAGIC, VOUCHER_BAD_MAGIC);
  CHECK(same32(message + 2, at->key), VOUCHER_CHANNEL_MISMATCH);
  u64 cumulative = load64(message + 34);
  i64 expires_at = (i64)load64(message + 42);
  CHECK(expires_at == 0 || now_s < expires_at, VOUCHER_EXPIRED);
  CHECK(cumulative <= ch->deposit, VOUCHER_OVER_DEPOSIT);
  CHECK(cumulative > ch->settled, VOUCHER_NOT_MONOTONIC);
  CHECK(same32(key, ch->authorized_signer), VOUCHER_SIGNER_MISMATCH);
  ch->settled = cumulative;
  return 0;
}
