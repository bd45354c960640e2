// Watches pages of the web, and tells what is new on them: the agent `monitor` of the host, in JavaScript.
//
// A user says what to watch. The model calls the tool `watch`, which reads the page and sets a timer. Whenever the timer is
// due, the agent reads the page again with the tool `WebFetch` of the host. Only where lines of the page have changed, the
// agent asks the model, which gets these lines from the tool `news` and reports them. Its state are the watches: a variable
// of this module.

import { chat } from "dormouse:agent/model@0.1.0";
import { getConfig } from "dormouse:agent/session@0.1.0";
import { cancel, set } from "dormouse:agent/timers@0.1.0";
import { call, list } from "dormouse:agent/tools@0.1.0";

/** How often the model is asked in one turn, at most. */
const ROUNDS = 50;
const SYSTEM = "You watch pages of the web for your user.";

/** By name: the `url` of a page, its `schedule`, what is `wanted`, and the `lines` that were there at the last look. */
const watches = new Map();

/** What the host calls, once a turn. */
export const handler = {
  handle(turn) {
    if (turn.sender.tag === "host") {
      throw new Failure("declined");
    }
    const watch = turn.sender.tag === "timer" ? watches.get(turn.sender.val) : undefined;
    const text = turn.content.filter((part) => part.tag === "text").map((part) => part.val).join("\n");
    // A schedule of the session's owner comes as a timer, too: it says something, as a user does.
    const said = watch === undefined ? answer(text) : look(turn.sender.val, watch);
    return { content: [{ tag: "text", val: said }], complete: false };
  },
};

/** What the model says to a user. It may change what is watched. */
function answer(text) {
  if (text.trim() === "") {
    throw new Failure("invalid", "say what to watch");
  }
  const watched = [...watches].map(([name, { url, schedule }]) => `\n- ${name}: ${url} (${schedule})`);
  return ask(text, `${SYSTEM} What you watch now:${watched.join("")}`, [WATCH, UNWATCH]);
}

/** The timer is due. A turn that fails leaves `lines` as they were, and so loses no news. */
function look(name, watch) {
  let lines;
  try {
    lines = read(watch.url);
  } catch (thrown) {
    // The next look may do better. Failed turns in a row would end the session.
    return `${name}: ${words(thrown)}`;
  }
  const news = changes(watch.lines, lines);
  if (news.length === 0) {
    return `${name}: nothing new`;
  }
  watch.lines = lines;
  const question =
    `There is something new on the page ${name}. Read it with the tool \`news\`, and report it. ${watch.wanted}`;
  return ask(question, SYSTEM, [{ ...NEWS, run: () => news.join("\n") }]);
}

const text = (description) => ({ type: "string", description });

const WATCH = tool(
  "watch",
  "Reads a page of the web now, and again by a schedule. Whenever its lines have changed, you are asked to report them.",
  {
    name: text("A short name for the page, such as `inbox`."),
    url: text("The address of the page."),
    schedule: text("Five fields of cron, in UTC: `*/10 * * * *` is every ten minutes."),
    wanted: text("What the user wants to know of what is new, in the words of the user."),
  },
  ["name", "url", "schedule"],
  ({ name, url, schedule, wanted = "" }) => {
    const lines = read(url);
    set(name, { tag: "each", val: schedule }, "look");
    watches.set(name, { url, schedule, wanted, lines });
    return `${name} is watched; lines for now: ${lines.length}`;
  },
);

const UNWATCH = tool("unwatch", "Watches a page no longer.", { name: { type: "string" } }, ["name"], ({ name }) => {
  if (!watches.delete(name)) {
    throw new Failure("invalid", `there is no watch \`${name}\``);
  }
  cancel(name);
  return `${name} is no longer watched`;
});

const NEWS = tool(
  "news",
  "Returns the lines that have come since the last look, each behind a +, and those that are gone, each behind a -.",
  {},
  [],
);

/** A tool of this agent: all its arguments are texts. `run` gets them, and returns what the model is told. */
function tool(name, description, properties, required, run) {
  return { name, description, schema: { type: "object", properties, required }, run };
}

