// A project manager: a todo list over days. Between messages the session sleeps, and takes no memory.
//
//   node examples/javascript/hybrid.mjs

import { call, ask } from "./dormouse.mjs";

const { id } = await call("POST", "/api/sessions", {
  pattern: "hybrid",
  agent: "assistant",
  // The model that needs no key, and does what a message says literally. Without `model`, it is the default of the host.
  config: { model: "offline", systemPrompt: "You manage a project.", allowedTools: ["TodoWrite"] },
});

/** A todo list, as the tool of the agent takes it. */
function list(...done) {
  const todos = ["Write the text", "Draw the picture", "Send it out"].map((content) => ({
    content,
    status: done.includes(content) ? "completed" : "pending",
  }));
  return JSON.stringify({ todos });
}

/** The day ends. The session sleeps by itself, `sleepAfterMs` after its last turn; here it is told to. */
async function night() {
  const { session } = await call("POST", `/api/sessions/${id}/sleep`);
  console.log(`it is ${session.residency}; its list:`);
  // The list stands in the checkpoint: to read it wakes nobody.
  const { checkpoint } = await call("GET", `/api/sessions/${id}`);
  for (const { content, status } of checkpoint.todos) {
    console.log(`  [${status === "completed" ? "x" : " "}] ${content}`);
  }
}

console.log(await ask(id, "remember that we launch on Friday"));
console.log(await ask(id, `Plan the launch with TodoWrite: ${list()}`));
await night();

// The next message wakes it where it was.
console.log(await ask(id, `The text is there. Say so with TodoWrite: ${list("Write the text")}`));
await night();

console.log(await ask(id, "what do you remember"));
