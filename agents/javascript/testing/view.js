// `dormouse:agent/view` in a test.

/**
 * What members see. `sizes` has how many members each role has, by number; `neighbours` has lists of members, by member; `near` is
 * who is near: a function of the role, a member and the radius. `columns` has columns of the contract by name, with a value for
 * each member, such as `{ state: { tag: "bytes", val: [0, 1] } }`, whichever role publishes them; `aggregates` has numbers by name.
 */
export const world = { sizes: [0], neighbours: [], near: () => [], columns: {}, aggregates: {} };

export const size = (role) => world.sizes[role] ?? unknown(`there is no role ${role}`);
export const neighbours = (of) => listed(of, (member) => world.neighbours[member] ?? []);
export const near = (role, of, radius) => listed(of, (member) => world.near(role, member, radius));
export const aggregate = (name) => world.aggregates[name] ?? unknown(`there is no aggregate \`${name}\``);

export function read(_role, column, of) {
  const { tag, val } = world.columns[column] ?? unknown(`there is no column \`${column}\``);
  const values = Array.from(of, (member) => val[member] ?? fail({ tag: "gone", val: member }));
  return { tag, val: values };
}

/** As the host does it: offsets, and all lists behind one another. */
function listed(of, list) {
  const offsets = [0];
  const members = [];
  for (const member of of) {
    members.push(...list(member));
    offsets.push(members.length);
  }
  return [new Uint32Array(offsets), new Uint32Array(members)];
}

function unknown(text) {
  fail({ tag: "unknown", val: text });
}

function fail(payload) {
  throw { payload };
}
