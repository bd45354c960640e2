// Run with: node --import ./agents/javascript/testing/register.js --test agents/javascript/

import assert from "node:assert/strict";
import { test } from "node:test";

import { lines } from "dormouse:agent/log@0.1.0";
import { handler } from "./notepad.js";

/** The text that the agent answers to this one. */
function say(text) {
  const turn = { id: "turn", number: 1n, sender: { tag: "user" }, content: [{ tag: "text", val: text }] };
  return handler.handle(turn).content[0].val;
}

test("a note is kept, logged and listed", () => {
  assert.equal(say("add buy milk"), "noted as 1");
  assert.deepEqual(lines.at(-1), { level: "info", message: "noted", fields: [["number", "1"]] });
  assert.equal(say("list"), "1. buy milk");
});

test("a message that makes no sense is a failure of the contract", () => {
  assert.throws(() => say("remove 7"), (thrown) => thrown.payload.tag === "invalid");
});
