// Members of simulated worlds: many rows in one component, as the SDK in Rust has them.
//
// A population is a class that `populationOf` makes an export of. Its fields are columns, with a value for each row. The host
// calls the component once in each tick; this module calls `receive` for all that was done to rows and `act` for each row that
// acts, in the order that the world's schedule says. The same rules in Rust and in JavaScript come to the same numbers.
//
//   const GIFT = 0;
//
//   class Wealth {
//     static columns = ["wealth"];                 // what rows publish
//     static effects = [counted("gift")];          // what rows do to others; the place here is what `send` is given
//     static reads = [];                           // the columns and aggregates that rows look at
//
//     constructor(setup) {                         // the rows of this instance: a `Setup`
//       this.wealth = new Array(setup.count).fill(1);
//     }
//     receive(row, arrival) {                      // something was done to a row: `{role, kind, from, value}`
//       this.wealth[row] += arrival.value;
//     }
//     act(row, tick) {                             // a row acts: a `Tick`
//       if (this.wealth[row] > 0) {
//         this.wealth[row] -= 1;
//         tick.send(GIFT, tick.draw.below(tick.size));
//       }
//     }
//     publish(column) {                            // `bytes`, `integers` or `numbers`, with a value for each row
//       return integers(this.wealth);
//     }
//   }
//
//   export const population = populationOf(Wealth);
//
// A class may have three methods more. `grow(count, setup)` adds rows that have begun, behind all others: `setup` has their
// attributes. `change(setup)` goes on with other parameters, `begin(tick)` is called before the first row acts. A class without
// `grow` or `change` refuses what they are for. The module needs an engine that has 64-bit integers as `BigInt`, as
// StarlingMonkey does.

import { aggregate, near, neighbours, read, size } from "dormouse:agent/view@0.1.0";

/** What the host imports, of a class of populations. */
export function populationOf(Population) {
  const { columns = [], effects = [], reads = [] } = Population;
  let rows;
  const made = () => rows ?? fail("failed", "the population was not made");
  return {
    describe: () => ({ columns, effects, reads }),
    init(setup) {
      rows = new Rows(Population, effects, setup);
    },
    change: (parameters) => made().change(parameters),
    step: (input) => made().step(input),
    publish(column) {
      if (!columns.includes(column)) {
        fail("invalid", `rows of this population have no column \`${column}\``);
      }
      return made().publish(column);
    },
  };
}

/** A kind of effect without values, which are counted: `arrival.value` is how many there were. */
export const counted = (name) => effect(name, "sum", "none");

/** A kind of effect whose integers are added. */
export const added = (name) => effect(name, "sum", "integers");

/** A kind of effect without values of which one arrives, whichever chance decides. */
export const claimed = (name) => effect(name, "first", "none");

/** A kind of effect: `fold` is `each`, `sum`, `min`, `max` or `first`, and `values` are `none`, `integers` or `numbers`. */
export const effect = (name, fold, values) => ({ name, fold, values });

/** A column of numbers from 0 to 255. Those of a `Uint8Array` cost the least: they are taken as they are. */
export const bytes = (values) => ({ tag: "bytes", val: values instanceof Uint8Array ? values : Uint8Array.from(values, byte) });

/** A column of integers. */
export const integers = (values) => ({ tag: "integers", val: BigInt64Array.from(values, wide) });

/** A column of floating-point numbers. Those of a `Float64Array` cost the least. */
export const numbers = (values) => ({
  tag: "numbers",
  val: values instanceof Float64Array ? values : Float64Array.from(values, float),
});

const ARRAYS = { bytes: Uint8Array, integers: BigInt64Array, numbers: Float64Array };

/** Why a population does not do what its world asks for: with the tag `invalid` the text says what to change in the world. */
export class Failure extends Error {
  constructor(tag, text) {
    super(text);
    this.payload = { tag, val: text };
  }
}

/** What the rows of an instance are made of. */
export class Setup {
  constructor(wire) {
    /** The roles of the world. The number of a role is its place here. */
    this.roles = wire.roles;
    /** The number of the role of these rows. */
    this.role = wire.role;
    /** The number of the first row, as a member. */
    this.first = wire.first;
    /** How many rows there are to make. */
    this.count = wire.count;
    /** How many members the role begins with. */
    this.size = wire.size;
    /** `simultaneous`, `random`, `random-replace`, `sequential` or `by-event`. */
    this.schedule = wire.schedule;
    this.parameters = wire.parameters;
    this.attributes = wire.attributes;
  }

