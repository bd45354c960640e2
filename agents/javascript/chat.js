// Talks with a language model. Its state is the conversation: a variable of this module.

import { chat } from "dormouse:agent/model@0.1.0";
import { getConfig } from "dormouse:agent/session@0.1.0";

/** The conversation, the oldest message first. */
const messages = [];

/** What the host calls, once a turn. */
export const handler = {
  handle(turn) {
    if (turn.sender.tag === "host") {
      throw { payload: { tag: "declined" } };
    }
    const text = turn.content.filter((part) => part.tag === "text").map((part) => part.val).join("\n");
    // Each line is a question of its own.
    const questions = text.split("\n").filter((line) => line.trim() !== "");
    if (questions.length === 0) {
      throw { payload: { tag: "invalid", val: "ask something" } };
    }
    return { content: questions.map((question) => ({ tag: "text", val: ask(question) })), complete: false };
  },
};

/** What the model says to the question, which it gets with all that was said before. */
function ask(question) {
  messages.push({ role: "user", content: [{ tag: "text", val: question }] });
  const answer = answered({
    model: configured("model") ?? "", // "" is the host's default
    system: configured("systemPrompt"),
    messages,
    tools: [],
    toolChoice: { tag: "auto" },
    stop: [],
    format: { tag: "text" },
    forward: "text", // to the stream of the turn, as it comes
  });
  if (answer.content.length > 0) {
    messages.push({ role: "assistant", content: answer.content });
  }
  return answer.content.filter((part) => part.tag === "text").map((part) => part.val).join("");
}

/** What the model answers. A failure of it is one of the turn, which takes back what the turn did to `messages`. */
function answered(request) {
  try {
    return chat(request);
  } catch (thrown) {
    if (thrown?.payload === undefined) {
      throw thrown;
    }
    const { tag, val } = thrown.payload; // such as {tag: "budget-exceeded", val: "…"}
    throw { payload: { tag: "failed", val: val == null ? tag : `${tag}: ${val}` } };
  }
}

/** The text that the session is configured with under this key. */
function configured(key) {
  const value = getConfig(key);
  return value?.tag === "text" ? value.val : undefined;
}
