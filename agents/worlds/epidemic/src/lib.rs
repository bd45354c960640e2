//! An infection that passes from neighbour to neighbour, each of whom has it once: the model of Reed and Frost.
//!
//! A row is a person; its attribute `infected` says whether it begins ill. Whoever is ill infects each neighbour with the probability
//! `transmission`, and is immune afterwards. The column `state` is 0 for those who can fall ill, 1 for those who are, and 2 for
//! those who were.
//!
//! What passes on may also be a rumour among people of a few *kinds*, which other members of the world decide about: the parameter
//! `kinds` names their role, the attribute `kind` says which of them a row is like, and what that one publishes as `told` says whether
//! such rows pass anything on: 0 or 1, or a part of `transmission`. In the first tick nobody knows that yet, and all wait.

use dormouse_sdk::population::*;

const INFECT: usize = 0;
/// What a member of the role of kinds publishes.
const TOLD: &str = "told";

const SUSCEPTIBLE: u8 = 0;
const INFECTED: u8 = 1;
const IMMUNE: u8 = 2;

struct Epidemic {
    transmission: f64,
    states: Vec<u8>,
    kinds: Option<Kinds>,
}

/// Who decides whether rows pass on what they have.
struct Kinds {
    role: u32,
    /// Which of them each row is like.
    of: Vec<Member>,
}

impl Kinds {
    fn of(setup: &Setup) -> Result<Option<Kinds>, Failure> {
        let name = setup.text("kinds", "")?;
        if name.is_empty() {
            return Ok(None);
        }
        let kind = |kind| Member::try_from(kind).ok();
        let of: Option<Vec<Member>> = setup.integers("kind", 0)?.into_iter().map(kind).collect();
        let of =
            of.ok_or_else(|| Failure::invalid("the attribute `kind` is the number of a member"))?;
        Ok(Some(Kinds { role: setup.role_named(name)?, of }))
    }

    /// Which part of all chances this row takes.
    fn part(&self, row: usize, tick: &Tick<'_>) -> f64 {
        match tick.read_of(self.role, TOLD, &[self.of[row]]) {
            Column::Numbers(told) => told.first().copied().unwrap_or(0.0),
            Column::Integers(told) => told.first().map_or(0.0, |told| *told as f64),
            Column::Bytes(told) => told.first().map_or(0.0, |told| f64::from(*told)),
        }
    }
}

impl Population for Epidemic {
    const COLUMNS: &'static [&'static str] = &["state"];
    const READS: &'static [&'static str] = &[TOLD];
    const EFFECTS: &'static [EffectKind] = &[EffectKind::counted("infect")];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        let state = |infected| if infected != 0 { INFECTED } else { SUSCEPTIBLE };
        Ok(Epidemic {
            transmission: setup.number("transmission", 0.5)?,
            states: setup.integers("infected", 0)?.into_iter().map(state).collect(),
            kinds: Kinds::of(setup)?,
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
        let part = match &self.kinds {
            None => 1.0,
            Some(_) if tick.at() == 0 => return tick.wake_in(1),
            Some(kinds) => kinds.part(row, tick),
        };
        self.states[row] = IMMUNE;
        let chance = self.transmission * part;
        for neighbour in tick.neighbours(tick.member()) {
            if tick.draw().chance(chance) {
                tick.send(INFECT, neighbour, ());
            }
        }
    }

    fn publish(&self, _column: usize) -> Column {
        Column::Bytes(self.states.clone())
    }
}

dormouse_sdk::export_population!(Epidemic);