  /** The number of the role of this name. */
  roleNamed(name) {
    const role = this.roles.indexOf(name);
    return role >= 0 ? role : fail("invalid", `the world needs members of the role \`${name}\``);
  }

  /** The parameter of this name, a number; or `otherwise`, where the world says none. */
  number(name, otherwise) {
    const found = this.#parameter(name, ["number", "integer"], "a number");
    return found === undefined ? otherwise : Number(found);
  }

  /** The parameter of this name, an integer. */
  integer(name, otherwise) {
    const found = this.#parameter(name, ["integer"], "an integer");
    return found === undefined ? otherwise : narrow(found);
  }

  /** The parameter of this name, a text. */
  text(name, otherwise) {
    return this.#parameter(name, ["text"], "a text") ?? otherwise;
  }

  /** The parameter of this name, yes or no. */
  flag(name, otherwise) {
    return this.#parameter(name, ["flag"], "true or false") ?? otherwise;
  }

  /** The attribute of this name, an array with an integer for each row; `otherwise` for each, where the world says nothing of it. */
  integers(name, otherwise) {
    const found = this.attributes.find((own) => own.name === name)?.values;
    if (found?.tag === "numbers") {
      fail("invalid", `\`${name}\` has to be integers`);
    }
    return found === undefined ? new Array(this.count).fill(otherwise) : values(found);
  }

  /** The attribute of this name, an array with a number for each row. */
  numbers(name, otherwise) {
    const found = this.attributes.find((own) => own.name === name)?.values;
    return found === undefined ? new Array(this.count).fill(otherwise) : Array.from(found.val, Number);
  }

  #parameter(name, tags, what) {
    const found = this.parameters.find(([own]) => own === name)?.[1];
    if (found !== undefined && !tags.includes(found.tag)) {
      fail("invalid", `\`${name}\` has to be ${what}`);
    }
    return found?.val;
  }
}

/** The rows of an instance, tick by tick. */
class Rows {
  #population;
  #effects;
  #setup;
  /** For each row, whether it has not ended. */
  #isAlive;

  constructor(Population, effects, wire) {
    const setup = new Setup(wire);
    this.#population = new Population(setup);
    this.#effects = effects;
    // What the rows were made of, without their attributes.
    this.#setup = { ...wire, attributes: [] };
    this.#isAlive = new Array(setup.count).fill(true);
  }

  change(parameters) {
    if (this.#population.change === undefined) {
      fail("invalid", "the parameters of this population stay as they are");
    }
    this.#setup.parameters = parameters;
    this.#population.change(new Setup(this.#setup));
  }

  publish(column) {
    return this.#population.publish(column);
  }

  step(input) {
    if (input.born != null) {
      this.#grow(input.born);
    }
    for (const arrivals of input.arrivals) {
      this.#receive(arrivals);
    }
    const tick = new Tick(input, this.#setup, this.#effects);
    this.#population.begin?.(tick);
    this.#act(input.acting, tick);
    return this.#outcome(tick);
  }

  #grow({ count, attributes }) {
    if (this.#population.grow === undefined) {
      fail("invalid", "members of this population are not born");
    }
    this.#population.grow(count, new Setup({ ...this.#setup, count, attributes }));
    for (let row = 0; row < count; row += 1) {
      this.#isAlive.push(true);
    }
  }

