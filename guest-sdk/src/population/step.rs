//! One tick of all rows of an instance, in the order of the schedule.

use std::fmt;

use super::{
    Column, Draws, Failure, Fold, Member, Parameter, Population, Schedule, Setup, Values,
    tick::{Immediate, Tick, Value, View},
    wire::{Arrivals, Births, Effects, Input, Outcome},
};

/// The place of the numbers that decide over the order of a tick. No row draws as many.
const ORDER: u32 = u32::MAX - 1;

/// Something that was done to a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arrival {
    /// The role of those who did it.
    pub role: u32,
    /// The kind: its place among the effects of whoever did it.
    pub kind: usize,
    /// Who did it. `None`: several may have.
    pub from: Option<Member>,
    /// Its value, or what the values of all were folded into.
    pub value: Value,
}

impl Arrival {
    /// How many effects without values there were, or the sum of integers; otherwise 1.
    #[inline]
    #[must_use]
    pub fn count(&self) -> i64 {
        match self.value {
            Value::Integer(value) => value,
            Value::None | Value::Number(_) => 1,
        }
    }

    /// Its number.
    #[inline]
    #[must_use]
    pub fn number(&self) -> f64 {
        match self.value {
            Value::Number(value) => value,
            Value::Integer(value) => value as f64,
            Value::None => 0.0,
        }
    }
}

/// The rows of one instance.
pub struct Stepper<P> {
    population: P,
    /// What the rows were made of, without their attributes.
    setup: Setup,
    /// How many members the role has, as far as this instance knows.
    size: u32,
    /// Which rows have not ended.
    is_alive: Vec<bool>,
    has_ended: bool,
}

impl<P: Population> Stepper<P> {
    /// Makes the rows.
    ///
    /// # Errors
    ///
    /// As [`Population::new`].
    pub fn new(setup: &Setup) -> Result<Self, Failure> {
        Ok(Stepper {
            population: P::new(setup)?,
            setup: Setup {
                attributes: Vec::new(),
                roles: setup.roles.clone(),
                parameters: setup.parameters.clone(),
                ..*setup
            },
            size: setup.size,
            is_alive: vec![true; setup.rows()],
            has_ended: false,
        })
    }

    /// Goes on with these parameters.
    ///
    /// # Errors
    ///
    /// As [`Population::change`].
    pub fn change(&mut self, parameters: Vec<(String, Parameter)>) -> Result<(), Failure> {
        self.setup.parameters = parameters;
        self.population.change(&self.setup)
    }

    /// Takes all rows through one tick.
    ///
    /// # Errors
    ///
    /// As [`Population::grow`].
    pub fn step(&mut self, input: Input, view: &dyn View) -> Result<Outcome, Failure> {
        if let Some((count, attributes)) = &input.born {
            self.population.grow(*count as usize, attributes)?;
            self.is_alive.resize(self.is_alive.len() + *count as usize, true);
        }
        self.size =
            view.size(self.setup.role).map_err(|error| Failure::failed(error.to_string()))?;
        for arrivals in &input.arrivals {
            self.receive(arrivals);
        }
        let mut tick = Tick::new(
            (input.at, input.key),
            (self.setup.role, self.setup.roles.len(), self.size),
            self.setup.schedule.is_immediate(),
            P::EFFECTS,
            view,
        );
        self.population.begin(&mut tick);
        self.act(&input, &mut tick);
        Ok(self.outcome(tick))
    }

    /// What all rows publish under this name.
    ///
    /// # Errors
    ///
    /// They publish nothing of that name.
    pub fn publish(&self, column: &str) -> Result<Column, Failure> {
        let place = P::COLUMNS.iter().position(|name| *name == column);
        let none =
            || Failure::invalid(format!("rows of this population have no column `{column}`"));
        Ok(self.population.publish(place.ok_or_else(none)?))
    }

    fn receive(&mut self, arrivals: &Arrivals) {
        let (role, kind) = (arrivals.role, arrivals.kind as usize);
        let first = self.setup.first;
        // A loop for each form of arrivals: what is done for each row is a few instructions.
        match (&arrivals.values, arrivals.from.is_empty()) {
            (Column::Integers(values), true) if !values.is_empty() => {
                for (to, value) in arrivals.to.iter().zip(values) {
                    let value = Value::Integer(*value);
                    self.population
                        .receive((to - first) as usize, Arrival { role, kind, from: None, value });
                }
            }
            (values, _) => {
                for (place, to) in arrivals.to.iter().enumerate() {
                    let value = match values {
                        Column::Integers(values) => {
                            values.get(place).map(|value| Value::Integer(*value))
                        }
                        Column::Numbers(values) => {
                            values.get(place).map(|value| Value::Number(*value))
                        }
                        Column::Bytes(_) => None,
                    };
                    let from = arrivals.from.get(place).copied();
                    let value = value.unwrap_or(Value::None);
                    self.population
                        .receive((to - first) as usize, Arrival { role, kind, from, value });
                }
            }
        }
    }

