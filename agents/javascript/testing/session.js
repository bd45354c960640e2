// `dormouse:agent/session` in a test.

/** What the agent finds. `config` holds values of the contract: `{tag: "text", val: "…"}`. */
export const session = {
  id: "00000000-0000-7000-8000-000000000000",
  pattern: "hybrid",
  config: {},
  limits: { fuelPerTurn: 10_000_000_000n, memory: 268_435_456n },
  usage: { turns: 0n, cost: 0n, fuel: 0n, inputTokens: 0n, outputTokens: 0n, cachedTokens: 0n },
  context: "{}",
  checkpoint: undefined,
};

export const getId = () => session.id;
export const getPattern = () => session.pattern;
export const getConfig = (key) => session.config[key];
export const getLimits = () => session.limits;
export const getUsage = () => session.usage;
export const getContext = () => session.context;
export const getCheckpoint = () => session.checkpoint;

export function setCheckpoint(checkpoint) {
  // As the host does, which takes a JSON object of 64 KiB at most.
  if (new TextEncoder().encode(checkpoint).length > 65_536) {
    throw { payload: { tag: "too-large", val: 65_536n } };
  }
  const value = JSON.parse(checkpoint);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw { payload: { tag: "invalid", val: "it is not an object" } };
  }
  session.checkpoint = checkpoint;
}
