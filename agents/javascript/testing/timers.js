// `dormouse:agent/timers` in a test. They never go off: a test sends their turns.

/** The timers that the agent has set, by name: `{name, when, message}`. */
export const timers = new Map();

export function set(name, when, message) {
  if (when.tag === "each" && when.val.split(" ").length !== 5) {
    throw { payload: { tag: "invalid", val: "a schedule has five fields" } };
  }
  timers.set(name, { name, when, message });
}

export const cancel = (name) => timers.delete(name);

/** As the host has them. When the next time of a schedule comes, no test needs to know. */
export const list = () =>
  [...timers.values()].map(({ name, when, message }) => ({
    name,
    due: 0n,
    schedule: when.tag === "each" ? when.val : undefined,
    message,
  }));
