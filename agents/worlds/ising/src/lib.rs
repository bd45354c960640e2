//! Spins on a grid that follow their neighbours: the model of Ising, by heat bath.
//!
//! A row is a place of a grid whose lines have `width` places, an even number, and whose borders meet, as the topology `grid`
//! has it. The places of one colour of a checkerboard act in even ticks and those of the other in odd ones, so that no two
//! neighbours act at once.

use dormouse_sdk::population::*;

struct Ising {
    width: u32,
    /// How likely a spin points up whose neighbours sum up to -4, -2, 0, 2 and 4.
    up: [f64; 5],
    spins: Vec<i64>,
    first: Member,
    /// Four for each row.
    neighbours: Vec<Member>,
    seen: Vec<i64>,
}

impl Population for Ising {
    const COLUMNS: &'static [&'static str] = &["spin"];
    const READS: &'static [&'static str] = &["spin"];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        let width = u32::try_from(setup.integer("width", 0)?).unwrap_or(0);
        if width == 0 || !width.is_multiple_of(2) {
            return Err(Failure::invalid(
                "`width` is how many places a line has: an even number, as in the topology `grid`",
            ));
        }
        Ok(Ising {
            width,
            up: up(setup)?,
            spins: setup.integers("spin", 1)?,
            first: setup.first,
            neighbours: Vec::new(),
            seen: Vec::new(),
        })
    }

    fn change(&mut self, setup: &Setup) -> Result<(), Failure> {
        self.up = up(setup)?;
        Ok(())
    }

    fn begin(&mut self, tick: &mut Tick<'_>) {
        if self.neighbours.is_empty() {
            let rows: Vec<Member> = (self.first..self.first + self.spins.len() as u32).collect();
            self.neighbours = tick.neighbours_of(&rows).1;
            assert_eq!(
                self.neighbours.len(),
                4 * rows.len(),
                "the topology is a grid of at least three lines"
            );
        }
        if let Column::Integers(spins) = tick.read("spin", &self.neighbours) {
            self.seen = spins;
        }
    }

    fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
        let (line, column) = (tick.member() / self.width, tick.member() % self.width);
        if (u64::from(line + column) + tick.at()).is_multiple_of(2) {
            let sum: i64 = self.seen[4 * row..4 * row + 4].iter().sum();
            let is_up = tick.draw().chance(self.up[((sum + 4) / 2) as usize]);
            self.spins[row] = if is_up { 1 } else { -1 };
        }
    }

    fn publish(&self, _column: usize) -> Column {
        Column::Integers(self.spins.clone())
    }
}

/// How likely a spin is up, for each sum of its neighbours.
fn up(setup: &Setup) -> Result<[f64; 5], Failure> {
    let temperature = setup.number("temperature", 2.0)?;
    let likely = |sum: f64| 1.0 / (1.0 + (-2.0 * sum / temperature).exp());
    Ok([-4.0, -2.0, 0.0, 2.0, 4.0].map(likely))
}

dormouse_sdk::export_population!(Ising);
