//! An economy in which wealth changes hands by chance.
//!
//! The parameter `law` says how. `unit`: whoever has something gives one unit to somebody, drawn among all. What comes of it
//! depends on the schedule of the world, because somebody who is given something may give it on in the same tick or not.
//! Where all give at once, the column `wealth` is what each had before it gave: nothing is under way then, and nothing is missing.
//! `split`: two put together what they have and split it by chance; for schedules under which effects arrive at once.

use dormouse_sdk::population::*;

const GIFT: usize = 0;

struct Wealth {
    law: Law,
    units: Vec<i64>,
    /// Whether a row has given a unit in this tick that arrives with the next.
    gave: Vec<bool>,
    is_immediate: bool,
    shares: Vec<f64>,
}

enum Law {
    Unit,
    Split,
}

impl Population for Wealth {
    const COLUMNS: &'static [&'static str] = &["wealth"];
    const EFFECTS: &'static [EffectKind] = &[EffectKind::counted("gift")];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        let law = match (setup.text("law", "unit")?, setup.schedule) {
            ("unit", _) => Law::Unit,
            ("split", Schedule::Random | Schedule::RandomReplace | Schedule::Sequential) => {
                Law::Split
            }
            ("split", _) => {
                return Err(Failure::invalid(
                    "`split` needs one of the schedules `random`, `random-replace` and `sequential`",
                ));
            }
            (_, _) => return Err(Failure::invalid("`law` is `unit` or `split`")),
        };
        let (units, shares) = match law {
            Law::Unit => (setup.integers("wealth", 1)?, Vec::new()),
            Law::Split => (Vec::new(), setup.numbers("wealth", 1.0)?),
        };
        let is_immediate = !matches!(setup.schedule, Schedule::Simultaneous | Schedule::ByEvent);
        let gave = vec![false; units.len()];
        Ok(Wealth { law, units, gave, is_immediate, shares })
    }

    fn receive(&mut self, row: usize, arrival: Arrival) {
        self.units[row] += arrival.count();
    }

    fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
        let everybody = tick.size();
        match self.law {
            Law::Unit => {
                let gives = self.units[row] > 0;
                self.gave[row] = gives;
                if gives {
                    self.units[row] -= 1;
                    let to = tick.draw().below(everybody);
                    tick.send(GIFT, to, ());
                }
            }
            Law::Split => {
                let mut draw = tick.draw();
                let (other, part) = (draw.below(everybody) as usize, draw.unit());
                // Whoever meets themselves has nothing to split.
                if other != row {
                    let all = self.shares[row] + self.shares[other];
                    self.shares[row] = all * part;
                    self.shares[other] = all - all * part;
                }
            }
        }
    }

    fn publish(&self, _column: usize) -> Column {
        match self.law {
            Law::Unit if self.is_immediate => Column::Integers(self.units.clone()),
            Law::Unit => {
                let had =
                    self.units.iter().zip(&self.gave).map(|(units, gave)| units + i64::from(*gave));
                Column::Integers(had.collect())
            }
            Law::Split => Column::Numbers(self.shares.clone()),
        }
    }
}

dormouse_sdk::export_population!(Wealth);
