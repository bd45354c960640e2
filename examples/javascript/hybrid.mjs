// A conversation that one leaves and comes back to: the session sleeps meanwhile, and takes no memory.
//
//   node examples/javascript/hybrid.mjs

import { call, ask } from "./dormouse.mjs";

const { id } = await call("POST", "/api/sessions", { pattern: "hybrid", agent: "notepad" });
console.log(await ask(id, "add buy milk"));

// It sleeps by itself after `sleepAfterMs`. Here it is told to.
const { session } = await call("POST", `/api/sessions/${id}/sleep`);
console.log(`it is ${session.residency}`);

// The next message wakes it where it was.
console.log(await ask(id, "list"));
