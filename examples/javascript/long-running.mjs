// A session that hears from its client all the time, within limits. Its answers are streamed.
//
//   node examples/javascript/long-running.mjs

import { call, stream } from "./dormouse.mjs";

const { id } = await call("POST", "/api/sessions", {
  pattern: "long-running",
  agent: "assistant",
  config: { maxTurns: 3, maxIdleTimeMs: 600_000, systemPrompt: "Be brief." },
});

for (const prompt of ["my name is Ada", "remember that tea is at four", "what is my name"]) {
  console.log(`> ${prompt}`);
  for await (const piece of stream(id, prompt)) process.stdout.write(piece);
  console.log();
}

// Three turns are all that it has: the host ends the session, and says why.
try {
  for await (const piece of stream(id, "one more")) process.stdout.write(piece);
} catch (error) {
  console.log(`and then: ${error.message}`);
}
