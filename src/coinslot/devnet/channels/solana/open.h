// open: create a channel and its escrow, and move the deposit there (ADR-003, "open").

enum {
  OPEN_PAYER, OPEN_RENT_PAYER, OPEN_PAYEE, OPEN_MINT, OPEN_SIGNER, OPEN_CHANNEL, OPEN_PAYER_TOKENS, OPEN_ESCROW,
  OPEN_TOKEN_PROGRAM, OPEN_SYSTEM_PROGRAM, OPEN_RENT, OPEN_ASSOCIATED_TOKEN, OPEN_EVENT_AUTHORITY, OPEN_SELF,
  OPEN_ACCOUNTS,
};

#define SALT_AT 0
#define DEPOSIT_AT 8
#define GRACE_AT 16
#define OPEN_SLOT_AT 20
#define SPLITS_AT 28

#define SYSTEM_ASSIGN 1
#define SYSTEM_TRANSFER 2
#define SYSTEM_ALLOCATE 8
#define ATA_CREATE_IDEMPOTENT 1

#define ACCOUNT_OVERHEAD 128                 // bytes that rent counts for every account beside its data
#define THRESHOLD_ONE 0x3ff0000000000000ULL  // 1.0 and 2.0 as they stand in the rent sysvar
#define THRESHOLD_TWO 0x4000000000000000ULL

// The lamports that keep an account of the channel's size alive, from the rent sysvar.
static u64 rent_for_channel(const account *rent, u64 *lamports) {
  CHECK(same32(rent->key, RENT_SYSVAR), INVALID_ARGUMENT);
  u64 threshold = load64(rent->data + 8);
  // the only two values it ever had; a division of floating-point numbers is not what this program is for
  CHECK(threshold == THRESHOLD_ONE || threshold == THRESHOLD_TWO, INVALID_ARGUMENT);
  *lamports = load64(rent->data) * (ACCOUNT_OVERHEAD + CHANNEL_LEN) * (threshold == THRESHOLD_TWO ? 2 : 1);
  return 0;
}

static u64 call_system(const outgoing *out, u32 what, bytes argument, const seeds *signer) {
  u8 data[36];
  store32(data, what);
  for (u64 at = 0; at < argument.length; at++) data[4 + at] = argument.at[at];
  return invoke(out, SYSTEM_PROGRAM, (bytes){data, 4 + argument.length}, signer);
}

// Make the account, also where somebody has sent lamports to its address before.
static u64 create_channel(const call *c, const seeds *signer) {
  account *at = c->accounts[OPEN_CHANNEL];
  outgoing out;
  u64 lamports, space = CHANNEL_LEN;
  TRY(rent_for_channel(c->accounts[OPEN_RENT], &lamports));
  if (at->lamports < lamports) {
    lamports -= at->lamports;
    out.count = 0;
    add(&out, c->accounts[OPEN_RENT_PAYER], WRITES | SIGNS);
    add(&out, at, WRITES);
    TRY(call_system(&out, SYSTEM_TRANSFER, (bytes){(u8 *)&lamports, 8}, 0));
  }
  out.count = 0;
  add(&out, at, WRITES | SIGNS);
  TRY(call_system(&out, SYSTEM_ALLOCATE, (bytes){(u8 *)&space, 8}, signer));
  out.count = 0;  // again: its bytes have a length now
  add(&out, at, WRITES | SIGNS);
  return call_system(&out, SYSTEM_ASSIGN, (bytes){c->id, 32}, signer);
}

static u64 create_escrow(const call *c) {
  outgoing out;
  out.count = 0;
  add(&out, c->accounts[OPEN_RENT_PAYER], WRITES | SIGNS);
  add(&out, c->accounts[OPEN_ESCROW], WRITES);
  add(&out, c->accounts[OPEN_CHANNEL], READS);
  add(&out, c->accounts[OPEN_MINT], READS);
  add(&out, c->accounts[OPEN_SYSTEM_PROGRAM], READS);
  add(&out, c->accounts[OPEN_TOKEN_PROGRAM], READS);
  u8 data[1] = {ATA_CREATE_IDEMPOTENT};
  return invoke(&out, ASSOCIATED_TOKEN, (bytes){data, sizeof(data)}, 0);
}

