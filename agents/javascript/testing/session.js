// `dormouse:agent/session` in a test.

/** What the agent finds. `config` holds values of the contract: `{tag: "text", val: "…"}`. */
export const session = {
  id: "00000000-0000-7000-8000-000000000000",
  pattern: "hybrid",
  config: {},
  limits: { fuelPerTurn: 10_000_000_000n, memory: 268_435_456n },
  usage: { turns: 0n, cost: 0n, fuel: 0n, inputTokens: 0n, outputTokens: 0n, cachedTokens: 0n },
  context: "{}",
};

export const getId = () => session.id;
export const getPattern = () => session.pattern;
export const getConfig = (key) => session.config[key];
export const getLimits = () => session.limits;
export const getUsage = () => session.usage;
export const getContext = () => session.context;