    fn act(&mut self, input: &Input, tick: &mut Tick<'_>) {
        let rows = self.is_alive.len() as u32;
        match (self.setup.schedule, &input.acting) {
            (Schedule::Simultaneous | Schedule::ByEvent, Some(acting)) => {
                for member in acting {
                    self.act_once(*member, *member, tick);
                }
            }
            (Schedule::Simultaneous | Schedule::ByEvent, None) if !self.has_ended => {
                for row in 0..rows {
                    tick.member = self.setup.first + row;
                    tick.drawer = tick.member;
                    tick.place = 0;
                    self.population.act(row as usize, tick);
                }
            }
            (Schedule::Simultaneous | Schedule::ByEvent | Schedule::Sequential, _) => {
                for row in 0..rows {
                    self.act_once(self.setup.first + row, self.setup.first + row, tick);
                }
            }
            (Schedule::Random, _) => {
                let mut order: Vec<u32> = (0..rows).collect();
                for last in (1..rows).rev() {
                    let place = drawn(tick, last).below(last + 1);
                    order.swap(last as usize, place as usize);
                }
                for row in order {
                    self.act_once(self.setup.first + row, self.setup.first + row, tick);
                }
            }
            (Schedule::RandomReplace, _) => {
                for act in 0..rows {
                    let row = drawn(tick, act).below(rows);
                    // A row may act more than once: what it draws belongs to the act.
                    self.act_once(self.setup.first + row, act, tick);
                }
            }
        }
    }

    fn act_once(&mut self, member: Member, drawer: u32, tick: &mut Tick<'_>) {
        let row = (member - self.setup.first) as usize;
        if !self.is_alive[row] {
            return;
        }
        (tick.member, tick.drawer, tick.place) = (member, drawer, 0);
        self.population.act(row, tick);
        if tick.is_immediate {
            let ended = tick.ended.last() == Some(&member);
            self.arrive_at_once(tick);
            // It has to be known now: others act after it in the same tick.
            if ended {
                self.is_alive[row] = false;
            }
        }
    }

    fn arrive_at_once(&mut self, tick: &mut Tick<'_>) {
        for Immediate { kind, from, to, value } in std::mem::take(&mut tick.now) {
            let row = (to - self.setup.first) as usize;
            if self.is_alive[row] {
                let value = match value {
                    Value::None if P::EFFECTS[kind].fold == Fold::Sum => Value::Integer(1),
                    value => value,
                };
                let arrival = Arrival { role: self.setup.role, kind, from: Some(from), value };
                self.population.receive(row, arrival);
            }
        }
    }

    fn outcome(&mut self, tick: Tick<'_>) -> Outcome {
        let Tick { sent, children, ended, wake, wake_in, .. } = tick;
        let roles = self.setup.roles.len();
        for member in &ended {
            self.is_alive[(member - self.setup.first) as usize] = false;
            self.has_ended = true;
        }
        let effects = sent.into_iter().enumerate().filter(|(_, sent)| !sent.to.is_empty());
        Outcome {
            effects: effects
                .map(|(place, mut sent)| {
                    if !sent.delay.is_empty() {
                        sent.delay.resize(sent.to.len(), 1);
                    }
                    Effects {
                        kind: (place / roles) as u32,
                        role: (place % roles) as u32,
                        from: sent.from,
                        to: sent.to,
                        values: match P::EFFECTS[place / roles].values {
                            Values::Numbers => Column::Numbers(sent.numbers),
                            Values::Integers | Values::None => Column::Integers(sent.integers),
                        },
                        delay: sent.delay,
                    }
                })
                .collect(),
            births: children
                .into_iter()
                .map(|children| Births {
                    role: children.role,
                    parents: children.parents,
                    attributes: children.attributes,
                })
                .collect(),
            ended,
            wake,
            wake_in,
        }
    }
}

/// The numbers that decide over the order of the tick.
fn drawn<'t>(tick: &'t mut Tick<'_>, act: u32) -> Draws<'t> {
    tick.place = ORDER;
    Draws { blocks: &mut tick.blocks, member: act, place: &mut tick.place }
}

impl<P> fmt::Debug for Stepper<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepper").field("rows", &self.is_alive.len()).finish_non_exhaustive()
    }
}
