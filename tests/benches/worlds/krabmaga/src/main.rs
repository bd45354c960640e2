//! Unit exchange in krABMaga: `peer-krabmaga MEMBERS TICKS SEED`. Prints `{"seconds": …}`.

use std::any::Any;
use std::time::Instant;

use krabmaga::engine::agent::Agent;
use krabmaga::engine::schedule::Schedule;
use krabmaga::engine::state::State;

/// Whoever has something gives one unit to somebody, one after another.
#[derive(Clone, Copy)]
struct Trader(usize);

struct Economy {
    wealth: Vec<i32>,
    random: u64,
}

impl Economy {
    /// A number below the number of traders, by SplitMix64.
    fn somebody(&mut self) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        (((mixed >> 32) * self.wealth.len() as u64) >> 32) as usize
    }
}

impl Agent for Trader {
    fn step(&mut self, state: &mut dyn State) {
        let economy = state.as_any_mut().downcast_mut::<Economy>().expect("the state is an economy");
        if economy.wealth[self.0] > 0 {
            economy.wealth[self.0] -= 1;
            let to = economy.somebody();
            economy.wealth[to] += 1;
        }
    }
}

impl State for Economy {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
    fn as_state(&self) -> &dyn State {
        self
    }
    fn as_state_mut(&mut self) -> &mut dyn State {
        self
    }
    fn reset(&mut self) {}
    fn init(&mut self, schedule: &mut Schedule) {
        for trader in 0..self.wealth.len() {
            schedule.schedule_repeating(Box::new(Trader(trader)), 0.0, 0);
        }
    }
    fn update(&mut self, _: u64) {}
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let [members, ticks, seed] = numbers[..] else { panic!("MEMBERS TICKS SEED") };
    let mut economy = Economy { wealth: vec![1; members as usize], random: seed };
    let mut schedule = Schedule::new();
    economy.init(&mut schedule);
    let begun = Instant::now();
    for _ in 0..ticks {
        schedule.step(&mut economy);
    }
    println!("{{\"seconds\": {}}}", begun.elapsed().as_secs_f64());
}
