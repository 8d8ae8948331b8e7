// Events, sent as calls of the program to itself so that no log limit can swallow them (ADR-003, "Events").

#define EVENT_TAG 0x1d9acb512ea545e4ULL           // the first 8 bytes of sha256("anchor:event")
#define OPENED_EVENT 0x6dbd4c4d0961aca6ULL        // of sha256("event:Opened")
#define REDIRECTED_EVENT 0x5054a754d7b916d1ULL    // of sha256("event:PayoutRedirected")
#define EVENT_HEAD 16

static const u8 EVENT_AUTHORITY_SEED[15] = {'e', 'v', 'e', 'n', 't', '_', 'a', 'u', 't', 'h', 'o', 'r', 'i', 't', 'y'};

static void event_head(u8 *data, u64 kind) {
  store64(data, EVENT_TAG);
  store64(data + 8, kind);
}

static u64 emit(const call *c, account *authority, bytes data) {
  CHECK(same32(authority->key, EVENT_AUTHORITY), INVALID_EVENT_AUTHORITY);
  const u8 bump = EVENT_AUTHORITY_BUMP;
  const bytes parts[2] = {{EVENT_AUTHORITY_SEED, sizeof(EVENT_AUTHORITY_SEED)}, {&bump, 1}};
  const seeds signer = {parts, 2};
  outgoing out;
  out.count = 0;
  add(&out, authority, SIGNS);
  return invoke(&out, c->id, data, &signer);
}

// emitEvent: what the program calls. Its data is the event; nothing happens but that it stands in the transaction.
static u64 emit_event(const call *c) {
  CHECK(c->count == 1, TOO_FEW_ACCOUNTS);
  CHECK(c->accounts[0]->signer, MISSING_REQUIRED_SIGNATURE);
  CHECK(same32(c->accounts[0]->key, EVENT_AUTHORITY), INVALID_EVENT_AUTHORITY);
  return 0;
}