  #receive({ role, kind, to, from, values: column }) {
    const { first } = this.#setup;
    const own = values(column);
    for (let place = 0; place < to.length; place += 1) {
      this.#population.receive?.(to[place] - first, { role, kind, from: from[place], value: own[place] });
    }
  }

  #act(acting, tick) {
    const { first, schedule } = this.#setup;
    const rows = this.#isAlive.length;
    switch (schedule) {
      case "simultaneous":
      case "by-event":
        if (acting != null) {
          for (const member of acting) {
            this.#actOnce(member - first, member, tick);
          }
          return;
        }
      // Otherwise all rows act, by number.
      case "sequential":
        for (let row = 0; row < rows; row += 1) {
          this.#actOnce(row, first + row, tick);
        }
        return;
      case "random": {
        const order = Array.from({ length: rows }, (_, row) => row);
        for (let last = rows - 1; last > 0; last -= 1) {
          const place = tick.draw.of(last, ORDER).below(last + 1);
          [order[last], order[place]] = [order[place], order[last]];
        }
        for (const row of order) {
          this.#actOnce(row, first + row, tick);
        }
        return;
      }
      case "random-replace":
        for (let act = 0; act < rows; act += 1) {
          // A row may act more than once: what it draws belongs to the act.
          this.#actOnce(tick.draw.of(act, ORDER).below(rows), act, tick);
        }
        return;
      default:
        fail("invalid", `this population does not know the schedule \`${schedule}\``);
    }
  }

  #actOnce(row, drawer, tick) {
    if (!this.#isAlive[row]) {
      return;
    }
    const member = this.#setup.first + row;
    tick.member = member;
    tick.draw.of(drawer, 0);
    this.#population.act(row, tick);
    if (tick.isImmediate) {
      tick.takeImmediate().forEach((done) => this.#arriveAtOnce(done));
      // Others act after the row in the same tick.
      this.#isAlive[row] = tick.ended.at(-1) !== member;
    }
  }

  #arriveAtOnce({ kind, from, to, value }) {
    const { first, role } = this.#setup;
    const row = to - first;
    if (!(row in this.#isAlive)) {
      fail("failed", `the member ${from} does something to the member ${to}, and there is none`);
    }
    if (this.#isAlive[row]) {
      const { fold, values } = this.#effects[kind];
      const own = values === "none" && fold === "sum" ? 1 : value;
      this.#population.receive?.(row, { role, kind, from, value: own });
    }
  }

  #outcome(tick) {
    for (const member of tick.ended) {
      this.#isAlive[member - this.#setup.first] = false;
    }
    const born = ({ role, parents, columns }) => ({
      role,
      parents: new Uint32Array(parents),
      attributes: columns.map(({ name, tag, own }) => ({ name, values: { tag, val: new ARRAYS[tag](own) } })),
    });
    return {
      effects: tick.sent.flatMap((sent) => (sent.to.length > 0 ? [done(sent)] : [])),
      births: tick.children.map(born),
      ended: new Uint32Array(tick.ended),
      wake: new Uint32Array(tick.wake),
      wakeIn: new Uint32Array(tick.wakeTicks),
    };
  }
}

/** Effects of one kind on members of one role, as the host takes them. */
function done({ kind, role, form, from, to, own, delay }) {
  return {
    kind,
    role,
    from: new Uint32Array(from),
    to: new Uint32Array(to),
    values: form.values === "numbers" ? numbers(own) : integers(own),
    delay: delay.some((ticks) => ticks !== 1) ? new Uint32Array(delay) : new Uint32Array(0),
  };
}

/** One tick, as the row that acts knows it. All that it shows of the world is as it was at the end of the last tick. */
class Tick {
  #roles;
  #effects;
  #immediate = [];

  constructor(input, setup, effects) {
    /** The number of the tick, from 0. */
    this.at = Number(input.at);
    /** The role of the row that acts, */
    this.role = setup.role;
    /** and its number as a member of this role. */
    this.member = setup.first;
    /** Random numbers of the row that acts. */
    this.draw = new Draws(input.key);
    /** How many members the own role has or had. */
    this.size = this.sizeOf(setup.role);
    /** Whether what is done to rows of this population arrives at once. */
    this.isImmediate = ["random", "random-replace", "sequential"].includes(setup.schedule);
    this.#roles = setup.roles.length;
    this.#effects = effects;
    // By kind, and for each kind by role.
    this.sent = effects.flatMap((form, kind) =>
      setup.roles.map((_, role) => ({ kind, role, form, from: [], to: [], own: [], delay: [] })),
    );
    this.children = [];
    this.ended = [];
    this.wake = [];
    this.wakeTicks = [];
  }

