//! Neighbours of two groups who move away where too few are like them: the model of Schelling.
//!
//! A row is a household on a grid of `width` by `width` places whose borders do not meet: its attribute `place` is where it begins,
//! no two in the same, and `group` is 0 or 1. A household of whose neighbours, up to eight, less than the part `homophily` are of
//! its group moves to a free place, drawn among all. All decide by what they saw when the tick began; they move one after
//! another. For schedules under which effects arrive at once. The column `alike` is the part of the neighbours of the own group, and 0
//! for whoever has none.

use dormouse_sdk::population::*;

struct Schelling {
    width: usize,
    homophily: f64,
    groups: Vec<i64>,
    places: Vec<usize>,
    /// The household in each place.
    held: Vec<Option<usize>>,
    free: Vec<usize>,
    moves: Vec<bool>,
}

impl Schelling {
    /// How many neighbours a household has, and how many of them are of its group.
    fn neighbours(&self, row: usize) -> (u32, u32) {
        let (line, column) = (self.places[row] / self.width, self.places[row] % self.width);
        let around = |at: usize| at.saturating_sub(1)..=(at + 1).min(self.width - 1);
        let (mut all, mut alike) = (0, 0);
        for other in around(line).flat_map(|line| around(column).map(move |column| (line, column)))
        {
            if other != (line, column)
                && let Some(neighbour) = self.held[other.0 * self.width + other.1]
            {
                all += 1;
                alike += u32::from(self.groups[neighbour] == self.groups[row]);
            }
        }
        (all, alike)
    }

    fn part_alike(&self, row: usize) -> f64 {
        let (all, alike) = self.neighbours(row);
        if all == 0 { 0.0 } else { f64::from(alike) / f64::from(all) }
    }
}

impl Population for Schelling {
    const COLUMNS: &'static [&'static str] = &["alike", "place", "moved"];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        if matches!(setup.schedule, Schedule::Simultaneous | Schedule::ByEvent) {
            return Err(Failure::invalid(
                "households move one after another: `schedule` is `random`, `random-replace` or `sequential`",
            ));
        }
        let width = usize::try_from(setup.integer("width", 100)?).unwrap_or(0);
        let places = setup.integers("place", 0)?;
        let places: Vec<usize> =
            places.into_iter().filter_map(|place| usize::try_from(place).ok()).collect();
        let mut held = vec![None; width * width];
        for (row, place) in places.iter().enumerate() {
            match held.get_mut(*place) {
                Some(holder @ None) => *holder = Some(row),
                Some(Some(_)) | None => {
                    return Err(Failure::invalid(
                        "each household begins in a `place` of its own, below `width` times `width`",
                    ));
                }
            }
        }
        let free = (0..held.len()).filter(|place| held[*place].is_none()).collect();
        let moves = vec![false; setup.rows()];
        let (homophily, groups) = (setup.number("homophily", 0.4)?, setup.integers("group", 0)?);
        Ok(Schelling { width, homophily, groups, places, held, free, moves })
    }

    fn begin(&mut self, _tick: &mut Tick<'_>) {
        self.moves =
            (0..self.places.len()).map(|row| self.part_alike(row) < self.homophily).collect();
    }

    fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
        if self.moves[row] && !self.free.is_empty() {
            let chosen = tick.draw().below(self.free.len() as u32) as usize;
            let left = std::mem::replace(&mut self.places[row], self.free[chosen]);
            self.held[self.places[row]] = self.held[left].take();
            self.free[chosen] = left;
        }
    }

    fn publish(&self, column: usize) -> Column {
        match column {
            0 => Column::Numbers((0..self.places.len()).map(|row| self.part_alike(row)).collect()),
            1 => Column::Integers(self.places.iter().map(|place| *place as i64).collect()),
            _ => Column::Integers(self.moves.iter().map(|moves| i64::from(*moves)).collect()),
        }
    }
}

dormouse_sdk::export_population!(Schelling);
