// A payment channel on this chain: a payer's deposit in escrow, out of which vouchers pay.
//
// An independent test implementation, for local chains, of the published interface of the Solana payment-channels
// program: https://github.com/solana-foundation/payment-channels, docs/001 and docs/003, and draft-solana-session-00.
// It is not the audited program, and nothing here was taken from it. Compile it with
// `python -m coinslot.devnet.channels.solana.build`. It is one unit, so that the linker has little to do.

#include "sdk.h"
#include "codes.h"
#include "addresses.h"
#include "channel.h"
#include "token.h"
#include "splits.h"
#include "voucher.h"
#include "event.h"
#include "open.h"
#include "settle.h"
#include "closing.h"
#include "payer.h"
#include "distribute.h"

u64 entrypoint(u8 *input) {
  call c;
  TRY(read_call(input, &c));
  switch (c.data[-1]) {
    case 1: return open(&c);
    case 2: return settle(&c);
    case 3: return top_up(&c);
    case 4: return settle_and_seal(&c);
    case 5: return request_close(&c);
    case 6: return seal(&c);
    case 7: return distribute(&c);
    case 8: return withdraw_payer(&c);
    case 9: return reclaim(&c);
    case 228: return emit_event(&c);
    default: return INVALID_INSTRUCTION_DATA;
  }
}
