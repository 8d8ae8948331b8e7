// distribute: pay out what is settled, and from a sealed channel everything else too (ADR-003, "distribute").

enum {
  PAY_CHANNEL, PAY_PAYER, PAY_RENT_PAYER, PAY_ESCROW, PAY_PAYER_TOKENS, PAY_PAYEE_TOKENS, PAY_TREASURY, PAY_MINT,
  PAY_TOKEN_PROGRAM, PAY_EVENT_AUTHORITY, PAY_SELF, PAY_ACCOUNTS,
};

// Who a share is for, by the numbers of the event, and the refusals of each.
enum { TO_RECIPIENT, TO_PAYEE, TO_PAYER };

typedef struct { const u8 *owner; account *at; u64 units; u8 role; } share;

// Every recipient, the payee, the payer's rest, the treasury's.
#define MAX_TRANSFERS (MAX_RECIPIENTS + 3)

// Shares are collected first and paid together, so that every refusal comes before the first token moves.
typedef struct {
  const call *c;
  token t;
  channel *ch;
  u64 count;
  u64 total;
  account *to[MAX_TRANSFERS];
  u64 units[MAX_TRANSFERS];
} payout;

static u64 enqueue(payout *p, account *to, u64 units) {
  if (units == 0) return 0;
  CHECK(p->count < MAX_TRANSFERS, TRANSFER_QUEUE_OVERFLOW);
  CHECK(p->total <= ~0ULL - units, BALANCE_OVERFLOW);
  p->to[p->count] = to;
  p->units[p->count++] = units;
  p->total += units;
  return 0;
}

static u64 refusals_of(u8 role) {
  return role == TO_RECIPIENT ? RECIPIENT_REFUSALS : role == TO_PAYEE ? PAYEE_REFUSALS : PAYER_REFUSALS;
}

static u64 emit_redirected(const payout *p, const share *s, u8 reason) {
  u8 data[EVENT_HEAD + 74];
  event_head(data, REDIRECTED_EVENT);
  copy32(data + EVENT_HEAD, p->c->accounts[PAY_CHANNEL]->key);
  copy32(data + EVENT_HEAD + 32, s->owner);
  store64(data + EVENT_HEAD + 64, s->units);
  data[EVENT_HEAD + 72] = s->role;
  data[EVENT_HEAD + 73] = reason;
  return emit(p->c, p->c->accounts[PAY_EVENT_AUTHORITY], (bytes){data, sizeof(data)});
}

// Queue a share for its owner, or for the treasury where the owner has made the account useless: nobody may block the
// payout of the others. An account that is not the owner's at all is the caller's fault, and refused.
static u64 pay(payout *p, const share *s) {
  if (s->units == 0) {
    CHECK(is_associated(&p->t, s->at, s->owner), refusals_of(s->role));
    return 0;
  }
  u8 reason;
  matter found = look_at(&p->t, s->at, s->owner);
  switch (found) {
    case FINE: return enqueue(p, s->at, s->units);
    case BAD_EXTENSION: reason = 0; break;
    case UNREADABLE: reason = 1; break;
    case NOT_INITIALIZED: reason = 2; break;
    case ANOTHER_OWNER: reason = 3; break;
    default: return refusal_of(found, refusals_of(s->role));
  }
  TRY(emit_redirected(p, s, reason));
  return enqueue(p, p->c->accounts[PAY_TREASURY], s->units);
}

static u64 pay_merchants(payout *p, const splits *s) {
  const call *c = p->c;
  for (u32 index = 0; index < s->count; index++) {
    const share one = {recipient_at(s, index), c->accounts[PAY_ACCOUNTS + index], due(p->ch, bps_at(s, index)),
                       TO_RECIPIENT};
    TRY(pay(p, &one));
  }
  const share rest = {p->ch->payee, c->accounts[PAY_PAYEE_TOKENS], due(p->ch, s->payee_bps), TO_PAYEE};
  return pay(p, &rest);
}

