//! Oscillators that pull each other into step: the model of Kuramoto.
//!
//! A row is an oscillator with its own `frequency` and its `phase`, both in radians. Each is pulled towards all others, which it
//! knows by two numbers: the aggregates `cos` and `sin`, which the world has of the columns of the same names.

use dormouse_sdk::population::*;

struct Oscillators {
    coupling: f64,
    step: f64,
    frequencies: Vec<f64>,
    phases: Vec<f64>,
    mean: (f64, f64),
}

impl Population for Oscillators {
    const COLUMNS: &'static [&'static str] = &["cos", "sin"];
    const READS: &'static [&'static str] = &["mean-cos", "mean-sin"];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        Ok(Oscillators {
            coupling: setup.number("coupling", 1.0)?,
            step: setup.number("step", 0.01)?,
            frequencies: setup.numbers("frequency", 0.0)?,
            phases: setup.numbers("phase", 0.0)?,
            mean: (0.0, 0.0),
        })
    }

    fn change(&mut self, setup: &Setup) -> Result<(), Failure> {
        self.coupling = setup.number("coupling", self.coupling)?;
        self.step = setup.number("step", self.step)?;
        Ok(())
    }

    fn begin(&mut self, tick: &mut Tick<'_>) {
        self.mean = (tick.aggregate("mean-cos"), tick.aggregate("mean-sin"));
    }

    fn act(&mut self, row: usize, _tick: &mut Tick<'_>) {
        let (sin, cos) = self.phases[row].sin_cos();
        let pull = self.coupling * (self.mean.1 * cos - self.mean.0 * sin);
        self.phases[row] += self.step * (self.frequencies[row] + pull);
    }

    fn publish(&self, column: usize) -> Column {
        let of = if column == 0 { f64::cos } else { f64::sin };
        Column::Numbers(self.phases.iter().copied().map(of).collect())
    }
}

dormouse_sdk::export_population!(Oscillators);
