// A bug fix: one job, with files, tools and a budget. The session completes with its answer, and is removed a minute later.
//
//   node examples/javascript/ephemeral.mjs

import { call, read, stream, write } from "./dormouse.mjs";

const { id } = await call("POST", "/api/sessions", {
  pattern: "ephemeral",
  agent: "assistant",
  config: {
    // The model that needs no key. Without this line, it is the default of the host.
    model: "offline",
    systemPrompt: "You mend bugs.",
    allowedTools: ["Read", "Grep", "Edit", "Write"],
    maxTurns: 10,
    maxBudgetUsd: 0.5,
  },
});

await write(id, {
  "src/mean.rs": `/// The mean of these values.
pub fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / (of.len() - 1) as f64
}
`,
});

const job = "Mend the function mean, and note it in CHANGES.md. The mean of 1, 2 and 3 is 2, and it says 3.";

// The model `offline` knows nothing of bugs: it follows a script. Any other model needs none.
const script = `#script
call Grep {"pattern": "fn mean"}
---
call Read {"file_path": "src/mean.rs"}
---
call Edit {"file_path": "src/mean.rs", "old_string": "(of.len() - 1)", "new_string": "of.len()"}
---
call Write {"file_path": "CHANGES.md", "content": "- mean: divide by how many values there are\\n"}
---
say A mean divides by how many values there are, not by one less.`;

for await (const piece of stream(id, `${job}\n${script}`)) process.stdout.write(piece);
console.log();
console.log(await read(id, "src/mean.rs"));

const { status, toolsUsed, totalCost, numCalls } = await call("GET", `/api/sessions/${id}`);
console.log(`it is ${status}; it asked the model ${numCalls} times, used ${toolsUsed}, and cost $${totalCost.toFixed(9)}`);

// One job was all that it was for.
try {
  for await (const piece of stream(id, "And now the tests")) process.stdout.write(piece);
} catch (error) {
  console.log(`and then: ${error.message}`);
}
