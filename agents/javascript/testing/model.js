// `dormouse:agent/model` in a test.

/** What models answer next: a text, or an error of the contract, such as `{tag: "refused", val: "…"}`. */
export const answers = [];

/** What they were asked. */
export const requests = [];

export function chat(request) {
  requests.push(structuredClone(request));
  const answer = answers.shift() ?? { tag: "unavailable", val: "the test has no answer" };
  if (typeof answer !== "string") {
    throw { payload: answer };
  }
  return { content: [{ tag: "text", val: answer }], stop: "end", usage: undefined, model: "test" };
}
