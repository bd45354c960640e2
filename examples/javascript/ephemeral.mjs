// A bug fix: one job, with a tool and a budget. The session completes with its answer, and is removed a minute later.
//
//   node examples/javascript/ephemeral.mjs

import { call, stream } from "./dormouse.mjs";

const { id } = await call("POST", "/api/sessions", {
  pattern: "ephemeral",
  agent: "assistant",
  config: {
    // The model that needs no key. Without this line, it is the default of the host.
    model: "offline",
    systemPrompt: "You mend bugs.",
    allowedTools: ["TodoWrite"],
    maxTurns: 10,
    maxBudgetUsd: 0.5,
  },
});

const job = `Mend this function. The mean of 1, 2 and 3 is 2, and it says 3.

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / (of.len() - 1) as f64
}`;

// The model `offline` knows nothing of bugs: it follows a script. Any other model needs none.
const script = `#script
call TodoWrite {"todos": [{"content": "Find the bug", "status": "in_progress"}, {"content": "Mend it", "status": "pending"}]}
---
call TodoWrite {"todos": [{"content": "Find the bug", "status": "completed"}, {"content": "Mend it", "status": "completed"}]}
---
say A mean divides by how many values there are, not by one less:
say of.iter().sum::<f64>() / of.len() as f64`;

for await (const piece of stream(id, `${job}\n${script}`)) process.stdout.write(piece);
console.log();

const { status, toolsUsed, totalCost, numCalls } = await call("GET", `/api/sessions/${id}`);
console.log(`it is ${status}; it asked the model ${numCalls} times, used ${toolsUsed}, and cost $${totalCost.toFixed(9)}`);

// One job was all that it was for.
try {
  for await (const piece of stream(id, "And now the tests")) process.stdout.write(piece);
} catch (error) {
  console.log(`and then: ${error.message}`);
}
