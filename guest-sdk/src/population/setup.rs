//! What a population is made of.

use std::fmt;

use super::Member;

/// A value for each of several members.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// 64-bit integers.
    Integers(Vec<i64>),
    /// 64-bit floating-point numbers.
    Numbers(Vec<f64>),
    /// Bytes: kinds and flags.
    Bytes(Vec<u8>),
}

/// A parameter of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// An integer.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

/// In which order the rows of a tick act, and when they see what others did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// All at once: what a row does arrives with the next tick.
    Simultaneous,
    /// Each once, in an order that is shuffled for each tick; what a row does to rows of its population arrives at once.
    Random,
    /// As many as there are rows, each drawn among all; what a row does to rows of its population arrives at once.
    RandomReplace,
    /// Each once, by number; what a row does to rows of its population arrives at once.
    Sequential,
    /// Those to which something was done, or who are due; what they do arrives with the next tick.
    ByEvent,
}

impl Schedule {
    /// Whether what a row does to rows of its population arrives at once.
    pub(super) fn is_immediate(self) -> bool {
        matches!(self, Schedule::Random | Schedule::RandomReplace | Schedule::Sequential)
    }
}

/// What an instance is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The roles of the world. The number of a role is its place here.
    pub roles: Vec<String>,
    /// The role of these rows.
    pub role: u32,
    /// The number of the first row.
    pub first: Member,
    /// How many rows the instance has.
    pub count: u32,
    /// How many rows the role begins with.
    pub size: u32,
    /// The order in which rows act.
    pub schedule: Schedule,
    /// The parameters of the role.
    pub parameters: Vec<(String, Parameter)>,
    /// The attributes of the rows, by name.
    pub attributes: Vec<(String, Column)>,
}

/// Why a population does not do what its world asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The world asks for what this population cannot do. The text says what to change.
    Invalid(String),
    /// Anything else. The text says what went wrong.
    Failed(String),
}

impl Failure {
    /// The specification of the world can be better: the text says how.
    pub fn invalid(message: impl Into<String>) -> Self {
        Failure::Invalid(message.into())
    }

    /// Something went wrong: the text says what.
    pub fn failed(message: impl Into<String>) -> Self {
        Failure::Failed(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Invalid(message) | Failure::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Failure {}

impl Setup {
    /// How many rows the instance has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.count as usize
    }

    /// The number of the role of this name.
    ///
    /// # Errors
    ///
    /// The world has none.
    pub fn role_named(&self, name: &str) -> Result<u32, Failure> {
        let place = self.roles.iter().position(|role| role == name);
        let none = || Failure::Invalid(format!("the world needs members of the role `{name}`"));
        place.map(|place| place as u32).ok_or_else(none)
    }

    /// The number under this name, or this one where the world says none.
    ///
    /// # Errors
    ///
    /// It says something else than a number.
    pub fn number(&self, name: &str, otherwise: f64) -> Result<f64, Failure> {
        match self.parameter(name) {
            Some(Parameter::Number(value)) => Ok(*value),
            Some(Parameter::Integer(value)) => Ok(*value as f64),
            Some(Parameter::Text(_) | Parameter::Flag(_)) => Err(other_type(name, "a number")),
            None => Ok(otherwise),
        }
    }

    /// The integer under this name, or this one where the world says none.
    ///
    /// # Errors
    ///
    /// It says something else than an integer.
    pub fn integer(&self, name: &str, otherwise: i64) -> Result<i64, Failure> {
        match self.parameter(name) {
            Some(Parameter::Integer(value)) => Ok(*value),
            Some(_) => Err(other_type(name, "an integer")),
            None => Ok(otherwise),
        }
    }

    /// The text under this name, or this one where the world says none.
    ///
    /// # Errors
    ///
    /// It says something else than a text.
    pub fn text<'s>(&'s self, name: &str, otherwise: &'s str) -> Result<&'s str, Failure> {
        match self.parameter(name) {
            Some(Parameter::Text(value)) => Ok(value),
            Some(_) => Err(other_type(name, "a text")),
            None => Ok(otherwise),
        }
    }

    /// The integers of the rows under this name, or this one for each where the world says nothing of it.
    ///
    /// # Errors
    ///
    /// They are no integers.
    pub fn integers(&self, name: &str, otherwise: i64) -> Result<Vec<i64>, Failure> {
        match self.attribute(name) {
            Some(Column::Integers(values)) => Ok(values.clone()),
            Some(Column::Bytes(values)) => {
                Ok(values.iter().map(|value| i64::from(*value)).collect())
            }
            Some(Column::Numbers(_)) => Err(other_type(name, "integers")),
            None => Ok(vec![otherwise; self.rows()]),
        }
    }

    /// The numbers of the rows under this name, or this one for each where the world says nothing of it.
    ///
    /// # Errors
    ///
    /// They are no numbers.
    pub fn numbers(&self, name: &str, otherwise: f64) -> Result<Vec<f64>, Failure> {
        Ok(match self.attribute(name) {
            Some(Column::Numbers(values)) => values.clone(),
            Some(Column::Integers(values)) => values.iter().map(|value| *value as f64).collect(),
            Some(Column::Bytes(values)) => values.iter().map(|value| f64::from(*value)).collect(),
            None => vec![otherwise; self.rows()],
        })
    }

    /// The attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Column> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, values)| values)
    }

    /// The parameter of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }
}

fn other_type(name: &str, what: &str) -> Failure {
    Failure::Invalid(format!("`{name}` has to be {what}"))
}
