//! The bill of a turn, line by line: what a total is made of.
//!
//! Invariant: the lines of a turn sum up to what its record says that it cost, to the nano-dollar.

use std::iter::Sum;

use crate::journal::EffectRecord;
use crate::limits::NanoUsd;
use crate::model::TokenUsage;
use crate::time::Timestamp;
use crate::turn::{StartupCost, TurnRecord};

/// One line of a bill.
#[derive(Clone, Debug, PartialEq)]
pub struct BillLine {
    /// The number of the turn that it belongs to.
    pub turn: u64,
    /// What is billed.
    pub item: BillItem,
    /// What it cost.
    pub cost: NanoUsd,
    /// When it began.
    pub at: Timestamp,
}

/// What a line of a bill is for.
#[derive(Clone, Debug, PartialEq)]
pub enum BillItem {
    /// The fuel that a turn has used.
    Fuel(u64),
    /// The fuel that the start of an instance has used, for a turn that found none.
    Start(u64),
    /// One attempt at one effect.
    Effect(EffectRecord),
}

/// The bill of a turn: its fuel, the start where there was one, and each attempt at each of its effects, in order.
#[must_use]
pub fn lines(turn: TurnRecord) -> Vec<BillLine> {
    let (number, began) = (turn.number, turn.started_at);
    let line = |item, cost, at| BillLine { turn: number, item, cost, at };
    let of_effects: NanoUsd = turn.effects.iter().map(|effect| effect.cost).sum();
    let start =
        turn.start.map(|StartupCost { fuel, cost }| line(BillItem::Start(fuel), cost, began));
    let fuel = line(BillItem::Fuel(turn.fuel), turn.cost - of_effects, began);
    let effects = turn.effects.into_iter().map(|effect| {
        let (cost, at) = (effect.cost, effect.begun_at);
        line(BillItem::Effect(effect), cost, at)
    });
    start.into_iter().chain([fuel]).chain(effects).collect()
}

/// What lines of a bill come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BillSums {
    /// Money, with that for starts.
    pub cost: NanoUsd,
    /// Fuel of turns.
    pub fuel: u64,
    /// Fuel of starts.
    pub start_fuel: u64,
    /// Tokens of models.
    pub tokens: TokenUsage,
    /// Attempts at effects.
    pub calls: u64,
    /// Bytes that these have sent and received.
    pub call_bytes: u64,
}

impl BillSums {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: BillSums) -> BillSums {
        BillSums {
            cost: self.cost + other.cost,
            fuel: self.fuel.saturating_add(other.fuel),
            start_fuel: self.start_fuel.saturating_add(other.start_fuel),
            tokens: self.tokens.plus(other.tokens),
            calls: self.calls.saturating_add(other.calls),
            call_bytes: self.call_bytes.saturating_add(other.call_bytes),
        }
    }
}

/// What one attempt comes to.
impl From<&EffectRecord> for BillSums {
    fn from(effect: &EffectRecord) -> BillSums {
        BillSums {
            cost: effect.cost,
            tokens: effect.tokens(),
            calls: 1,
            call_bytes: effect.sent.saturating_add(effect.received),
            ..BillSums::default()
        }
    }
}

impl From<&BillLine> for BillSums {
    fn from(line: &BillLine) -> BillSums {
        let cost = line.cost;
        match &line.item {
            BillItem::Fuel(fuel) => BillSums { cost, fuel: *fuel, ..BillSums::default() },
            BillItem::Start(fuel) => BillSums { cost, start_fuel: *fuel, ..BillSums::default() },
            BillItem::Effect(effect) => effect.into(),
        }
    }
}

impl Sum for BillSums {
    fn sum<I: Iterator<Item = BillSums>>(each: I) -> BillSums {
        each.fold(BillSums::default(), BillSums::plus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::examples;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_lines_of_turns_sum_up_to_what_the_turns_cost(
            turns in proptest::collection::vec(examples::turns(), 0..8),
        ) {
            let mut expected = BillSums::default();
            for turn in &turns {
                let of_effects = turn.effects.iter().map(BillSums::from).sum::<BillSums>();
                let own = BillSums { fuel: turn.fuel, cost: turn.cost, ..of_effects };
                let start = turn.start.map_or_else(BillSums::default, |start| BillSums {
                    start_fuel: start.fuel,
                    cost: start.cost,
                    ..BillSums::default()
                });
                expected = expected.plus(own).plus(start);
            }
            let all: Vec<BillLine> = turns.iter().cloned().flat_map(lines).collect();
            prop_assert_eq!(all.iter().map(BillSums::from).sum::<BillSums>(), expected);
            prop_assert!(all.iter().all(|line| line.cost >= NanoUsd(0)), "{:?}", all);
        }

        #[test]
        fn a_turn_has_a_line_for_its_fuel_its_start_and_each_attempt(turn in examples::turns()) {
            let (effects, has_start) = (turn.effects.clone(), turn.start.is_some());
            let lines = lines(turn);
            prop_assert_eq!(lines.len(), 1 + usize::from(has_start) + effects.len());
            let told = lines.iter().filter_map(|line| match &line.item {
                BillItem::Effect(effect) => Some(effect.clone()),
                BillItem::Fuel(_) | BillItem::Start(_) => None,
            });
            prop_assert_eq!(told.collect::<Vec<_>>(), effects);
        }
    }
}
