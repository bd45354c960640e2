// Several members that share one session: each sees what the others have done.
//
//   node examples/javascript/single-container.mjs

import { call, ask } from "./dormouse.mjs";

const { id } = await call("POST", "/api/sessions", {
  pattern: "single-container",
  agent: "notepad",
  tags: ["team"],
});

// Messages of members are answered one after the other, in the order in which they come.
const members = ["planner: draw the plan", "builder: build the house", "painter: paint it"];
for (const answer of await Promise.all(members.map((task) => ask(id, `add ${task}`)))) {
  console.log(answer);
}
console.log(await ask(id, "list"));

const { reason } = await call("POST", `/api/sessions/${id}/terminate`, { reason: "built" });
console.log(`it is over: ${reason}`);
