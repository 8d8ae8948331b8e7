// The channel account: 256 bytes, every number little-endian (ADR-001, "Channel PDA").

#define CHANNEL_LEN 256
#define CHANNEL_TAG 1
#define CHANNEL_VERSION 1
// Slots between `open_slot` and the last slot that may open with it; only after them may the address become free.
#define OPEN_SLOT_WINDOW 1500

enum { OPEN = 0, SEALED = 1, CLOSING = 2, DISTRIBUTED = 3 };

// Numbers stand four bytes off their natural place; 4 is what the compiler may count on.
typedef struct __attribute__((packed, aligned(4))) {
  u8 tag;
  u8 version;
  u8 bump;
  u8 status;
  u64 salt;
  u64 deposit;
  u64 settled;
  u64 paid_out;  // the watermark up to which `settled` has been paid out
  i64 closure_started_at;
  i64 payer_withdrawn_at;
  u32 grace_s;
  u8 distribution_hash[32];
  u8 payer[32];
  u8 payee[32];
  u8 authorized_signer[32];
  u8 mint[32];
  u8 rent_payer[32];
  u64 open_slot;
} channel;

_Static_assert(sizeof(channel) == CHANNEL_LEN, "the account is 256 bytes");

// Read an account as a channel of this program.
static u64 read_channel(const call *c, account *at, channel **into) {
  CHECK(same32(at->owner, c->id), INVALID_ACCOUNT_OWNER);
  CHECK(at->data_len == CHANNEL_LEN, INVALID_ACCOUNT_DATA);
  CHECK(at->data[0] == CHANNEL_TAG, INVALID_ACCOUNT_DISCRIMINATOR);
  CHECK(at->data[1] == CHANNEL_VERSION, UNSUPPORTED_CHANNEL_VERSION);
  *into = (channel *)at->data;
  return 0;
}

static const u8 CHANNEL_SEED[7] = {'c', 'h', 'a', 'n', 'n', 'e', 'l'};

#define CHANNEL_SEEDS 7  // and the bump, when the program signs

// The seeds of a channel's address: its parties, its mint, its salt and the slot it was opened for.
static void channel_seeds(const u8 *payer, const u8 *payee, const u8 *mint, const u8 *salt_and_slot[2],
                          bytes into[CHANNEL_SEEDS + 1]) {
  into[0] = (bytes){CHANNEL_SEED, sizeof(CHANNEL_SEED)};
  into[1] = (bytes){payer, 32};
  into[2] = (bytes){payee, 32};
  into[3] = (bytes){mint, 32};
  into[5] = (bytes){salt_and_slot[0], 8};
  into[6] = (bytes){salt_and_slot[1], 8};
}

// The seeds with which the program signs for a channel that stands. They point into the account.
static void signing_seeds(const channel *ch, bytes into[CHANNEL_SEEDS + 1]) {
  const u8 *numbers[2] = {(const u8 *)&ch->salt, (const u8 *)&ch->open_slot};
  channel_seeds(ch->payer, ch->payee, ch->mint, numbers, into);
  into[4] = (bytes){ch->authorized_signer, 32};
  into[7] = (bytes){&ch->bump, 1};
}

// The first slot at which the address may become free is the one after this.
static u64 last_slot_of_window(const channel *ch, u64 *slot) {
  CHECK(ch->open_slot <= ~0ULL - OPEN_SLOT_WINDOW, ARITHMETIC_OVERFLOW);
  *slot = ch->open_slot + OPEN_SLOT_WINDOW;
  return 0;
}

// Give every lamport to the rent payer and leave nothing behind: a rest would keep the address occupied for ever.
static u64 free_channel(account *at, account *rent_payer) {
  CHECK(rent_payer->lamports <= ~0ULL - at->lamports, RENT_PAYER_BALANCE_OVERFLOW);
  rent_payer->lamports += at->lamports;
  at->lamports = 0;
  at->data_len = 0;
  for (int word = 0; word < 32; word += 8) store64(at->owner + word, 0);
  return 0;
}
