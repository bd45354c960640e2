// `dormouse:agent/model` in a test.

/**
 * What models answer next: a text, a call of a tool as `{call: NAME, arguments: {…}}`, or an error of the contract, such as
 * `{tag: "refused", val: "…"}`.
 */
export const answers = [];

/** What they were asked. */
export const requests = [];

export function chat(request) {
  requests.push(structuredClone(request));
  const answer = answers.shift() ?? { tag: "unavailable", val: "the test has no answer" };
  if (typeof answer === "string") {
    return { content: [{ tag: "text", val: answer }], stop: "end", usage: undefined, model: "test" };
  }
  if (answer.call === undefined) {
    throw { payload: answer };
  }
  const call = { id: `call_${requests.length}`, name: answer.call, arguments: JSON.stringify(answer.arguments ?? {}) };
  return { content: [{ tag: "tool-call", val: call }], stop: "tool-use", usage: undefined, model: "test" };
}
