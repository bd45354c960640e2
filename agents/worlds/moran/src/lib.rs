//! Mutants that spread through populations or die out: the process of Moran.
//!
//! A row is a whole population of `size` individuals, of which one begins as a mutant that multiplies `fitness` times as often
//! as the others. In each tick one individual multiplies and one dies. The column `fixed` is 1 for a population of mutants
//! alone; a population without a choice left ends.

use dormouse_sdk::population::*;

struct Moran {
    size: i64,
    fitness: f64,
    mutants: Vec<i64>,
}

impl Population for Moran {
    const COLUMNS: &'static [&'static str] = &["mutants", "fixed"];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        let size = setup.integer("size", 100)?;
        let mutants = setup.integers("mutants", 1)?;
        if size < 1 || mutants.iter().any(|mutants| !(0..=size).contains(mutants)) {
            return Err(Failure::invalid(
                "of `size` individuals, 1 or more, there are 0 to `size` mutants",
            ));
        }
        Ok(Moran { size, fitness: setup.number("fitness", 1.0)?, mutants })
    }

    fn change(&mut self, setup: &Setup) -> Result<(), Failure> {
        self.fitness = setup.number("fitness", self.fitness)?;
        Ok(())
    }

    fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
        let mutants = self.mutants[row];
        if mutants == 0 || mutants == self.size {
            tick.end();
            return;
        }
        let (all, mutants) = (self.size as f64, mutants as f64);
        let mut draw = tick.draw();
        let weight = self.fitness * mutants;
        let mutant_multiplies = draw.chance(weight / (weight + all - mutants));
        let mutant_dies = draw.chance(mutants / all);
        self.mutants[row] += i64::from(mutant_multiplies) - i64::from(mutant_dies);
    }

    fn publish(&self, column: usize) -> Column {
        let fixed = |mutants: &i64| i64::from(*mutants == self.size);
        match column {
            0 => Column::Integers(self.mutants.clone()),
            _ => Column::Integers(self.mutants.iter().map(fixed).collect()),
        }
    }
}

dormouse_sdk::export_population!(Moran);
