//! Birds that fly as those near them do, but for some noise: the model of Vicsek.
//!
//! A row is a bird on a plane of `width` by `height` whose borders meet; its attributes `x`, `y` and `heading`, in radians, are where it
//! begins and where it flies to. In each tick it takes the mean direction of all birds within the `radius`, itself included, turns from
//! it by up to half of `noise` to either side, and flies on by `speed`. The columns are `x` and `y`, which the `space` of the world
//! has to name, and `vx` and `vy`, the direction as a vector of length 1.

use dormouse_sdk::population::*;

/// Birds that are looked up with one call: so few that those near all of them can be listed, wherever they are.
const AT_ONCE: usize = 256;

struct Flock {
    size: [f64; 2],
    radius: f64,
    speed: f64,
    noise: f64,
    /// The role of the birds, and the first of them here.
    role: u32,
    first: Member,
    places: [Vec<f64>; 2],
    headings: Vec<f64>,
    /// The directions of all that each bird flies with, added up.
    towards: Vec<[f64; 2]>,
}

impl Flock {
    fn set(&mut self, setup: &Setup) -> Result<(), Failure> {
        self.radius = setup.number("radius", 1.0)?;
        self.speed = setup.number("speed", 0.5)?;
        self.noise = setup.number("noise", 0.0)?;
        if !(self.radius >= 0.0 && self.radius.is_finite()) {
            return Err(Failure::invalid("`radius` is a number that is 0 or more"));
        }
        Ok(())
    }

    fn velocities(&self, of: fn(f64) -> f64) -> Vec<f64> {
        self.headings.iter().copied().map(of).collect()
    }
}

impl Population for Flock {
    const COLUMNS: &'static [&'static str] = &["x", "y", "vx", "vy"];
    const READS: &'static [&'static str] = &["vx", "vy"];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        let size = [setup.number("width", 10.0)?, setup.number("height", 10.0)?];
        if !size.iter().all(|side| *side > 0.0 && side.is_finite()) {
            return Err(Failure::invalid("`width` and `height` are more than 0"));
        }
        let mut flock = Flock {
            size,
            radius: 0.0,
            speed: 0.0,
            noise: 0.0,
            role: setup.role,
            first: setup.first,
            places: [setup.numbers("x", 0.0)?, setup.numbers("y", 0.0)?],
            headings: setup.numbers("heading", 0.0)?,
            towards: vec![[0.0; 2]; setup.rows()],
        };
        flock.set(setup)?;
        Ok(flock)
    }

    fn change(&mut self, setup: &Setup) -> Result<(), Failure> {
        self.set(setup)
    }

    fn begin(&mut self, tick: &mut Tick<'_>) {
        for (number, towards) in self.towards.chunks_mut(AT_ONCE).enumerate() {
            let first = self.first + (number * AT_ONCE) as Member;
            let own: Vec<Member> = (first..).take(towards.len()).collect();
            let (offsets, near) = tick.near_of(self.role, &own, self.radius);
            let read = |column: &str, of: &[Member]| match tick.read(column, of) {
                Column::Numbers(values) => values,
                Column::Integers(_) | Column::Bytes(_) => vec![0.0; of.len()],
            };
            let all = [read("vx", &near), read("vy", &near)];
            let alone = [read("vx", &own), read("vy", &own)];
            for (row, towards) in towards.iter_mut().enumerate() {
                let near = offsets[row] as usize..offsets[row + 1] as usize;
                for direction in 0..2 {
                    let others: f64 = all[direction][near.clone()].iter().sum();
                    towards[direction] = alone[direction][row] + others;
                }
            }
        }
    }

    fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
        let [x, y] = self.towards[row];
        let heading = y.atan2(x) + self.noise * (tick.draw().unit() - 0.5);
        let (sin, cos) = heading.sin_cos();
        self.headings[row] = heading;
        for (direction, towards) in [cos, sin].into_iter().enumerate() {
            let (at, size) = (&mut self.places[direction][row], self.size[direction]);
            *at = (*at + self.speed * towards).rem_euclid(size);
        }
    }

    fn publish(&self, column: usize) -> Column {
        Column::Numbers(match column {
            0 | 1 => self.places[column].clone(),
            2 => self.velocities(f64::cos),
            _ => self.velocities(f64::sin),
        })
    }
}

dormouse_sdk::export_population!(Flock);
