// Run with: node --import ./agents/javascript/testing/register.js --test agents/javascript/

import assert from "node:assert/strict";
import { test } from "node:test";

import { world } from "dormouse:agent/view@0.1.0";
import { Draws, added, bytes, claimed, counted, effect, integers, numbers, populationOf } from "./population.js";

/** What each row does is what a test says; what has been done to rows is noted. */
class Puppets {
  static columns = ["number"];
  static effects = [counted("poke"), added("pay"), claimed("claim"), effect("push", "each", "numbers")];
  static act = () => {};
  static received = [];

  constructor(setup) {
    this.first = setup.first;
    this.numbers = setup.numbers("number", 0.5);
  }
  grow(_count, setup) {
    this.numbers.push(...setup.numbers("number", 0.5));
  }
  receive(row, { kind, from, value }) {
    Puppets.received.push([this.first + row, kind, from, value]);
  }
  act(row, tick) {
    Puppets.act(tick.member, tick);
  }
  publish() {
    return numbers(this.numbers);
  }
}

const [POKE, PAY, CLAIM, PUSH] = [0, 1, 2, 3];
const population = populationOf(Puppets);

/** One tick of five puppets, the first of which is member 10. */
function step(schedule, act, input = {}) {
  world.sizes = [15, 3];
  Object.assign(Puppets, { act, received: [] });
  const setup = { roles: ["puppets", "others"], role: 0, first: 10, count: 5, size: 5 };
  population.init({ ...setup, schedule, parameters: [], attributes: [] });
  return again(input);
}

const again = (input) => population.step({ at: 3n, key: [1n, 2n], acting: undefined, arrivals: [], born: undefined, ...input });

/** Whoever acts, in this order. */
function order(schedule, input) {
  const acted = [];
  step(schedule, (member) => acted.push(member), input);
  return acted;
}

const fails = (tag, text) => (thrown) => thrown.payload?.tag === tag && thrown.payload.val.includes(text);

