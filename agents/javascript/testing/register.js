// The interfaces of the host, for tests of an agent in node:
//
//   node --import DORMOUSE/agents/javascript/testing/register.js --test agent.test.js
//
// An import of `dormouse:agent/NAME` is the module NAME.js of this directory then. A test imports it
// likewise, to see what the agent has done, or to say what it finds.

import { register } from "node:module";

const resolver = `
  const directory = ${JSON.stringify(new URL(".", import.meta.url).href)};
  export function resolve(specifier, context, next) {
    const found = specifier.match(/^dormouse:agent\\/(log|metrics|model|output|session|timers|tools|view)(@.*)?$/);
    return found ? { url: directory + found[1] + ".js", shortCircuit: true } : next(specifier, context);
  }
`;
register("data:text/javascript," + encodeURIComponent(resolver));