  /**
   * Does something to a member, of the own role or of another: it arrives with the next tick, or at once where the schedule says
   * so; or so many `ticks` from now. The value is an integer, a number or nothing, as the kind has it.
   */
  send(kind, to, value, options) {
    const role = options?.role ?? this.role;
    const ticks = options?.ticks ?? 1;
    const form = this.#effects[kind];
    if (form === undefined || !(role < this.#roles)) {
      fail("failed", `there is no kind of effect ${kind}, or no role ${role}`);
    }
    const own = valued(form, value);
    whole(to, "a member");
    whole(ticks, "a number of ticks");
    if (this.isImmediate && role === this.role && ticks <= 1) {
      this.#immediate.push({ kind, from: this.member, to, value: own });
      return;
    }
    const sent = this.sent[kind * this.#roles + role];
    sent.to.push(to);
    sent.delay.push(ticks);
    if (form.values !== "none") {
      sent.own.push(own);
    }
    if (form.fold === "each" || form.fold === "first") {
      sent.from.push(this.member);
    }
  }

  /**
   * Lets a member begin, as the last of its role, with these attributes, such as `{energy: integers([5]), x: numbers([0.5])}`.
   * All that begin in a role in the same tick have the same ones.
   */
  bear(role, attributes = {}) {
    const columns = Object.entries(attributes).map(([name, { tag, val }]) => ({ name, tag, own: [val[0]] }));
    const children = this.children.find((own) => own.role === role);
    if (children === undefined) {
      this.children.push({ role: whole(role, "a role"), parents: [this.member], columns });
      return;
    }
    const form = (own) => own.map(({ name, tag }) => `${name}: ${tag}`).join(", ") || "no attributes";
    if (form(columns) !== form(children.columns)) {
      fail("failed", `members are born with ${form(columns)} where others have ${form(children.columns)}`);
    }
    children.parents.push(this.member);
    columns.forEach(({ own }, place) => children.columns[place].own.push(own[0]));
  }

  /** Lets the row that acts end with this tick: it acts no more, and what is done to it is lost. */
  end() {
    this.ended.push(this.member);
  }

  /** Lets the row that acts act again in so many ticks, where rows act by events. */
  wakeIn(ticks) {
    this.wake.push(this.member);
    this.wakeTicks.push(whole(ticks, "a number of ticks"));
  }

  /** The number that the next member of this role is given. */
  sizeOf(role) {
    return seen(() => size(role));
  }

  /** Who stands next to a member of the own role. */
  neighbours(of) {
    return this.neighboursOf([of])[1];
  }

  /** Who stands next to these members: offsets and members. Those of the i-th stand from `offsets[i]` to before `offsets[i + 1]`. */
  neighboursOf(of) {
    return seen(() => neighbours(new Uint32Array(of)));
  }

  /** Who of the own role is within this radius of the row that acts, by number and without the row itself. */
  near(radius) {
    return this.nearOf(this.role, [this.member], radius)[1];
  }

  /** Who of any role is within this radius of these members of the own role: offsets and members, as for `neighboursOf`. */
  nearOf(role, of, radius) {
    return seen(() => near(role, new Uint32Array(of), radius));
  }

  /** What these members of the own role have published: an array of numbers. */
  read(column, of) {
    return this.readOf(this.role, column, of);
  }

  /** What these members of any role have published. */
  readOf(role, column, of) {
    return values(seen(() => read(role, column, new Uint32Array(of))));
  }

  /** What an aggregate of the world was. */
  aggregate(name) {
    return seen(() => aggregate(name));
  }

  /** For the frame: what is to arrive at once. */
  takeImmediate() {
    const taken = this.#immediate;
    this.#immediate = [];
    return taken;
  }
}

/** The place of the numbers that decide over the order of a tick. No row draws as many. */
const ORDER = 0xffff_fffe;
/** How many blocks are kept: one for each of the first places. */
const KEPT = 4;

/**
 * Random numbers that belong to a member, a tick, and their place among those that the member draws in it.
 *
 * The n-th number of member m is the lane m mod 4 of Philox4x32-10 over the counter (m div 4, n), keyed with the key of the tick: see
 * J. Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3* (2011). No number depends on who drew before.
 */
export class Draws {
  #key;
  #member = 0;
  #place = 0;
  #blocks = Array.from({ length: KEPT }, () => ({ block: -1, place: -1, words: [0, 0, 0, 0] }));

  /** With the key of a tick: two 64-bit integers. */
  constructor(key) {
    if (!key.every((half) => typeof half === "bigint")) {
      fail("invalid", "this engine rounds the key of random numbers: build the population with StarlingMonkey");
    }
    this.#key = key.flatMap((half) => [Number(half & 0xffff_ffffn), Number(half >> 32n)]);
  }

  /** From here on the numbers of this member, beginning with those in this place. */
  of(member, place) {
    this.#member = member;
    this.#place = place;
    return this;
  }

  /** 32 random bits. */
  bits() {
    const place = this.#place;
    this.#place += 1;
    const block = this.#member >>> 2;
    const kept = this.#blocks[place % KEPT];
    if (kept.block !== block || kept.place !== place) {
      philox(this.#key, block, place, kept.words);
      kept.block = block;
      kept.place = place;
    }
    return kept.words[this.#member & 3];
  }

  /** A whole number from 0 up to, and without, `end`, which is below 2³²; 0 where that is 0. */
  below(end) {
    return high(this.bits(), whole(end, "the end of what is drawn"));
  }

  /** A number from 0 up to, and without, 1: one of 2⁵³. */
  unit() {
    const upper = this.bits() * 2 ** 21;
    return (upper + (this.bits() >>> 11)) * 2 ** -53;
  }

  /** Whether something happens that has this probability, to within 2⁻³². */
  chance(probability) {
    return this.bits() < probability * 2 ** 32;
  }
}

/**
 * A block of Philox4x32-10: four words of 32 bits, in `words`. Products of 64 bits are put together from those of 16: an engine that
 * does not compile is slow at calls and at `BigInt`.
 */
function philox([k0, k1, k2, k3], block, place, words) {
  let first = k0;
  let second = k1;
  let a = block;
  let b = place;
  let c = k2;
  let d = k3;
  for (let round = 0; round < 10; round += 1) {
    // a × 0xd251_1f53
    const aLow = (a & 0xffff) * 0x1f53;
    const aMiddle = (a >>> 16) * 0x1f53 + (aLow >>> 16);
    const aOther = (a & 0xffff) * 0xd251 + (aMiddle & 0xffff);
    const aHigh = (a >>> 16) * 0xd251 + (aMiddle >>> 16) + (aOther >>> 16);
    // c × 0xcd9e_8d57
    const cLow = (c & 0xffff) * 0x8d57;
    const cMiddle = (c >>> 16) * 0x8d57 + (cLow >>> 16);
    const cOther = (c & 0xffff) * 0xcd9e + (cMiddle & 0xffff);
    const cHigh = (c >>> 16) * 0xcd9e + (cMiddle >>> 16) + (cOther >>> 16);
    a = cHigh ^ b ^ first;
    b = (cOther << 16) | (cLow & 0xffff);
    c = aHigh ^ d ^ second;
    d = (aOther << 16) | (aLow & 0xffff);
    first = (first + 0x9e37_79b9) | 0;
    second = (second + 0xbb67_ae85) | 0;
  }
  words[0] = a >>> 0;
  words[1] = b >>> 0;
  words[2] = c >>> 0;
  words[3] = d >>> 0;
}

/** The upper 32 bits of the product of two numbers of 32 bits. */
function high(a, b) {
  const middle = (a >>> 16) * (b & 0xffff) + (((a & 0xffff) * (b & 0xffff)) >>> 16);
  const other = (a & 0xffff) * (b >>> 16) + (middle & 0xffff);
  return (a >>> 16) * (b >>> 16) + (middle >>> 16) + (other >>> 16);
}

/** The values of a column, as an array of numbers. */
function values({ tag, val }) {
  return tag === "integers" ? Array.from(val, narrow) : Array.from(val);
}

/** The value of an effect, which is of the type that its kind has. */
function valued({ name, values }, value) {
  const isOfType =
    values === "none" ? value === undefined : values === "integers" ? Number.isSafeInteger(value) : typeof value === "number";
  return isOfType ? value : fail("failed", `the values of the effect \`${name}\` are ${values}, and not ${value}`);
}

function narrow(value) {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : fail("failed", `${value} is more than an integer of JavaScript holds`);
}

function wide(value) {
  return Number.isSafeInteger(value) ? BigInt(value) : fail("failed", `${value} is no integer`);
}

function float(value) {
  return typeof value === "number" ? value : fail("failed", `${value} is no number`);
}

function byte(value) {
  return whole(value, "a byte") < 256 ? value : fail("failed", `${value} is no byte`);
}

function whole(value, what) {
  const isWhole = Number.isInteger(value) && value >= 0 && value < 2 ** 32;
  return isWhole ? value : fail("failed", `${what} is a whole number, and not ${value}`);
}

/** What the host shows. Where it has no answer, the step fails with its words. */
function seen(look) {
  try {
    return look();
  } catch (thrown) {
    const error = thrown?.payload;
    if (error?.tag === "unknown") {
      fail("failed", error.val);
    }
    throw error?.tag === "gone" ? new Failure("failed", `there is no member ${error.val}`) : thrown;
  }
}

function fail(tag, text) {
  throw new Failure(tag, text);
}
