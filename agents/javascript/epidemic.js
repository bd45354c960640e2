// An infection that passes from neighbour to neighbour, each of whom has it once: the population `epidemic` of the host, in JavaScript.
//
// A row is a person; its attribute `infected` says whether it begins ill. Whoever is ill infects each neighbour with the probability
// `transmission`, and is immune afterwards. The column `state` is 0 for those who can fall ill, 1 for those who are, and 2 for those
// who were.

import { bytes, counted, populationOf } from "./population.js";

const INFECT = 0;

const SUSCEPTIBLE = 0;
const INFECTED = 1;
const IMMUNE = 2;

class Epidemic {
  static columns = ["state"];
  static effects = [counted("infect")];

  constructor(setup) {
    this.change(setup);
    const state = (infected) => (infected !== 0 ? INFECTED : SUSCEPTIBLE);
    this.states = Uint8Array.from(setup.integers("infected", 0), state);
  }

  change(setup) {
    this.transmission = setup.number("transmission", 0.5);
  }

  receive(row) {
    if (this.states[row] === SUSCEPTIBLE) {
      this.states[row] = INFECTED;
    }
  }

  act(row, tick) {
    if (this.states[row] !== INFECTED) {
      return;
    }
    this.states[row] = IMMUNE;
    for (const neighbour of tick.neighbours(tick.member)) {
      if (tick.draw.chance(this.transmission)) {
        tick.send(INFECT, neighbour);
      }
    }
  }

  publish() {
    return bytes(this.states);
  }
}

/** What the host calls. */
export const population = populationOf(Epidemic);
