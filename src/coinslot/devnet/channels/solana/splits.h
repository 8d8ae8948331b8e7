// Who gets how much of what is settled: the splits that `open` commits to and `distribute` reveals (ADR-001, "Splits
// Preimage Canonicalization").

#define MAX_RECIPIENTS 32
#define ENTRY_LEN 34
#define WHOLE_BPS 10000

typedef struct { const u8 *entries; u32 count; u32 payee_bps; bytes preimage; } splits;

static const u8 *recipient_at(const splits *s, u32 index) { return s->entries + index * ENTRY_LEN; }
static u32 bps_at(const splits *s, u32 index) { return load16(recipient_at(s, index) + 32); }

static u64 read_splits(const u8 *at, u64 length, splits *into) {
  CHECK(length >= 4, INVALID_INSTRUCTION_DATA);
  into->count = load32(at);
  CHECK(into->count <= MAX_RECIPIENTS, INVALID_RECIPIENT_COUNT);
  CHECK(length == 4 + (u64)into->count * ENTRY_LEN, INVALID_INSTRUCTION_DATA);
  into->entries = at + 4;
  into->preimage = (bytes){at, length};
  u32 total = 0;
  for (u32 index = 0; index < into->count; index++) {
    CHECK(bps_at(into, index) != 0, INVALID_SPLIT_CONFIG);
    total += bps_at(into, index);  // at most 32 times 65,535
    for (u32 before = 0; before < index; before++)
      CHECK(!same32(recipient_at(into, before), recipient_at(into, index)), DUPLICATE_RECIPIENT);
  }
  CHECK(total <= WHOLE_BPS, INVALID_SPLIT_CONFIG);
  into->payee_bps = WHOLE_BPS - total;
  return 0;
}

static void hash_splits(const splits *s, u8 digest[32]) { sol_sha256(&s->preimage, 1, digest); }

// units * bps / 10000, rounded down, in two parts so that no product leaves 64 bits.
static u64 share_of(u64 units, u64 bps) {
  return units / WHOLE_BPS * bps + units % WHOLE_BPS * bps / WHOLE_BPS;
}

// What a share still has to get. Shares are rounded on the running total, so what one pays out too little the next
// makes good.
static u64 due(const channel *ch, u64 bps) { return share_of(ch->settled, bps) - share_of(ch->paid_out, bps); }
