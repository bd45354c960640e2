//! Wolves that eat sheep that eat grass, on a grid: animals are born, and end.
//!
//! The population of three roles, `grass`, `sheep` and `wolves`. A row of `grass` is a place of a grid of `width` places a line whose
//! borders meet, and knows in how many ticks it has grown (attribute `growing`). An animal is in a `place` and has `energy`: it moves to a
//! place beside its own, which costs `cost`, asks the place for food, has a child with the probability `birth`, who gets half of its energy, and
//! ends where it has none left. Each place feeds one sheep in a tick, and one wolf with one of the sheep that are there. Which one, chance
//! decides.

use dormouse_sdk::population::*;

/// An animal asks a place for food.
const GRAZE: usize = 0;
const HUNT: usize = 1;
/// A place gives its food.
const FEED: usize = 2;
/// A sheep is caught.
const CATCH: usize = 3;
/// A sheep is in a place.
const STAND: usize = 4;

enum Kind {
    Grass,
    Sheep,
    Wolves,
}

struct Predators {
    kind: Kind,
    /// The numbers of the roles: grass, sheep and wolves.
    roles: [u32; 3],
    width: u32,
    regrowth: i64,
    gain: f64,
    cost: f64,
    birth: f64,
    places: Vec<i64>,
    energy: Vec<f64>,
    caught: Vec<bool>,
    /// Of each place: in how many ticks its grass has grown, and who asks and stands there.
    growing: Vec<i64>,
    grazing: Vec<Option<Member>>,
    hunting: Vec<Option<Member>>,
    standing: Vec<Option<Member>>,
}

impl Predators {
    fn act_as_grass(&mut self, row: usize, tick: &mut Tick<'_>) {
        let [_, sheep, wolves] = self.roles;
        let grazing = self.grazing[row].take();
        match grazing {
            Some(member) if self.growing[row] == 0 => {
                self.growing[row] = self.regrowth;
                tick.send(FEED, To::member_of(sheep, member), ());
            }
            Some(_) | None => self.growing[row] = (self.growing[row] - 1).max(0),
        }
        if let (Some(wolf), Some(prey)) = (self.hunting[row].take(), self.standing[row].take()) {
            tick.send(FEED, To::member_of(wolves, wolf), ());
            tick.send(CATCH, To::member_of(sheep, prey), ());
        }
        (self.hunting[row], self.standing[row]) = (None, None);
    }

    fn act_as_animal(&mut self, row: usize, tick: &mut Tick<'_>) {
        self.energy[row] -= self.cost;
        if self.caught[row] || self.energy[row] <= 0.0 {
            tick.end();
            return;
        }
        let [grass, _, _] = self.roles;
        let all = tick.size_of(grass);
        let (place, step) = (self.places[row] as u32, tick.draw().below(4));
        let to = match step {
            0 => (place + 1) % all,
            1 => (place + all - 1) % all,
            2 => (place + self.width) % all,
            _ => (place + all - self.width) % all,
        };
        self.places[row] = i64::from(to);
        if let Kind::Sheep = self.kind {
            tick.send(STAND, To::member_of(grass, to), ());
            tick.send(GRAZE, To::member_of(grass, to), ());
        } else {
            tick.send(HUNT, To::member_of(grass, to), ());
        }
        if tick.draw().chance(self.birth) {
            self.energy[row] /= 2.0;
            let child = [
                ("place", Value::Integer(i64::from(to))),
                ("energy", Value::Number(self.energy[row])),
            ];
            let own = self.roles[if let Kind::Sheep = self.kind { 1 } else { 2 }];
            tick.bear(own, &child);
        }
    }
}

impl Population for Predators {
    const COLUMNS: &'static [&'static str] = &["place", "energy", "growing", "one"];
    const EFFECTS: &'static [EffectKind] = &[
        EffectKind::claimed("graze"),
        EffectKind::claimed("hunt"),
        EffectKind::counted("feed"),
        EffectKind::counted("catch"),
        EffectKind::claimed("stand"),
    ];

    fn new(setup: &Setup) -> Result<Self, Failure> {
        let kind = match setup.roles[setup.role as usize].as_str() {
            "grass" => Kind::Grass,
            "sheep" => Kind::Sheep,
            "wolves" => Kind::Wolves,
            _ => return Err(Failure::invalid("the roles are `grass`, `sheep` and `wolves`")),
        };
        let width = u32::try_from(setup.integer("width", 50)?).unwrap_or(0);
        if width == 0 {
            return Err(Failure::invalid(
                "`width` is how many places a line has, for all three roles",
            ));
        }
        let rows = setup.rows();
        let nobody = || vec![None; rows];
        Ok(Predators {
            kind,
            roles: [
                setup.role_named("grass")?,
                setup.role_named("sheep")?,
                setup.role_named("wolves")?,
            ],
            width,
            regrowth: setup.integer("regrowth", 30)?,
            gain: setup.number("gain", 4.0)?,
            cost: setup.number("cost", 1.0)?,
            birth: setup.number("birth", 0.04)?,
            places: setup.integers("place", 0)?,
            energy: setup.numbers("energy", 4.0)?,
            caught: vec![false; rows],
            growing: setup.integers("growing", 0)?,
            grazing: nobody(),
            hunting: nobody(),
            standing: nobody(),
        })
    }

    fn grow(&mut self, count: usize, attributes: &[(String, Column)]) -> Result<(), Failure> {
        for (name, values) in attributes {
            match (name.as_str(), values) {
                ("place", Column::Integers(places)) => self.places.extend(places),
                ("energy", Column::Numbers(energy)) => self.energy.extend(energy),
                _ => return Err(Failure::failed("animals are born with a place and their energy")),
            }
        }
        let all = self.places.len();
        self.caught.resize(all, false);
        self.growing.resize(all, 0);
        debug_assert_eq!(self.energy.len(), all, "{count} are born with all that they have");
        Ok(())
    }

    fn change(&mut self, setup: &Setup) -> Result<(), Failure> {
        self.regrowth = setup.integer("regrowth", self.regrowth)?;
        self.gain = setup.number("gain", self.gain)?;
        self.cost = setup.number("cost", self.cost)?;
        self.birth = setup.number("birth", self.birth)?;
        Ok(())
    }

    fn receive(&mut self, row: usize, arrival: Arrival) {
        match arrival.kind {
            GRAZE => self.grazing[row] = arrival.from,
            HUNT => self.hunting[row] = arrival.from,
            STAND => self.standing[row] = arrival.from,
            FEED => self.energy[row] += self.gain,
            _ => self.caught[row] = true,
        }
    }

    fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
        match self.kind {
            Kind::Grass => self.act_as_grass(row, tick),
            Kind::Sheep | Kind::Wolves => self.act_as_animal(row, tick),
        }
    }

    fn publish(&self, column: usize) -> Column {
        match column {
            0 => Column::Integers(self.places.clone()),
            1 => Column::Numbers(self.energy.clone()),
            2 => Column::Integers(self.growing.clone()),
            _ => Column::Integers(vec![1; self.places.len()]),
        }
    }
}

dormouse_sdk::export_population!(Predators);
