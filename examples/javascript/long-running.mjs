// An email monitor: a session that acts by its timer. It looks at an inbox each minute, and tells what is new.
//
//   node examples/javascript/long-running.mjs
//
// The inbox is a page that this program serves. That agents may read it, the host has to be told:
//
//   DORMOUSE_EGRESS='GET 127.0.0.1:*' DORMOUSE_EGRESS_PRIVATE=127.0.0.1 cargo run --release

import { createServer } from "node:http";
import { once } from "node:events";
import { call, ask, follow } from "./dormouse.mjs";

/** The inbox: a line for each mail. */
const mails = ["From Bob: lunch?"];
const inbox = createServer((_, response) => {
  response.writeHead(200, { "content-type": "text/plain" }).end(mails.join("\n"));
});
await once(inbox.listen(0, "127.0.0.1"), "listening");
const url = `http://127.0.0.1:${inbox.address().port}/`;

const { id } = await call("POST", "/api/sessions", {
  pattern: "long-running",
  agent: "monitor",
  egress: ["GET 127.0.0.1:*"],
  // The model that needs no key, and does what a message says literally. Without `model`, it is the default of the host.
  config: { model: "offline", allowedTools: ["WebFetch"], maxBudgetUsd: 5 },
});

console.log(await ask(id, `watch ${JSON.stringify({ name: "inbox", url, schedule: "* * * * *" })}`));
const { timers } = await call("GET", `/api/sessions/${id}/timers`);
if (timers.length > 0) {
  await monitor(timers[0]);
} else {
  console.log("Agents of this host may not read the inbox. Stop the host, start it like this, and run this again:");
  console.log("  DORMOUSE_EGRESS='GET 127.0.0.1:*' DORMOUSE_EGRESS_PRIVATE=127.0.0.1 cargo run --release");
  process.exitCode = 1;
}
await call("POST", `/api/sessions/${id}/terminate`, { reason: "seen" });
inbox.close();
inbox.closeAllConnections();

/** A mail comes while the session sleeps, and nobody tells the session. */
async function monitor({ dueAt }) {
  const { session } = await call("POST", `/api/sessions/${id}/sleep`);
  mails.push("From Ann: tea at four?");
  console.log(`it is ${session.residency}, a mail has come, and its timer is due at ${dueAt}`);
  for await (const { data } of follow(id)) {
    if (data.event_type !== "session.turn.completed" || data.payload.turn === 1) continue;
    const turn = await call("GET", `/api/sessions/${id}/turns/${data.payload.turn}`);
    console.log(`a turn of the ${turn.sender} ${turn.senderName}: ${turn.response.content}`);
    // Where the minute was over right before the mail came, the next look finds it.
    if (!turn.response.content.endsWith("nothing new")) return;
  }
}
