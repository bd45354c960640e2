// One answer to one message: the session completes with it, and is removed a minute later.
//
//   node examples/javascript/ephemeral.mjs

import { call, ask } from "./dormouse.mjs";

const { id } = await call("POST", "/api/sessions", { pattern: "ephemeral", agent: "counter" });
console.log(await ask(id, "summarize this"));

const { status, totalFuel } = await call("GET", `/api/sessions/${id}`);
console.log(`it is ${status}, and used ${totalFuel > 0 ? "some" : "no"} fuel`);