// What a sealed channel holds beside the merchants' part: the payer's rest, and for the treasury what rounding left.
static u64 pay_rest(payout *p) {
  const channel *ch = p->ch;
  if (ch->payer_withdrawn_at == 0 && ch->deposit > ch->settled) {
    const share back = {ch->payer, p->c->accounts[PAY_PAYER_TOKENS], ch->deposit - ch->settled, TO_PAYER};
    TRY(pay(p, &back));
  }
  u64 held = load64(p->c->accounts[PAY_ESCROW]->data + ACCOUNT_AMOUNT_AT);
  CHECK(held >= p->total, BALANCE_OVERFLOW);
  return enqueue(p, p->c->accounts[PAY_TREASURY], held - p->total);
}

static u64 pay_queue(const payout *p, const seeds *signer) {
  for (u64 index = 0; index < p->count; index++) {
    const transfer one = {p->c->accounts[PAY_ESCROW], p->to[index], p->c->accounts[PAY_CHANNEL], signer};
    TRY(move_token(&p->t, &one, p->units[index]));
  }
  return 0;
}

// The end of a sealed channel: no escrow, and no account either unless its address must stay occupied for a while.
static u64 finish(payout *p, const seeds *signer) {
  account *at = p->c->accounts[PAY_CHANNEL], *rent_payer = p->c->accounts[PAY_RENT_PAYER];
  const transfer rent = {p->c->accounts[PAY_ESCROW], rent_payer, at, signer};
  TRY(close_token_account(&p->t, &rent));
  u64 last_slot;
  clock now;
  TRY(last_slot_of_window(p->ch, &last_slot));
  sol_get_clock_sysvar(&now);
  if (now.slot > last_slot) return free_channel(at, rent_payer);
  p->ch->status = DISTRIBUTED;
  return 0;
}

// Everything that is checked of the channel and its fixed accounts.
static u64 check_parties(payout *p) {
  const call *c = p->c;
  TRY(read_channel(c, c->accounts[PAY_CHANNEL], &p->ch));
  const channel *ch = p->ch;
  CHECK(ch->status <= DISTRIBUTED, INVALID_CHANNEL_STATUS);
  CHECK(ch->status == OPEN || ch->status == SEALED, CHANNEL_NOT_DISTRIBUTABLE);
  CHECK(same32(c->accounts[PAY_PAYER]->key, ch->payer), INVALID_CHANNEL_PAYER);
  CHECK(same32(c->accounts[PAY_MINT]->key, ch->mint), INVALID_CHANNEL_MINT);
  CHECK(same32(c->accounts[PAY_RENT_PAYER]->key, ch->rent_payer), INVALID_CHANNEL_RENT_PAYER);
  TRY(read_token(c->accounts[PAY_MINT], c->accounts[PAY_TOKEN_PROGRAM], &p->t));
  TRY(require(&p->t, c->accounts[PAY_ESCROW], c->accounts[PAY_CHANNEL]->key, ESCROW_REFUSALS));
  return require(&p->t, c->accounts[PAY_TREASURY], TREASURY_OWNER, TREASURY_REFUSALS);
}

static u64 distribute(const call *c) {
  splits s;
  TRY(read_splits(c->data, c->data_len, &s));
  CHECK(c->count >= PAY_ACCOUNTS, NOT_ENOUGH_ACCOUNT_KEYS);
  payout p;
  p.c = c;
  p.count = 0;
  p.total = 0;
  TRY(check_parties(&p));
  u8 digest[32];
  hash_splits(&s, digest);
  CHECK(same32(digest, p.ch->distribution_hash), INVALID_DISTRIBUTION_HASH);
  CHECK(c->count - PAY_ACCOUNTS == s.count, RECIPIENT_ACCOUNT_COUNT_MISMATCH);
  CHECK(p.ch->paid_out <= p.ch->settled, POOL_OVERFLOW);
  CHECK(p.ch->status == SEALED || p.ch->paid_out < p.ch->settled, NOTHING_TO_DISTRIBUTE);

  TRY(pay_merchants(&p, &s));
  if (p.ch->status == SEALED) TRY(pay_rest(&p));
  bytes parts[CHANNEL_SEEDS + 1];
  signing_seeds(p.ch, parts);
  const seeds signer = {parts, CHANNEL_SEEDS + 1};
  TRY(pay_queue(&p, &signer));
  if (p.ch->status == SEALED) return finish(&p, &signer);
  p.ch->paid_out = p.ch->settled;
  return 0;
}
