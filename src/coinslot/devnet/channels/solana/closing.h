// requestClose, seal and reclaim: the way out that needs no payee (ADR-003).

static u64 request_close(const call *c) {
  CHECK(c->count == 2, TOO_FEW_ACCOUNTS);
  CHECK(c->accounts[0]->signer, MISSING_REQUIRED_SIGNATURE);
  channel *ch;
  TRY(read_channel(c, c->accounts[1], &ch));
  CHECK(ch->status == OPEN, INVALID_CHANNEL_STATUS);
  CHECK(same32(c->accounts[0]->key, ch->payer), INVALID_CHANNEL_PAYER);
  ch->closure_started_at = now_s();
  ch->status = CLOSING;
  return 0;
}

static u64 seal(const call *c) {
  CHECK(c->count == 1, NOT_ENOUGH_ACCOUNT_KEYS);
  channel *ch;
  i64 at_s;
  TRY(read_channel(c, c->accounts[0], &ch));
  CHECK(ch->status == CLOSING, INVALID_CHANNEL_STATUS);
  TRY(deadline_of(ch, SEAL_DEADLINE_OVERFLOW, &at_s));
  CHECK(now_s() >= at_s, SEAL_GRACE_PERIOD_NOT_ELAPSED);
  ch->status = SEALED;
  ch->closure_started_at = 0;
  return 0;
}

static u64 reclaim(const call *c) {
  CHECK(c->count == 2, NOT_ENOUGH_ACCOUNT_KEYS);
  channel *ch;
  u64 last_slot;
  clock now;
  TRY(read_channel(c, c->accounts[0], &ch));
  CHECK(ch->status == DISTRIBUTED, INVALID_CHANNEL_STATUS);
  CHECK(same32(c->accounts[1]->key, ch->rent_payer), INVALID_CHANNEL_RENT_PAYER);
  TRY(last_slot_of_window(ch, &last_slot));
  sol_get_clock_sysvar(&now);
  CHECK(now.slot > last_slot, CHANNEL_CLOSE_TOO_EARLY);
  return free_channel(c->accounts[0], c->accounts[1]);
}
