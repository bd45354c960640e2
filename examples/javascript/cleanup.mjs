// Remove the sessions that are over and that nobody has used for a while.
//
//   node examples/javascript/cleanup.mjs            those that are older than a day
//   node examples/javascript/cleanup.mjs 0          all that are over

import { call } from "./dormouse.mjs";

const hours = Number(process.argv[2] ?? 24);
const before = Date.now() - hours * 60 * 60 * 1000;

let removed = 0;
for (const status of ["completed", "terminated"]) {
  let after = "";
  do {
    const page = await call("GET", `/api/sessions?status=${status}&pageSize=200&after=${after}`);
    for (const { id, lastActivityAt } of page.sessions) {
      if (Date.parse(lastActivityAt) > before) continue;
      await call("DELETE", `/api/sessions/${id}`);
      removed += 1;
    }
    after = page.next;
  } while (after);
}
console.log(`sessions removed: ${removed}`);
