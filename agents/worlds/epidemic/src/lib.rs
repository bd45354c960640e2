//! An infection that passes from neighbour to neighbour, each of whom has it once: the model of Reed and Frost.
//!
//! A row is a person; its attribute `infected` says whether it begins ill. Whoever is ill infects each neighbour with the probability
//! `transmission`, and is immune afterwards. The column `state` is 0 for those who can fall ill, 1 for those who are, and 2 for
//! those who were.

use dormouse_sdk::population::*;

const INFECT: usize = 0;

const SUSCEPTIBLE: u8 = 0;
const INFECTED: u8 = 1;
const IMMUNE: u8 = 2;

struct Epidemic {
    transmission: f64,
    states: Vec<u8>,
}

impl Population for Epidemic {
    const COLUMNS: &'static [&'static str] = &["state"];
    const EFFECTS: &'static [EffectKind] = &[EffectKind::counted("infect")];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        let state = |infected| if infected != 0 { INFECTED } else { SUSCEPTIBLE };
        Ok(Epidemic {
            transmission: setup.number("transmission", 0.5)?,
            states: setup.integers("infected", 0)?.into_iter().map(state).collect(),
        })
    }

    fn change(&mut self, setup: &Setup) -> Result<(), Failure> {
        self.transmission = setup.number("transmission", self.transmission)?;
        Ok(())
    }

    fn receive(&mut self, row: usize, _arrival: Arrival) {
        if self.states[row] == SUSCEPTIBLE {
            self.states[row] = INFECTED;
        }
    }

    fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
        if self.states[row] != INFECTED {
            return;
        }
        self.states[row] = IMMUNE;
        for neighbour in tick.neighbours(tick.member()) {
            if tick.draw().chance(self.transmission) {
                tick.send(INFECT, neighbour, ());
            }
        }
    }

    fn publish(&self, _column: usize) -> Column {
        Column::Bytes(self.states.clone())
    }
}

dormouse_sdk::export_population!(Epidemic);
