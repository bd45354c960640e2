// Run with: node --import ./agents/javascript/testing/register.js --test agents/javascript/

import assert from "node:assert/strict";
import { test } from "node:test";

import { world } from "dormouse:agent/view@0.1.0";
import { population } from "./epidemic.js";

/** Four people in a row, of whom the first is ill. */
function begin(transmission) {
  world.sizes = [4];
  world.neighbours = [[1], [0, 2], [1, 3], [2]];
  const infected = { name: "infected", values: { tag: "integers", val: new BigInt64Array([1n, 0n, 0n, 0n]) } };
  population.init({
    roles: ["people"],
    role: 0,
    first: 0,
    count: 4,
    size: 4,
    schedule: "by-event",
    parameters: [["transmission", transmission]],
    attributes: [infected],
  });
}

const step = (at, acting, arrivals = []) => population.step({ at, key: [7n, 11n], acting, arrivals, born: undefined });
const states = () => [...population.publish("state").val];

test("who is ill infects the neighbours, and is immune afterwards", () => {
  begin({ tag: "number", val: 1 });
  const { effects, ...others } = step(0n, undefined);
  assert.deepEqual(effects.map(({ kind, role, to }) => [kind, role, [...to]]), [[0, 0, [1]]]);
  assert.deepEqual(Object.values(others).map((list) => list.length), [0, 0, 0, 0]);
  assert.deepEqual(states(), [2, 0, 0, 0]);
  const values = { tag: "integers", val: new BigInt64Array([1n]) };
  const arrived = step(1n, [1], [{ role: 0, kind: 0, to: [1], from: [], values }]);
  assert.deepEqual([...arrived.effects[0].to], [0, 2]);
  assert.deepEqual(states(), [2, 2, 0, 0]);
});

test("a parameter that changes is the one from then on", () => {
  begin({ tag: "integer", val: 1n });
  population.change([["transmission", { tag: "number", val: 0 }]]);
  assert.deepEqual(step(0n, undefined).effects, []);
});

test("a parameter that is no number is a failure of the contract", () => {
  assert.throws(() => begin({ tag: "text", val: "much" }), (thrown) => thrown.payload.tag === "invalid");
});