// What can be refused without deriving or reading anything.
static u64 check_terms(const call *c) {
  CHECK(c->accounts[OPEN_PAYER]->signer, MISSING_REQUIRED_SIGNATURE);
  CHECK(c->accounts[OPEN_RENT_PAYER]->signer, MISSING_REQUIRED_SIGNATURE);
  CHECK(!same32(c->accounts[OPEN_PAYER]->key, c->accounts[OPEN_PAYEE]->key), PAYER_PAYEE_MUST_DIFFER);
  CHECK(load64(c->data + DEPOSIT_AT) != 0, DEPOSIT_MUST_BE_NON_ZERO);
  CHECK(load32(c->data + GRACE_AT) != 0, GRACE_PERIOD_MUST_BE_NON_ZERO);
  CHECK(sol_curve_validate_point(EDWARDS, c->accounts[OPEN_SIGNER]->key, 0) == 0, INVALID_AUTHORIZED_SIGNER);
  // A slot of the future would keep the rent locked for as long as the payer likes; a stale one could meet the
  // address of a channel that is gone, and its vouchers.
  clock now;
  sol_get_clock_sysvar(&now);
  u64 open_slot = load64(c->data + OPEN_SLOT_AT);
  CHECK(open_slot <= now.slot && now.slot - open_slot <= OPEN_SLOT_WINDOW, OPEN_SLOT_OUT_OF_WINDOW);
  return 0;
}

static void write_channel(const call *c, const splits *s, u8 bump) {
  channel *ch = (channel *)c->accounts[OPEN_CHANNEL]->data;
  ch->tag = CHANNEL_TAG;
  ch->version = CHANNEL_VERSION;
  ch->bump = bump;
  ch->status = OPEN;
  ch->salt = load64(c->data + SALT_AT);
  ch->deposit = load64(c->data + DEPOSIT_AT);
  ch->grace_s = load32(c->data + GRACE_AT);
  ch->open_slot = load64(c->data + OPEN_SLOT_AT);
  hash_splits(s, ch->distribution_hash);
  copy32(ch->payer, c->accounts[OPEN_PAYER]->key);
  copy32(ch->payee, c->accounts[OPEN_PAYEE]->key);
  copy32(ch->authorized_signer, c->accounts[OPEN_SIGNER]->key);
  copy32(ch->mint, c->accounts[OPEN_MINT]->key);
  copy32(ch->rent_payer, c->accounts[OPEN_RENT_PAYER]->key);
}

static u64 emit_opened(const call *c) {
  u8 data[EVENT_HEAD + 40];
  event_head(data, OPENED_EVENT);
  copy32(data + EVENT_HEAD, c->accounts[OPEN_CHANNEL]->key);
  store64(data + EVENT_HEAD + 32, load64(c->data + OPEN_SLOT_AT));
  return emit(c, c->accounts[OPEN_EVENT_AUTHORITY], (bytes){data, sizeof(data)});
}

static u64 open(const call *c) {
  CHECK(c->data_len >= SPLITS_AT, INVALID_INSTRUCTION_DATA);
  splits s;
  TRY(read_splits(c->data + SPLITS_AT, c->data_len - SPLITS_AT, &s));
  CHECK(c->count == OPEN_ACCOUNTS, NOT_ENOUGH_ACCOUNT_KEYS);
  TRY(check_terms(c));

  const u8 *numbers[2] = {c->data + SALT_AT, c->data + OPEN_SLOT_AT};
  bytes parts[CHANNEL_SEEDS + 1];
  u8 address[32], bump;
  const u8 *payer = c->accounts[OPEN_PAYER]->key;
  channel_seeds(payer, c->accounts[OPEN_PAYEE]->key, c->accounts[OPEN_MINT]->key, numbers, parts);
  parts[4] = (bytes){c->accounts[OPEN_SIGNER]->key, 32};
  parts[7] = (bytes){&bump, 1};
  CHECK(derive(parts, CHANNEL_SEEDS, c->id, address, &bump) == 0, CHANNEL_ADDRESS_MISMATCH);
  for (u32 index = 0; index < s.count; index++)
    CHECK(!same32(recipient_at(&s, index), address), INVALID_SPLIT_CONFIG);
  CHECK(same32(c->accounts[OPEN_CHANNEL]->key, address), CHANNEL_ADDRESS_MISMATCH);

  token t;
  TRY(read_token(c->accounts[OPEN_MINT], c->accounts[OPEN_TOKEN_PROGRAM], &t));
  CHECK(is_associated(&t, c->accounts[OPEN_ESCROW], address), ESCROW_REFUSALS);
  TRY(require(&t, c->accounts[OPEN_PAYER_TOKENS], payer, PAYER_REFUSALS));

  const seeds signer = {parts, CHANNEL_SEEDS + 1};
  TRY(create_channel(c, &signer));
  TRY(create_escrow(c));
  const transfer deposit = {c->accounts[OPEN_PAYER_TOKENS], c->accounts[OPEN_ESCROW], c->accounts[OPEN_PAYER], 0};
  TRY(move_token(&t, &deposit, load64(c->data + DEPOSIT_AT)));
  write_channel(c, &s, bump);
  return emit_opened(c);
}
