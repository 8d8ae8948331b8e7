// What a program of this chain can see and ask: its input, the syscalls it uses, and how it calls another program.
//
// An independent test implementation of the published interface of the Solana payment-channels program, not the
// audited program. See docs/methods/solana-channel-program.md.
//
// Rules of the target (sBPF, first version): at most five arguments, no writable globals, 4 KiB of stack for each
// function, no library. Loads and stores need no alignment here.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define CHECK(condition, code) do { if (!(condition)) return (code); } while (0)
#define TRY(step) do { u64 refusal_ = (step); if (refusal_) return refusal_; } while (0)

// Refusals that the chain itself knows: the number of the kind, shifted over the program's own 32 bits.
#define BUILTIN(kind) ((u64)(kind) << 32)
#define INVALID_ARGUMENT BUILTIN(2)
#define INVALID_INSTRUCTION_DATA BUILTIN(3)
#define INVALID_ACCOUNT_DATA BUILTIN(4)
#define NOT_ENOUGH_ACCOUNT_KEYS BUILTIN(11)
#define UNSUPPORTED_SYSVAR BUILTIN(17)
#define INVALID_ACCOUNT_OWNER BUILTIN(23)
#define ARITHMETIC_OVERFLOW BUILTIN(24)

static u64 load64(const u8 *at) { return *(const u64 *)at; }
static u32 load32(const u8 *at) { return *(const u32 *)at; }
static u16 load16(const u8 *at) { return *(const u16 *)at; }
static void store64(u8 *at, u64 value) { *(u64 *)at = value; }
static void store32(u8 *at, u32 value) { *(u32 *)at = value; }

static void copy32(u8 *to, const u8 *from) {
  for (int at = 0; at < 32; at += 8) store64(to + at, load64(from + at));
}

static int same32(const u8 *one, const u8 *other) {
  return load64(one) == load64(other) && load64(one + 8) == load64(other + 8) &&
         load64(one + 16) == load64(other + 16) && load64(one + 24) == load64(other + 24);
}

// An account as the loader lays it out in the input. Everything points into the input: what the chain or a called
// program changes is seen here at once.
typedef struct {
  u8 marker;  // 0xff, or the index of the account that this one repeats
  u8 signer;
  u8 writable;
  u8 executable;
  u8 spare[4];
  u8 key[32];
  u8 owner[32];
  u64 lamports;
  u64 data_len;
  u8 data[];
} account;

#define FIRST_OF_ITS_KEY 0xff
#define GROWTH_ROOM 10240  // bytes that the loader leaves behind every account
// 11 fixed accounts and 32 recipients are the most that any instruction takes; one more shows that there were more.
#define MAX_ACCOUNTS 44

// One call of this program: its accounts, its data without the first byte, its own id.
typedef struct {
  u64 count;
  account *accounts[MAX_ACCOUNTS];
  const u8 *data;
  u64 data_len;
  const u8 *id;
} call;

static u64 read_call(u8 *input, call *into) {
  u64 total = load64(input);
  u8 *at = input + 8;
  for (u64 index = 0; index < total; index++) {
    account *here = (account *)at;
    if (here->marker == FIRST_OF_ITS_KEY) {
      at += sizeof(account) + here->data_len + GROWTH_ROOM;
      at = (u8 *)(((u64)at + 7) & ~7ULL) + 8;  // 8: the rent epoch, which nobody uses any more
    } else {
      // beyond the table no account is looked at, so what a repetition repeats does not matter
      here = here->marker < MAX_ACCOUNTS ? into->accounts[here->marker] : here;
      at += 8;
    }
    if (index < MAX_ACCOUNTS) into->accounts[index] = here;
  }
  into->count = total;
  u64 length = load64(at);
  CHECK(length > 0, INVALID_INSTRUCTION_DATA);
  into->data = at + 9;
  into->data_len = length - 1;
  into->id = at + 8 + length;
  return 0;
}

typedef struct { const u8 *at; u64 length; } bytes;
typedef struct { const bytes *at; u64 length; } seeds;
typedef struct { const u8 *key; u8 writable; u8 signer; } meta;
typedef struct { const u8 *program; const meta *metas; u64 meta_count; const u8 *data; u64 data_len; } instruction;
typedef struct {
  const u8 *key;
  u64 *lamports;
  u64 data_len;
  u8 *data;
  const u8 *owner;
  u64 rent_epoch;
  u8 signer, writable, executable;
} account_info;
typedef struct { u64 slot; i64 epoch_started_at; u64 epoch; u64 leader_epoch; i64 now_s; } clock;

extern u64 sol_invoke_signed_c(const instruction *what, const account_info *infos, u64 count, const seeds *signers,
                               u64 signer_count);
extern u64 sol_try_find_program_address(const bytes *of, u64 count, const u8 *program, u8 *address, u8 *bump);
extern u64 sol_curve_validate_point(u64 curve, const u8 *point, u8 *unused);
extern u64 sol_sha256(const bytes *parts, u64 count, u8 *digest);
extern u64 sol_get_clock_sysvar(clock *into);

#define EDWARDS 0  // the curve of Ed25519, as sol_curve_validate_point counts curves

// Find the address that `program` alone can sign for.
static u64 derive(const bytes *of, u64 count, const u8 *program, u8 *address, u8 *bump) {
  return sol_try_find_program_address(of, count, program, address, bump);
}

// A call to another program in the making. No instruction that this program calls takes more than six accounts.
#define MAX_CALLED_ACCOUNTS 6

typedef struct {
  meta metas[MAX_CALLED_ACCOUNTS];
  account_info infos[MAX_CALLED_ACCOUNTS];
  u64 count;
} outgoing;

#define READS 0
#define WRITES 1
#define SIGNS 2

static void add(outgoing *out, account *who, u8 rights) {
  meta *m = &out->metas[out->count];
  m->key = who->key;
  m->writable = rights & WRITES ? 1 : 0;
  m->signer = rights & SIGNS ? 1 : 0;
  account_info *info = &out->infos[out->count++];
  info->key = who->key;
  info->lamports = &who->lamports;
  info->data_len = who->data_len;
  info->data = who->data;
  info->owner = who->owner;
  info->rent_epoch = 0;
  info->signer = who->signer;
  info->writable = who->writable;
  info->executable = who->executable;
}

// Call `program`. `signer` is the seeds that this program signs with, or nothing.
static u64 invoke(const outgoing *out, const u8 *program, bytes data, const seeds *signer) {
  instruction what = {program, out->metas, out->count, data.at, data.length};
  return sol_invoke_signed_c(&what, out->infos, out->count, signer, signer ? 1 : 0);
}
