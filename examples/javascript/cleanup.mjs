// Remove the sessions that are over and that nobody has used for a while.
//
//   node examples/javascript/cleanup.mjs            those that are older than a day
//   node examples/javascript/cleanup.mjs 0          all that are over

import { call } from "./dormouse.mjs";

const hours = Number(process.argv[2] ?? 24);

let removed = 0;
let found;
do {
  // One call removes up to 500, and says whether there are more.
  found = await call("POST", "/api/sessions/cleanup", { olderThanMs: hours * 60 * 60 * 1000 });
  removed += found.count;
} while (found.more && found.count > 0);
console.log(`sessions removed: ${removed}`);