test("numbers are those of the authors of Philox", () => {
  const drawn = (key, block, place) =>
    [0, 1, 2, 3].map((lane) => new Draws(key).of(((block << 2) | lane) >>> 0, place).bits());
  assert.deepEqual(drawn([0n, 0n], 0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
  // As the authors have it, but for the counter, whose first word is that of a member ÷ 4. By another implementation.
  const key = [0x299f_31d0_a409_3822n, 0x0370_7344_1319_8a2en];
  assert.deepEqual(drawn(key, 0x243f_6a88, 0x85a3_08d3), blockByBigInt(key, 0x243f_6a88, 0x85a3_08d3));
  const ones = [0xffff_ffff_ffff_ffffn, 0xffff_ffff_ffff_ffffn];
  assert.deepEqual(drawn(ones, 0x3fff_ffff, 0xffff_fffe), blockByBigInt(ones, 0x3fff_ffff, 0xffff_fffe));
});

/** The same as `bits`, as the paper writes it down. A member has 32 bits, so that its block has 30. */
function blockByBigInt(key, block, place) {
  const low = (value) => value & 0xffff_ffffn;
  let [k0, k1] = [low(key[0]), key[0] >> 32n];
  let words = [BigInt(block & 0x3fff_ffff), BigInt(place), low(key[1]), key[1] >> 32n];
  for (let round = 0; round < 10; round += 1) {
    const [a, c] = [words[0] * 0xd251_1f53n, words[2] * 0xcd9e_8d57n];
    words = [(c >> 32n) ^ words[1] ^ k0, low(c), (a >> 32n) ^ words[3] ^ k1, low(a)];
    [k0, k1] = [low(k0 + 0x9e37_79b9n), low(k1 + 0xbb67_ae85n)];
  }
  return words.map(Number);
}

test("numbers depend on nothing that was drawn before", () => {
  const draws = new Draws([7n, 11n]);
  const forward = Array.from({ length: 9 }, (_, place) => draws.of(5, place).bits());
  const backward = Array.from({ length: 9 }, (_, place) => draws.of(5, 8 - place).bits());
  assert.deepEqual(backward.reverse(), forward);
  const bits = draws.of(5, 0).bits();
  assert.equal(draws.of(5, 0).below(0xffff_ffff), Number((BigInt(bits) * 0xffff_ffffn) >> 32n));
  const unit = (BigInt(forward[0]) << 21n) | BigInt(forward[1] >>> 11);
  assert.equal(draws.of(5, 0).unit(), Number(unit) / 2 ** 53);
  assert.equal(draws.of(5, 0).chance(bits / 2 ** 32), false);
  assert.equal(draws.of(5, 0).chance((bits + 1) / 2 ** 32), true);
});

test("an engine that rounds integers of 64 bits is refused", () => {
  assert.throws(() => new Draws([1, 2]), fails("invalid", "StarlingMonkey"));
});

test("rows act in the order of the schedule", () => {
  const all = [10, 11, 12, 13, 14];
  for (const schedule of ["simultaneous", "by-event", "sequential"]) {
    assert.deepEqual(order(schedule), all);
  }
  assert.deepEqual(order("by-event", { acting: [11, 14] }), [11, 14]);
  const shuffled = order("random");
  assert.deepEqual([...shuffled].sort(), all);
  assert.deepEqual(order("random"), shuffled);
  assert.notDeepEqual(order("random", { key: [1n, 3n] }), shuffled);
  assert.equal(order("random-replace").length, 5);
  assert.throws(() => order("backwards"), fails("invalid", "`backwards`"));
});

test("what rows do at once arrives with the next tick, in columns", () => {
  const outcome = step("simultaneous", (member, tick) => {
    if (member === 11) {
      tick.send(POKE, 10);
      tick.send(PAY, 2, 7, { role: 1 });
      tick.send(CLAIM, 12);
      tick.send(PUSH, 12, 0.5);
      tick.send(PUSH, 13, 1.5, { ticks: 3 });
    }
    if (member === 14) {
      tick.bear(0, { number: numbers([2.5]), kind: integers([4]) });
      tick.end();
    }
    if (member === 10) {
      tick.wakeIn(2);
    }
  });
  const list = (kind, role, from, to, values, delay = []) => ({
    kind,
    role,
    from: new Uint32Array(from),
    to: new Uint32Array(to),
    values,
    delay: new Uint32Array(delay),
  });
  assert.deepEqual(outcome.effects, [
    list(POKE, 0, [], [10], integers([])),
    list(PAY, 1, [], [2], integers([7])),
    list(CLAIM, 0, [11], [12], integers([])),
    list(PUSH, 0, [11, 11], [12, 13], numbers([0.5, 1.5]), [1, 3]),
  ]);
  const attributes = [
    { name: "number", values: numbers([2.5]) },
    { name: "kind", values: integers([4]) },
  ];
  assert.deepEqual(outcome.births, [{ role: 0, parents: new Uint32Array([14]), attributes }]);
  assert.deepEqual([[...outcome.ended], [...outcome.wake], [...outcome.wakeIn]], [[14], [10], [2]]);
  assert.deepEqual(Puppets.received, []);
  // The row that has ended acts no more; the one that was born does.
  const acted = [];
  Puppets.act = (member) => acted.push(member);
  again({ born: { count: 1, attributes: [attributes[0]] } });
  assert.deepEqual(acted, [10, 11, 12, 13, 15]);
  assert.deepEqual(population.publish("number"), numbers([0.5, 0.5, 0.5, 0.5, 0.5, 2.5]));
});

test("what rows do one after another arrives within their role at once", () => {
  const outcome = step("sequential", (member, tick) => {
    if (member === 12) {
      tick.end();
    }
    if (member === 11 || member === 13) {
      tick.send(POKE, 12);
      tick.send(PAY, 10, -2);
      tick.send(PUSH, 14, 0.5, { ticks: 2 });
      tick.send(POKE, 1, undefined, { role: 1 });
    }
  });
  assert.deepEqual(Puppets.received, [
    [12, POKE, 11, 1],
    [10, PAY, 11, -2],
    [10, PAY, 13, -2],
  ]);
  assert.deepEqual(outcome.effects.map(({ kind, role, to }) => [kind, role, ...to]), [
    [POKE, 1, 1, 1],
    [PUSH, 0, 14, 14],
  ]);
});

test("what cannot be done fails the step, which says what", () => {
  const failing = [
    [(tick) => tick.send(POKE, undefined), "a member is a whole number"],
    [(tick) => tick.send(POKE, 11, 1), "the values of the effect `poke` are none"],
    [(tick) => tick.send(PAY, 11, 0.5), "the values of the effect `pay` are integers"],
    [(tick) => tick.send(7, 11), "no kind of effect 7"],
    [(tick) => tick.send(POKE, 0, undefined, { role: 2 }), "no role 2"],
    [(tick) => tick.read("nothing", [10]), "there is no column `nothing`"],
    [(tick) => tick.aggregate("nothing"), "there is no aggregate `nothing`"],
    [(tick) => tick.draw.below(-1), "is a whole number"],
    [(tick) => [tick.bear(0, {}), tick.bear(0, { x: numbers([1]) })], "born with x: numbers where others have no attributes"],
  ];
  for (const [act, text] of failing) {
    assert.throws(() => step("simultaneous", (_, tick) => act(tick)), fails("failed", text));
  }
  assert.throws(() => step("sequential", (_, tick) => tick.send(POKE, 15)), fails("failed", "the member 15"));
  assert.throws(() => population.change([]), fails("invalid", "stay as they are"));
  assert.throws(() => population.publish("other"), fails("invalid", "`other`"));
  for (const column of [() => bytes([256]), () => integers([0.5]), () => numbers(["1"])]) {
    assert.throws(column, fails("failed", ""));
  }
});
