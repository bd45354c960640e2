//! Particles on a ring of places that hop to the next one where it is free: the totally asymmetric exclusion process.
//!
//! A row is a place; its attribute `occupied` says whether it begins with a particle. A particle whose next place is free hops with
//! the probability `p`. Where all act at once, free is what was free at the end of the last tick.

use dormouse_sdk::population::*;

const HOP: usize = 0;

struct Exclusion {
    is_immediate: bool,
    p: f64,
    occupied: Vec<bool>,
    /// Whether a particle has hopped from here in this tick, and how often.
    hops: Vec<i64>,
    /// Whether the next place was occupied at the end of the last tick.
    next: Vec<u8>,
    first: Member,
}

impl Population for Exclusion {
    const COLUMNS: &'static [&'static str] = &["occupied", "hops"];
    const EFFECTS: &'static [EffectKind] = &[EffectKind::counted("hop")];
    const READS: &'static [&'static str] = &["occupied"];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        let occupied = setup.integers("occupied", 0)?.into_iter().map(|value| value != 0).collect();
        Ok(Exclusion {
            is_immediate: !matches!(setup.schedule, Schedule::Simultaneous | Schedule::ByEvent),
            p: setup.number("p", 0.5)?,
            occupied,
            hops: vec![0; setup.rows()],
            next: Vec::new(),
            first: setup.first,
        })
    }

    fn change(&mut self, setup: &Setup) -> Result<(), Failure> {
        self.p = setup.number("p", self.p)?;
        Ok(())
    }

    fn begin(&mut self, tick: &mut Tick<'_>) {
        self.hops.fill(0);
        if !self.is_immediate {
            let rows = self.first..self.first + self.occupied.len() as u32;
            let next: Vec<Member> = rows.map(|member| (member + 1) % tick.size()).collect();
            if let Column::Bytes(occupied) = tick.read("occupied", &next) {
                self.next = occupied;
            }
        }
    }

    fn receive(&mut self, row: usize, _arrival: Arrival) {
        self.occupied[row] = true;
    }

    fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
        let next = (tick.member() + 1) % tick.size();
        let is_free =
            if self.is_immediate { !self.occupied[next as usize] } else { self.next[row] == 0 };
        if self.occupied[row] && is_free && tick.draw().chance(self.p) {
            self.occupied[row] = false;
            self.hops[row] += 1;
            tick.send(HOP, next, ());
        }
    }

    fn publish(&self, column: usize) -> Column {
        match column {
            0 => Column::Bytes(self.occupied.iter().map(|occupied| u8::from(*occupied)).collect()),
            _ => Column::Integers(self.hops.clone()),
        }
    }
}

dormouse_sdk::export_population!(Exclusion);
