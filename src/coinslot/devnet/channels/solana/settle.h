// settle and settleAndSeal: take a voucher, and with it the last word of the payee (ADR-003).

static i64 now_s(void) {
  clock now;
  sol_get_clock_sysvar(&now);
  return now.now_s;
}

// The moment at which a close request takes effect.
static u64 deadline_of(const channel *ch, u64 overflow, i64 *at_s) {
  const i64 latest = 0x7fffffffffffffffLL;
  CHECK(ch->closure_started_at <= latest - (i64)ch->grace_s, overflow);
  *at_s = ch->closure_started_at + (i64)ch->grace_s;
  return 0;
}

static u64 settle(const call *c) {
  CHECK(c->count == 2, NOT_ENOUGH_ACCOUNT_KEYS);
  channel *ch;
  TRY(read_channel(c, c->accounts[0], &ch));
  CHECK(ch->status == OPEN, INVALID_CHANNEL_STATUS);
  return apply_voucher(c->accounts[0], ch, c->accounts[1], now_s());
}

static u64 settle_and_seal(const call *c) {
  CHECK(c->data_len == 1, INVALID_INSTRUCTION_DATA);
  CHECK(c->count == 3, TOO_FEW_ACCOUNTS);
  const account *payee = c->accounts[0];
  CHECK(payee->signer, MISSING_REQUIRED_SIGNATURE);
  channel *ch;
  i64 at_s, now = now_s();
  TRY(read_channel(c, c->accounts[1], &ch));
  CHECK(ch->status == OPEN || ch->status == CLOSING, INVALID_CHANNEL_STATUS);
  if (ch->status == CLOSING) {
    TRY(deadline_of(ch, ARITHMETIC_OVERFLOW, &at_s));
    CHECK(now < at_s, INVALID_CHANNEL_STATUS);
  }
  CHECK(same32(payee->key, ch->payee), INVALID_CHANNEL_PAYEE);
  if (c->data[0]) TRY(apply_voucher(c->accounts[1], ch, c->accounts[2], now));
  ch->status = SEALED;
  ch->closure_started_at = 0;
  return 0;
}
