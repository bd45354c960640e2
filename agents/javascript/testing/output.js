// `dormouse:agent/output` in a test.

/** What the agent has streamed: `{text}` and `{event, data}`. */
export const streamed = [];

export function text(delta) {
  streamed.push({ text: delta });
}

export function event(name, data) {
  // As the host does, which takes JSON alone.
  JSON.parse(data);
  streamed.push({ event: name, data });
}
