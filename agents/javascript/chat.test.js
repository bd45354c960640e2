// Run with: node --import ./agents/javascript/testing/register.js --test agents/javascript/

import assert from "node:assert/strict";
import { test } from "node:test";

import { answers, requests } from "dormouse:agent/model@0.1.0";
import { session } from "dormouse:agent/session@0.1.0";
import { handler } from "./chat.js";

/** The texts that the agent answers to this one. */
function say(text) {
  const turn = { id: "turn", number: 1n, sender: { tag: "user" }, content: [{ tag: "text", val: text }] };
  return handler.handle(turn).content.map((part) => part.val);
}

test("the model is asked with all that was said before", () => {
  session.config = { model: { tag: "text", val: "m-1" } };
  answers.push("one", "two", "three");
  assert.deepEqual(say("first"), ["one"]);
  assert.deepEqual(say("second\nthird"), ["two", "three"]);
  const { model, messages } = requests.at(-1);
  assert.equal(model, "m-1");
  assert.deepEqual(messages.map((message) => message.content[0].val), ["first", "one", "second", "two", "third"]);
});

test("a failure of the model is one of the turn, in its words", () => {
  answers.push({ tag: "budget-exceeded", val: "nothing is left" });
  assert.throws(() => say("hi"), (thrown) => thrown.payload.val === "budget-exceeded: nothing is left");
});
