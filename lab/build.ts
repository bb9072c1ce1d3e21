/** `npm run lab:build`: makes the guest, unless it is there. */

import { buildGuest, guestFolder, isGuestBuilt, whatIsMissing } from './guest-image.js';

const missing = whatIsMissing();
if (missing !== null) {
  console.error(missing);
  process.exit(1);
}
if (isGuestBuilt()) console.log('the guest is there already');
await buildGuest();
console.log(guestFolder());
