// `dormouse:agent/log` in a test.

/** What the agent has logged: `{level, message, fields}`. */
export const lines = [];

export function log(level, message, fields) {
  lines.push({ level, message, fields });
}
