// `dormouse:agent/metrics` in a test.

/** What the agent has sampled: `{name, value}`. */
export const samples = [];

export function sample(name, value) {
  // As the host does, which takes no other names and numbers.
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name)) {
    throw { payload: { tag: "invalid", val: "the name of a sample has 1 to 64 letters, digits, `_`, `.` and `-`" } };
  }
  if (!Number.isFinite(value)) {
    throw { payload: { tag: "invalid", val: "the value of a sample is finite" } };
  }
  samples.push({ name, value });
}
