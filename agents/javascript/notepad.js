// Keeps a list of notes. Its state are the variables of this module: nothing saves them but the host.

import { log } from "dormouse:agent/log@0.1.0";

const HELP = "add TEXT, list, find TEXT, remove N, count, when N, pick, load JSON";

/** The notes, each with its text and when it was noted. */
let notes = [];

const commands = new Map([
  ["add", add],
  ["list", () => listed(() => true)],
  ["find", (words) => listed((note) => note.text.toLowerCase().includes(words.toLowerCase()))],
  ["remove", (number) => `removed: ${notes.splice(place(number), 1)[0].text}`],
  ["count", () => `${notes.length} in the list`],
  ["when", (number) => notes[place(number)].at.toISOString()],
  ["pick", pick],
  ["load", load],
]);

/** What the host calls, once a turn. */
export const handler = {
  handle(turn) {
    if (turn.sender.tag === "host") {
      throw new Failure("declined");
    }
    const text = turn.content.filter((part) => part.tag === "text").map((part) => part.val).join("\n");
    const [, verb, rest] = text.trim().match(/^(\S*)\s*(.*)$/s);
    const command = commands.get(verb.toLowerCase());
    const answer = command ? command(rest) : `I keep notes. I understand: ${HELP}.`;
    return { content: [{ tag: "text", val: answer }], complete: false };
  },
};

function add(text) {
  if (text === "") {
    throw new Failure("invalid", "a note has a text: `add TEXT`");
  }
  notes.push({ text, at: new Date() });
  log("info", "noted", [["number", String(notes.length)]]);
  return `noted as ${notes.length}`;
}

function listed(wanted) {
  const lines = notes.flatMap((note, index) => (wanted(note) ? [`${index + 1}. ${note.text}`] : []));
  return lines.length > 0 ? lines.join("\n") : "no notes";
}

function pick() {
  const index = Math.floor(Math.random() * notes.length);
  return notes.length > 0 ? notes[index].text : "no notes";
}

/** Replace all notes. What is no list of strings is an exception, and nobody catches it. */
function load(json) {
  const at = new Date();
  notes = JSON.parse(json).map((text) => ({ text: text.trim(), at }));
  return `${notes.length} in the list`;
}

/** The place of the note with this number. */
function place(number) {
  if (!/^\d+$/.test(number) || !(Number(number) - 1 in notes)) {
    throw new Failure("invalid", `there is no note \`${number}\``);
  }
  return Number(number) - 1;
}

/** What `handle` throws where it does not answer: a `failure` of the contract, as its payload. */
class Failure extends Error {
  constructor(tag, text) {
    super(text ?? tag);
    this.payload = { tag, val: text };
  }
}
