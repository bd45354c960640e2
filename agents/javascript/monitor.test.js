// Run with: node --import ./agents/javascript/testing/register.js --test agents/javascript/

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { answers, requests } from "dormouse:agent/model@0.1.0";
import { timers } from "dormouse:agent/timers@0.1.0";
import { calls, tools } from "dormouse:agent/tools@0.1.0";
import { handler } from "./monitor.js";

const INBOX = { name: "inbox", url: "http://a.example/", schedule: "*/10 * * * *", wanted: "Who?" };

/** The text that the agent answers. */
function send(sender, text) {
  const turn = { id: "turn", number: 1n, sender, content: [{ tag: "text", val: text }] };
  return handler.handle(turn).content[0].val;
}

const say = (text) => send({ tag: "user" }, text);
const look = () => send({ tag: "timer", val: "inbox" }, "look");

/** The page has these lines. */
const page = (...lines) => tools.set("WebFetch", () => ['{"status": 200}', ...lines].join("\n"));

/** What a model was told last. */
const told = () => requests.at(-1).messages.at(-1).content[0].val;

/** Watch the page as it is. */
function watch() {
  answers.push({ call: "watch", arguments: INBOX }, "I watch it.");
  assert.equal(say("Watch my inbox"), "I watch it.");
}

beforeEach(() => {
  // What the last test has watched.
  for (const name of timers.keys()) {
    answers.push({ call: "unwatch", arguments: { name } }, "ok");
    say("enough");
  }
  for (const list of [answers, requests, calls]) list.length = 0;
});

test("a page is read when it is watched, and a timer is set", () => {
  page("From Ann", "From Bob");
  // A tool of the host by a name of the agent's own is not offered.
  tools.set("watch", () => "somebody else watches");
  watch();
  tools.delete("watch");
  assert.equal(told().content, "inbox is watched; lines for now: 2");
  assert.deepEqual(calls, [{ name: "WebFetch", arguments: { url: INBOX.url } }]);
  const timer = { name: "inbox", when: { tag: "each", val: "*/10 * * * *" }, message: "look" };
  assert.deepEqual([...timers.values()], [timer]);
  assert.deepEqual(requests[0].tools.map(({ name }) => name), ["watch", "unwatch", "WebFetch"]);
});

test("no model is asked where nothing is new, and else it is told what is", () => {
  page("From Ann", "From Bob");
  watch();
  requests.length = 0;
  page("From Bob", "", " From Ann ");
  assert.equal(look(), "inbox: nothing new");
  assert.deepEqual(requests, []);
  page("From Bob", "From Eve");
  answers.push({ call: "news" }, "Eve has written.");
  assert.equal(look(), "Eve has written.");
  assert.deepEqual(told(), { call: "call_1", content: "+ From Eve\n- From Ann", isError: false });
  assert.match(requests[0].messages[0].content[0].val, /Who\?$/);
  assert.equal(look(), "inbox: nothing new");
});

test("a page that cannot be read is told, and fails no turn", () => {
  page("From Ann");
  watch();
  const text = '{"status": 404}\nNot found';
  tools.set("WebFetch", () => ({ content: [{ tag: "text", val: text }], isError: true }));
  assert.equal(look(), 'inbox: {"status": 404}');
  tools.delete("WebFetch");
  assert.equal(look(), "inbox: unknown");
});

test("what goes wrong in a tool, the model is told", () => {
  page("From Ann");
  for (const [asked, expected] of [
    [{ call: "watch", arguments: { ...INBOX, schedule: "often" } }, "invalid: a schedule has five fields"],
    [{ call: "watch", arguments: { name: "inbox" } }, "the arguments are not as the schema says: `url` is no text"],
    [{ call: "unwatch", arguments: { name: "inbox" } }, "there is no watch `inbox`"],
    [{ call: "Bash" }, "unknown"],
  ]) {
    answers.push(asked, "ok");
    say("do it");
    assert.deepEqual([told().content, told().isError], [expected, true]);
  }
  assert.equal(timers.size, 0);
  answers.push({ call: "WebFetch", arguments: { url: INBOX.url } }, "ok");
  say("read it yourself");
  assert.deepEqual([told().content, told().isError], ['{"status": 200}\nFrom Ann', false]);
});

test("a failure of the model is one of the turn, in its words", () => {
  answers.push({ tag: "budget-exceeded", val: "nothing is left" });
  assert.throws(() => say("hi"), (thrown) => thrown.payload.val === "budget-exceeded: nothing is left");
  assert.throws(() => say(" "), (thrown) => thrown.payload.tag === "invalid");
});
