// topUp and withdrawPayer: the payer's own money, in and out (ADR-003).

enum { TOP_UP_PAYER, TOP_UP_CHANNEL, TOP_UP_PAYER_TOKENS, TOP_UP_ESCROW, TOP_UP_MINT, TOP_UP_PROGRAM, TOP_UP_ACCOUNTS };

static u64 top_up(const call *c) {
  CHECK(c->data_len == 8, INVALID_INSTRUCTION_DATA);
  CHECK(c->count == TOP_UP_ACCOUNTS, TOO_FEW_ACCOUNTS);
  account *payer = c->accounts[TOP_UP_PAYER], *at = c->accounts[TOP_UP_CHANNEL];
  account *from = c->accounts[TOP_UP_PAYER_TOKENS], *escrow = c->accounts[TOP_UP_ESCROW];
  CHECK(payer->signer, MISSING_REQUIRED_SIGNATURE);
  u64 units = load64(c->data);
  CHECK(units != 0, DEPOSIT_MUST_BE_NON_ZERO);
  channel *ch;
  TRY(read_channel(c, at, &ch));
  CHECK(ch->status == OPEN, INVALID_CHANNEL_STATUS);
  CHECK(same32(payer->key, ch->payer), INVALID_CHANNEL_PAYER);
  CHECK(same32(c->accounts[TOP_UP_MINT]->key, ch->mint), INVALID_CHANNEL_MINT);
  token t;
  TRY(read_token(c->accounts[TOP_UP_MINT], c->accounts[TOP_UP_PROGRAM], &t));
  TRY(require(&t, escrow, at->key, ESCROW_REFUSALS));
  TRY(require(&t, from, payer->key, PAYER_REFUSALS));
  CHECK(ch->deposit <= ~0ULL - units, TOP_UP_DEPOSIT_OVERFLOW);
  ch->deposit += units;
  const transfer more = {from, escrow, payer, 0};
  return move_token(&t, &more, units);
}

enum {
  WITHDRAW_PAYER, WITHDRAW_CHANNEL, WITHDRAW_ESCROW, WITHDRAW_PAYER_TOKENS, WITHDRAW_MINT, WITHDRAW_PROGRAM,
  WITHDRAW_ACCOUNTS,
};

static u64 withdraw_payer(const call *c) {
  CHECK(c->count == WITHDRAW_ACCOUNTS, TOO_FEW_ACCOUNTS);
  account *payer = c->accounts[WITHDRAW_PAYER], *at = c->accounts[WITHDRAW_CHANNEL];
  account *escrow = c->accounts[WITHDRAW_ESCROW], *to = c->accounts[WITHDRAW_PAYER_TOKENS];
  CHECK(payer->signer, MISSING_REQUIRED_SIGNATURE);
  channel *ch;
  TRY(read_channel(c, at, &ch));
  CHECK(ch->status == SEALED, INVALID_CHANNEL_STATUS);
  CHECK(same32(payer->key, ch->payer), INVALID_CHANNEL_PAYER);
  CHECK(ch->payer_withdrawn_at == 0, PAYER_ALREADY_WITHDRAWN);
  CHECK(same32(c->accounts[WITHDRAW_MINT]->key, ch->mint), INVALID_CHANNEL_MINT);
  token t;
  TRY(read_token(c->accounts[WITHDRAW_MINT], c->accounts[WITHDRAW_PROGRAM], &t));
  TRY(require(&t, escrow, at->key, ESCROW_REFUSALS));
  TRY(require(&t, to, payer->key, PAYER_REFUSALS));
  ch->payer_withdrawn_at = now_s();  // before the transfer: if that fails, so does this
  CHECK(ch->deposit >= ch->settled, REFUND_OVERFLOW);
  if (ch->deposit == ch->settled) return 0;
  bytes parts[CHANNEL_SEEDS + 1];
  signing_seeds(ch, parts);
  const seeds signer = {parts, CHANNEL_SEEDS + 1};
  const transfer refund = {escrow, to, at, &signer};
  return move_token(&t, &refund, ch->deposit - ch->settled);
}
