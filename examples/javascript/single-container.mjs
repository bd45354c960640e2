// Two players and a referee: a group of agents with one budget. The referee hands each its move, and they talk to each
// other by name.
//
//   node examples/javascript/single-container.mjs

import { call, ask } from "./dormouse.mjs";

const { id } = await call("POST", "/api/sessions", {
  pattern: "single-container",
  agent: "assistant",
  maxBudgetUsd: 2,
  config: {
    // The model that needs no key, and does what a message says literally. Without `model`, it is the default of the host.
    model: "offline",
    systemPrompt: "You are the referee of a game of chess.",
    allowedTools: ["Task"],
    customAgents: {
      ann: { systemPrompt: "You play white.", description: "plays white" },
      bob: { systemPrompt: "You play black.", description: "plays black" },
    },
  },
});

// The model `offline` knows nothing of chess: it follows a script, and what it hands on has scripts, too. Any other model
// needs none: "Let Ann and Bob play, one move each, and say how it ends."
const task = (agent, prompt) => `call Task ${JSON.stringify({ agent, prompt })}`;
const draw = task("ann", "Bob offers a draw.\n#script\nsay Agreed.");
const game = [
  "Let Ann and Bob play.",
  "#script",
  task("ann", "Your move.\n#script\nsay e4"),
  "---",
  // Bob asks Ann himself.
  task("bob", `Ann has played e4. Your move.\n#script\n${draw}\n---\nsay e5, and Ann agrees to a draw.`),
  "---",
  "say After e4 e5 it is a draw.",
].join("\n");
console.log(await ask(id, game));

const { members } = await call("GET", `/api/sessions/${id}/members`);
for (const { id: member, group, numTurns } of members) {
  console.log(`${group.name} had ${numTurns} turns:`);
  const { turns } = await call("GET", `/api/sessions/${member}/turns`);
  for (const { senderName, response } of turns) console.log(`  asked by ${senderName}: ${response.content}`);
}

const { toolsUsed } = await call("GET", `/api/sessions/${id}`);
const { reason } = await call("POST", `/api/sessions/${id}/terminate`, { reason: "draw" });
console.log(`the referee used ${toolsUsed}, and it is over for all: ${reason}`);
