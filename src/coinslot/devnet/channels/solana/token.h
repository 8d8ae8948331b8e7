// Mints and token accounts of both token programs, and which of them this program touches (ADR-001, "Token Program
// Support"). Everything is looked at again in every instruction that moves tokens.

#define MINT_LEN 82
#define TOKEN_ACCOUNT_LEN 165
#define MULTISIG_LEN 355  // a Token-2022 account of this length is a multisig, whatever its bytes say
#define KIND_AT 165       // Token-2022: what kind of account precedes the extensions, for mints at the same place
#define EXTENSIONS_AT 166
#define KIND_MINT 1
#define KIND_ACCOUNT 2

#define MINT_DECIMALS_AT 44
#define ACCOUNT_OWNER_AT 32
#define ACCOUNT_AMOUNT_AT 64
#define ACCOUNT_STATE_AT 108
#define STATE_INITIALIZED 1

#define NO_MORE_EXTENSIONS 0
#define IMMUTABLE_OWNER 7
// MetadataPointer, TokenMetadata, GroupPointer, TokenGroup, GroupMemberPointer, TokenGroupMember: none of them changes
// what a transfer does.
#define FIRST_MINT_EXTENSION 18
#define LAST_MINT_EXTENSION 23

typedef struct { account *mint; account *program; u8 decimals; u8 is_2022; } token;

// What is the matter with a token account.
typedef enum {
  FINE,
  ANOTHER_ACCOUNT,
  UNREADABLE,
  NOT_INITIALIZED,  // frozen, for one
  ANOTHER_OWNER,
  BAD_EXTENSION,
  BROKEN_EXTENSIONS,
} matter;

// Walk the extensions behind a Token-2022 account. Only a type between `first` and `last` may be there.
static matter walk_extensions(const account *of, u16 first, u16 last) {
  const u8 *at = of->data + EXTENSIONS_AT;
  u64 left = of->data_len - EXTENSIONS_AT;
  while (left >= 2) {
    u16 kind = load16(at);
    if (kind == NO_MORE_EXTENSIONS) return FINE;
    if (left < 4) return BROKEN_EXTENSIONS;
    // a type nobody knows here is refused for what it is, before its length is believed
    if (kind != IMMUTABLE_OWNER && (kind < FIRST_MINT_EXTENSION || kind > LAST_MINT_EXTENSION)) return BAD_EXTENSION;
    u64 length = 4 + (u64)load16(at + 2);
    if (length > left) return BROKEN_EXTENSIONS;
    if (kind < first || kind > last) return BAD_EXTENSION;
    at += length;
    left -= length;
  }
  return left == 1 && *at != 0 ? BROKEN_EXTENSIONS : FINE;
}

// Whether the bytes are those of `kind`, which without extensions is `base_len` long.
static int is_readable(const token *t, const account *at, u64 base_len, u8 kind) {
  if (!same32(at->owner, t->program->key)) return 0;
  if (at->data_len == base_len) return 1;
  return t->is_2022 && at->data_len > KIND_AT && at->data_len != MULTISIG_LEN && at->data[KIND_AT] == kind;
}

// Accept a token program and a mint of it.
static u64 read_token(account *mint, account *program, token *into) {
  into->mint = mint;
  into->program = program;
  into->is_2022 = same32(program->key, TOKEN_2022);
  CHECK(into->is_2022 || same32(program->key, SPL_TOKEN), INVALID_MINT_TOKEN_PROGRAM);
  CHECK(is_readable(into, mint, MINT_LEN, KIND_MINT), MINT_ACCOUNT_MISMATCH);
  into->decimals = mint->data[MINT_DECIMALS_AT];
  if (mint->data_len == MINT_LEN) return 0;
  // between a mint and its extensions nothing may stand, else a mint could pass for a token account
  for (u64 at = MINT_LEN; at < KIND_AT; at++) CHECK(mint->data[at] == 0, MALFORMED_MINT_DATA);
  CHECK(walk_extensions(mint, FIRST_MINT_EXTENSION, LAST_MINT_EXTENSION) == FINE, MALFORMED_MINT_EXTENSIONS);
  return 0;
}

// Whether `at` is the address of the associated token account of `owner`.
static int is_associated(const token *t, const account *at, const u8 *owner) {
  const bytes of[3] = {{owner, 32}, {t->program->key, 32}, {t->mint->key, 32}};
  u8 address[32];
  u8 bump;
  return derive(of, 3, ASSOCIATED_TOKEN, address, &bump) == 0 && same32(at->key, address);
}

// Look at what should be the associated token account of `owner`.
static matter look_at(const token *t, const account *at, const u8 *owner) {
  if (!is_associated(t, at, owner)) return ANOTHER_ACCOUNT;
  if (!is_readable(t, at, TOKEN_ACCOUNT_LEN, KIND_ACCOUNT)) return UNREADABLE;
  if (at->data[ACCOUNT_STATE_AT] != STATE_INITIALIZED) return NOT_INITIALIZED;
  if (!same32(at->data, t->mint->key) || !same32(at->data + ACCOUNT_OWNER_AT, owner)) return ANOTHER_OWNER;
  if (at->data_len == TOKEN_ACCOUNT_LEN) return FINE;
  return walk_extensions(at, IMMUTABLE_OWNER, IMMUTABLE_OWNER);
}

// The refusal for a matter, out of the three of a role.
static u64 refusal_of(matter found, u64 refusals) {
  switch (found) {
    case FINE: return 0;
    case UNREADABLE: return refusals + 1;
    case BAD_EXTENSION:
    case BROKEN_EXTENSIONS: return refusals + 2;
    default: return refusals;
  }
}

// Take an account for the associated token account of `owner`, or refuse with one of the role's three.
static u64 require(const token *t, const account *at, const u8 *owner, u64 refusals) {
  return refusal_of(look_at(t, at, owner), refusals);
}

#define TRANSFER_CHECKED 12
#define CLOSE_ACCOUNT 9

// Move `units` of the token. `signer` is who signs inside this program, or nothing for a signature of the transaction.
typedef struct { account *from; account *to; account *authority; const seeds *signer; } transfer;

static u64 move_token(const token *t, const transfer *what, u64 units) {
  outgoing out;
  out.count = 0;
  add(&out, what->from, WRITES);
  add(&out, t->mint, READS);
  add(&out, what->to, WRITES);
  add(&out, what->authority, SIGNS);
  u8 data[10];
  data[0] = TRANSFER_CHECKED;
  store64(data + 1, units);
  data[9] = t->decimals;
  return invoke(&out, t->program->key, (bytes){data, sizeof(data)}, what->signer);
}

// Close an empty token account; its lamports go to `what->to`.
static u64 close_token_account(const token *t, const transfer *what) {
  outgoing out;
  out.count = 0;
  add(&out, what->from, WRITES);
  add(&out, what->to, WRITES);
  add(&out, what->authority, SIGNS);
  u8 data[1] = {CLOSE_ACCOUNT};
  return invoke(&out, t->program->key, (bytes){data, sizeof(data)}, what->signer);
}