/** What the model says, once it has used these tools, and those of the host, as it likes. */
function ask(question, system, own) {
  const names = own.map(({ name }) => name);
  const tools = own.map(({ name, description, schema }) => ({ name, description, schema: JSON.stringify(schema) }));
  tools.push(...list().filter(({ name }) => !names.includes(name)));
  const messages = [{ role: "user", content: [{ tag: "text", val: question }] }];
  for (let round = 0; round < ROUNDS; round += 1) {
    const { content, stop } = answered({
      model: configured("model") ?? "", // "" is the host's default
      system,
      messages,
      tools,
      toolChoice: { tag: "auto" },
      stop: [],
      format: { tag: "text" },
      forward: "text", // to the stream of the turn, as it comes
    });
    if (stop !== "tool-use" && stop !== "pause") {
      return content.filter((part) => part.tag === "text").map((part) => part.val).join("");
    }
    messages.push({ role: "assistant", content });
    const calls = content.filter((part) => part.tag === "tool-call");
    if (calls.length > 0) {
      messages.push({ role: "user", content: calls.map((part) => ({ tag: "tool-result", val: run(part.val, own) })) });
    }
  }
  throw new Failure("failed", `the model was not done after ${ROUNDS} answers`);
}

/** What the model answers. A failure of it is one of the turn. */
function answered(request) {
  try {
    return chat(request);
  } catch (thrown) {
    throw new Failure("failed", words(thrown));
  }
}

/** The result of a call that the model asks for. What goes wrong, the model is told: it can do better. */
function run({ id, name, arguments: json }, own) {
  try {
    const mine = own.find((tool) => tool.name === name);
    const content = mine === undefined ? used(name, json) : mine.run(checked(mine, json));
    return { call: id, content, isError: false };
  } catch (thrown) {
    return { call: id, content: words(thrown), isError: true };
  }
}

/** The arguments of a call, which nobody else checks. */
function checked({ schema }, json) {
  const given = JSON.parse(json);
  for (const name of Object.keys(schema.properties)) {
    const isThere = given[name] !== undefined || schema.required.includes(name);
    if (isThere && typeof given[name] !== "string") {
      throw new Failure("invalid", `the arguments are not as the schema says: \`${name}\` is no text`);
    }
  }
  return given;
}

/** What a tool of the host returns, as text. */
function used(name, json) {
  const { content, isError } = call(name, json);
  const lines = content.map(({ tag, val }) => (tag === "blob" ? `[${val.mediaType}, ${val.data.length} bytes]` : val));
  if (isError) {
    throw new Failure("failed", lines.join("\n"));
  }
  return lines.join("\n");
}

/** The lines of a page. A line about the page comes before it. */
function read(url) {
  let page;
  try {
    page = used("WebFetch", JSON.stringify({ url }));
  } catch (thrown) {
    throw new Failure("failed", words(thrown).split("\n")[0]);
  }
  const [, ...lines] = page.split("\n");
  return lines.map((line) => line.trim()).filter((line) => line !== "");
}

/** The lines that have come, each behind a `+`, and those that are gone, each behind a `-`. */
function changes(before, now) {
  const notIn = (lines, sign, others) => {
    const known = new Set(others);
    return lines.filter((line) => !known.has(line)).map((line) => `${sign} ${line}`);
  };
  return [...notIn(now, "+", before), ...notIn(before, "-", now)];
}

/** What the host, or this agent, has said as it failed: `not-allowed: …`. Any other exception goes on. */
function words(thrown) {
  if (thrown?.payload === undefined) {
    throw thrown;
  }
  const { tag, val } = thrown.payload;
  if (thrown instanceof Failure || val == null) {
    return val ?? tag;
  }
  return `${tag}: ${val.reason ?? val}`;
}

/** The text that the session is configured with under this key. */
function configured(key) {
  const value = getConfig(key);
  return value?.tag === "text" ? value.val : undefined;
}

/** What `handle` throws where it does not answer: a `failure` of the contract, as its payload. */
class Failure extends Error {
  constructor(tag, text) {
    super(text ?? tag);
    this.payload = { tag, val: text };
  }
}
