// `dormouse:agent/tools` in a test.

/** The tools of the host: what each does with its arguments. It returns a text, or throws an error of the contract. */
export const tools = new Map();

/** What the agent has called: `{name, arguments}`. */
export const calls = [];

export const list = () =>
  [...tools.keys()].map((name) => ({ name, description: "A tool of a test.", schema: '{"type": "object"}' }));

export function call(name, json) {
  const tool = tools.get(name);
  if (tool === undefined) {
    throw { payload: { tag: "unknown" } };
  }
  calls.push({ name, arguments: JSON.parse(json) });
  const answer = tool(JSON.parse(json));
  return typeof answer === "string" ? { content: [{ tag: "text", val: answer }], isError: false } : answer;
}
