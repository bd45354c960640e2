// Watch a host: what is there, and then each event as it happens.
//
//   node examples/javascript/monitor.mjs            until Ctrl-C
//   node examples/javascript/monitor.mjs 10         the first ten events

import { call, follow } from "./dormouse.mjs";

const most = Number(process.argv[2] ?? Infinity);

const { sessions, total } = await call("GET", "/api/sessions?pageSize=10");
console.log(`${total} sessions; the newest:`);
for (const { id, pattern, status, residency, numTurns, totalCost } of sessions) {
  console.log(`  ${id}  ${pattern}  ${status}, ${residency}  ${numTurns} turns  $${totalCost}`);
}

let shown = 0;
for await (const { id, data } of follow()) {
  console.log(`${id}  ${data.occurred_at}  ${data.event_type}  ${data.aggregate_id}`);
  shown += 1;
  if (shown >= most) break;
}
