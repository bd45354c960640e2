//! Whether a specification makes sense.

use std::collections::HashSet;

use super::{
    AggregateSpec, Announcement, AttributeSpec, Change, Deed, Distribution, MembersSpec,
    ParameterSpec, ProgramStep, RowsSpec, SpaceSpec, Statistic, TopologySpec, WorldSpec,
};
use dormouse_domain::creation::MAX_DOCUMENT;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::mail::MAX_MAIL_BYTES;
use dormouse_domain::sample;
use dormouse_domain::session::JsonObject;
use dormouse_domain::simulation::{Member, Tick};

/// The longest specification, in bytes.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// The most members of a role.
pub(crate) const MAX_MEMBERS: u32 = 16 << 20;
const MAX_ROLES: usize = 64;
const MAX_AGGREGATES: usize = 100;
const MAX_NAME: usize = 64;
/// The most characters of what people call a world.
const MAX_TITLE: usize = 200;
const MAX_TICKS: u64 = 1 << 40;
/// The shortest and the longest side of a space.
const SIDES: std::ops::RangeInclusive<f64> = 1e-12..=1e12;
/// The most ties of a topology: it is made as a whole.
const MAX_TIES: u64 = 16 << 20;
/// The most values of attributes, of all roles together.
const MAX_ATTRIBUTE_VALUES: u64 = 128 << 20;
/// The most that is done to a world from outside.
const MAX_STEPS: usize = 10_000;
/// What whoever names a file is told that nobody has read.
const READS_NO_FILES: &str = "only `dormouse sim` reads files; say here what is in it";
/// The most that the configurations of all members of a role have, in bytes.
const MAX_CONFIGURED: u64 = 256 << 20;
/// The most members of a role that are sessions.
pub(crate) const MAX_SESSIONS: u32 = 100_000;
/// The most attributes of a role, and parameters.
const MAX_VALUES: usize = 64;

/// Why a specification is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It is longer than a specification may be.
    #[error("the specification is larger than 16 MiB; put what is long into tables beside it")]
    TooLarge,
    /// It is no TOML, or has other fields. Says where.
    #[error("{0}")]
    Toml(String),
    /// A field has no meaning. Says which, and what to change.
    #[error("{field}: {problem}")]
    Invalid {
        /// The way to the field, as `members[0].count`.
        field: String,
        /// What to change.
        problem: String,
    },
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> SpecError {
    SpecError::Invalid { field: field.into(), problem: problem.into() }
}

impl WorldSpec {
    /// Whether it makes sense, as far as can be told without its agents.
    ///
    /// # Errors
    /// [`SpecError::Invalid`], with the first field that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.name.chars().count() > MAX_TITLE || self.name.chars().any(char::is_control) {
            let problem =
                format!("it has {MAX_TITLE} characters at most, and no control characters");
            return Err(invalid("name", problem));
        }
        if self.ticks == 0 || self.ticks > MAX_TICKS {
            return Err(invalid("ticks", "a world has at least one tick, and at most 2^40"));
        }
        if self.clock.tick_ms == 0 {
            return Err(invalid("clock.tickMs", "a tick takes at least a millisecond"));
        }
        if self.members.is_empty() || self.members.len() > MAX_ROLES {
            return Err(invalid("members", format!("a world has 1 to {MAX_ROLES} roles")));
        }
        self.space.as_ref().map_or(Ok(()), check_space)?;
        let mut roles = HashSet::new();
        for (place, members) in self.members.iter().enumerate() {
            let field = format!("members[{place}]");
            check_members(members, &field)?;
            if !roles.insert(members.role.as_str()) {
                return Err(invalid(
                    format!("{field}.role"),
                    format!(
                        "there are two roles by the name `{}`; put them together, or rename one",
                        members.role
                    ),
                ));
            }
        }
        let ties: f64 =
            self.members.iter().map(|own| expected_ties(&own.topology, own.count)).sum();
        if ties > MAX_TIES as f64 {
            return Err(invalid(
                "members",
                format!("all topologies together would have more than {MAX_TIES} ties"),
            ));
        }
        let values =
            self.members.iter().map(|own| u64::from(own.count) * own.attributes.len() as u64);
        if values.sum::<u64>() > MAX_ATTRIBUTE_VALUES {
            let problem = format!(
                "all attributes together would have more than {MAX_ATTRIBUTE_VALUES} values"
            );
            return Err(invalid("members", problem));
        }
        if self.aggregates.len() > MAX_AGGREGATES {
            return Err(invalid("aggregates", format!("there may be {MAX_AGGREGATES} of them")));
        }
        let mut names = HashSet::new();
        for (place, aggregate) in self.aggregates.iter().enumerate() {
            let field = format!("aggregates[{place}]");
            check_aggregate(aggregate, &roles, &field)?;
            if !names.insert(aggregate.name.as_str()) {
                let problem = format!("there are two by the name `{}`", aggregate.name);
                return Err(invalid(format!("{field}.name"), problem));
            }
        }
        let usd = self.budget.usd.unwrap_or_default();
        if NanoUsd::from_usd(usd).is_none() {
            return Err(invalid("budget.usd", "an amount of US dollars is 0 or more"));
        }
        if self.program.len() > MAX_STEPS {
            return Err(invalid("program", format!("there may be {MAX_STEPS} steps")));
        }
        (0..self.program.len()).try_for_each(|place| self.check_step(place, 0))
    }

    /// The place of the role of this name.
    ///
    /// # Errors
    /// There is no such role.
    pub fn place_of(&self, role: &str) -> Result<usize, SpecError> {
        let place = self.members.iter().position(|members| members.role == role);
        place.ok_or_else(|| {
            let roles: Vec<&str> = self.members.iter().map(|own| own.role.as_str()).collect();
            invalid("role", format!("there is no such role, but {}", roles.join(", ")))
        })
    }

    /// Do this to the world, which has so many ticks behind it.
    ///
    /// # Errors
    /// It cannot be done, or its tick is over. Nothing has changed.
    pub fn intervene(&mut self, step: ProgramStep, from: Tick) -> Result<(), SpecError> {
        if self.program.len() >= MAX_STEPS {
            return Err(invalid("program", format!("there may be {MAX_STEPS} steps")));
        }
        self.program.push(step);
        let checked = self.check_step(self.program.len() - 1, from).and_then(|()| {
            let bytes = serde_json::to_vec(self).map_or(usize::MAX, |text| text.len());
            if bytes > MAX_BYTES { Err(SpecError::TooLarge) } else { Ok(()) }
        });
        if checked.is_err() {
            self.program.pop();
        }
        checked
    }

    /// Whether the step of its program in this place can be done to it, and is not before this tick.
    fn check_step(&self, place: usize, from: Tick) -> Result<(), SpecError> {
        let (step, field) = (&self.program[place], format!("program[{place}]"));
        if step.at >= self.ticks || step.at < from {
            let problem =
                format!("it is done before one of the ticks {from} to {}", self.ticks - 1);
            return Err(invalid(format!("{field}.at"), problem));
        }
        match &step.deed {
            Deed::Pause => Ok(()),
            Deed::Set(change) => self.check_change(change, &format!("{field}.do.set")),
            Deed::Send(Announcement { role, members, text }) => {
                let field = format!("{field}.do.send");
                self.check_addressed(role, members.as_deref(), &field)?;
                if text.is_empty() || text.len() as u64 > MAX_MAIL_BYTES {
                    let problem = format!("a mail has 1 to {MAX_MAIL_BYTES} bytes");
                    return Err(invalid(format!("{field}.text"), problem));
                }
                Ok(())
            }
        }
    }

    fn check_change(&self, change: &Change, field: &str) -> Result<(), SpecError> {
        let Change { role, parameters, config, members } = change;
        self.check_addressed(role, members.as_deref(), field)?;
        if (parameters.is_empty() && config.is_empty()) || parameters.len() > MAX_VALUES {
            let problem = format!("one to {MAX_VALUES} parameters change, or the configuration");
            return Err(invalid(format!("{field}.parameters"), problem));
        }
        if !parameters.is_empty() && (!config.is_empty() || members.is_some()) {
            let problem = "parameters are those of rows; sessions have a configuration";
            return Err(invalid(format!("{field}.parameters"), problem));
        }
        let bytes = check_document(config, || format!("{field}.config"))?;
        let count = self.members.iter().find(|own| own.role == *role).map_or(0, |own| own.count);
        if bytes as u64 * u64::from(count) > MAX_CONFIGURED && !config.is_empty() {
            let problem = "the configuration of all members together would have more than 256 MiB";
            return Err(invalid(format!("{field}.config"), problem));
        }
        parameters.iter().try_for_each(|(name, value)| check_parameter(name, value, field))
    }

    /// Whether there are this role and these members of it, when the world begins.
    fn check_addressed(
        &self,
        role: &str,
        members: Option<&[Member]>,
        field: &str,
    ) -> Result<(), SpecError> {
        let Some(own) = self.members.iter().find(|members| members.role == role) else {
            let roles: Vec<&str> = self.members.iter().map(|own| own.role.as_str()).collect();
            let problem = format!("there is no such role, but {}", roles.join(", "));
            return Err(invalid(format!("{field}.role"), problem));
        };
        if members.is_some_and(|members| !members.is_sorted_by(|one, other| one < other)) {
            let problem = "members are named once each, in the order of their numbers";
            return Err(invalid(format!("{field}.members"), problem));
        }
        match members.and_then(|members| members.iter().find(|member| **member >= own.count)) {
            Some(member) => {
                let problem = format!(
                    "there is no member {member}: they are numbered from 0 to {}",
                    own.count - 1
                );
                Err(invalid(format!("{field}.members"), problem))
            }
            None => Ok(()),
        }
    }
}

/// Whether a configuration is small enough. How many bytes it has.
fn check_document(document: &JsonObject, field: impl Fn() -> String) -> Result<usize, SpecError> {
    let bytes = serde_json::to_vec(document).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_DOCUMENT {
        let problem = format!("a configuration takes at most {MAX_DOCUMENT} bytes, as JSON");
        return Err(invalid(field(), problem));
    }
    Ok(bytes)
}

/// What only members have that are sessions.
fn check_sessions(members: &MembersSpec, field: &str) -> Result<(), SpecError> {
    let within = |name: &str| format!("{field}.{name}");
    if members.of_sessions().is_none() {
        return Ok(());
    }
    let all = check_document(&members.config, || within("config"))?;
    if members.each.len() > members.count as usize {
        let problem = format!("there are {} for {} members", members.each.len(), members.count);
        return Err(invalid(within("each"), problem));
    }
    let mut each = 0;
    for (place, own) in members.each.iter().enumerate() {
        each = each.max(check_document(own, || format!("{field}.each[{place}]"))?);
    }
    if (all + each) as u64 * u64::from(members.count) > MAX_CONFIGURED {
        let problem = "the configuration of all members together would have more than 256 MiB";
        return Err(invalid(within("config"), problem));
    }
    for (name, names) in [("columns", &members.columns), ("reads", &members.reads)] {
        if names.len() > MAX_VALUES {
            return Err(invalid(within(name), format!("a role has at most {MAX_VALUES} of them")));
        }
        if let Some(wrong) = names.iter().find(|name| !sample::is_name(name)) {
            let problem = format!("`{wrong}` is no name: {}", sample::NAME_RULE);
            return Err(invalid(within(name), problem));
        }
    }
    if members.fuel_per_turn == Some(0) {
        return Err(invalid(within("fuelPerTurn"), "a turn needs fuel: 1 or more"));
    }
    if members.resident == Some(0) {
        return Err(invalid(within("resident"), "1 or more are in memory at a time"));
    }
    Ok(())
}

fn check_space(space: &SpaceSpec) -> Result<(), SpecError> {
    if !space.size.iter().all(|side| SIDES.contains(side)) {
        return Err(invalid("space.size", "a side is 10^-12 or more, and 10^12 at most"));
    }
    if space.columns[0] == space.columns[1] {
        return Err(invalid("space.columns", "there are two coordinates, a column each"));
    }
    space.columns.iter().try_for_each(|name| check_name(name, "space.columns".to_owned()))
}

fn check_name(name: &str, field: String) -> Result<(), SpecError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
        let problem = "a name has 1 to 64 letters and digits of ASCII, `_` and `-`";
        return Err(invalid(field, problem));
    }
    Ok(())
}

fn check_members(members: &MembersSpec, field: &str) -> Result<(), SpecError> {
    let within = |name: &str| format!("{field}.{name}");
    check_name(&members.role, within("role"))?;
    if members.from.is_some() {
        return Err(invalid(within("from"), READS_NO_FILES));
    }
    if members.count == 0 || members.count > MAX_MEMBERS {
        let problem = format!("a role begins with 1 to {MAX_MEMBERS} members");
        return Err(invalid(within("count"), problem));
    }
    if members.rows == RowsSpec::AtMost(0) {
        return Err(invalid(within("rows"), "an instance has 1 row or more"));
    }
    for (name, count) in
        [("attributes", members.attributes.len()), ("parameters", members.parameters.len())]
    {
        if count > MAX_VALUES {
            return Err(invalid(within(name), format!("a role has at most {MAX_VALUES} of them")));
        }
    }
    for (name, attribute) in &members.attributes {
        let field = format!("{field}.attributes.{name}");
        check_name(name, field.clone())?;
        check_attribute(attribute, members.count, &field)?;
    }
    for (name, value) in &members.parameters {
        check_parameter(name, value, field)?;
    }
    check_sessions(members, field)?;
    check_topology(&members.topology, members.count, &within("topology"))
}

fn check_parameter(name: &str, value: &ParameterSpec, field: &str) -> Result<(), SpecError> {
    let field = format!("{field}.parameters.{name}");
    check_name(name, field.clone())?;
    if matches!(value, ParameterSpec::Number(value) if !value.is_finite()) {
        return Err(invalid(field, "numbers are finite"));
    }
    Ok(())
}

fn check_attribute(attribute: &AttributeSpec, count: u32, field: &str) -> Result<(), SpecError> {
    let finite = |values: &[f64]| {
        let all = values.iter().all(|value| value.is_finite());
        all.then_some(()).ok_or_else(|| invalid(field, "numbers are finite"))
    };
    let each = |length: usize| {
        let problem = || {
            format!("there are {length} values for {count} members; there has to be one for each")
        };
        (length == count as usize).then_some(()).ok_or_else(|| invalid(field, problem()))
    };
    match attribute {
        AttributeSpec::Integer(_) => Ok(()),
        AttributeSpec::Number(value) => finite(&[*value]),
        AttributeSpec::Integers(values) => each(values.len()),
        AttributeSpec::Numbers(values) => each(values.len()).and_then(|()| finite(values)),
        AttributeSpec::Drawn(drawn) => match drawn {
            Distribution::Uniform(from, to) if from < to => finite(&[*from, *to, to - from]),
            Distribution::Uniform(..) => {
                Err(invalid(field, "the first number is below the second"))
            }
            Distribution::Integers(from, to) if from <= to => Ok(()),
            Distribution::Integers(..) => {
                Err(invalid(field, "the first integer is no more than the second"))
            }
            Distribution::Normal(a, b) | Distribution::Cauchy(a, b) if *b >= 0.0 => {
                finite(&[*a, *b])
            }
            Distribution::Normal(..) | Distribution::Cauchy(..) => {
                Err(invalid(field, "the second number, which is the width, is 0 or more"))
            }
            Distribution::Chance(p) => probability(*p, field),
            Distribution::Distinct(places) if (count..=MAX_MEMBERS).contains(places) => Ok(()),
            Distribution::Distinct(places) => Err(invalid(
                field,
                format!(
                    "there are {places} for {count} members; at least as many, and at most {MAX_MEMBERS}"
                ),
            )),
            Distribution::Exactly(some) if *some <= count => Ok(()),
            Distribution::Exactly(some) => {
                Err(invalid(field, format!("{some} of {count} members cannot have it")))
            }
        },
    }
}

fn probability(p: f64, field: &str) -> Result<(), SpecError> {
    let is_one = (0.0..=1.0).contains(&p);
    is_one.then_some(()).ok_or_else(|| invalid(field, "a probability is from 0 to 1"))
}

fn check_topology(topology: &TopologySpec, count: u32, field: &str) -> Result<(), SpecError> {
    match topology {
        TopologySpec::None | TopologySpec::Ring | TopologySpec::Star => Ok(()),
        TopologySpec::Grid { width } if *width > 0 && count.is_multiple_of(*width) => Ok(()),
        TopologySpec::Grid { width } => {
            let problem = format!("{count} members do not make lines of {width}");
            Err(invalid(format!("{field}.width"), problem))
        }
        TopologySpec::Random { p } => probability(*p, &format!("{field}.p")),
        TopologySpec::SmallWorld { k, p } => {
            probability(*p, &format!("{field}.p"))?;
            if *k == 0 || !k.is_multiple_of(2) || *k > count / 2 {
                let problem =
                    "each begins with an even number of neighbours, at most half of all members";
                return Err(invalid(format!("{field}.k"), problem));
            }
            Ok(())
        }
        TopologySpec::ScaleFree { m } => {
            if *m == 0 || *m >= count {
                let problem = "each comes with at least one tie, and fewer than there are members";
                return Err(invalid(format!("{field}.m"), problem));
            }
            Ok(())
        }
        TopologySpec::Edges { from: Some(_), .. } => {
            Err(invalid(format!("{field}.from"), READS_NO_FILES))
        }
        TopologySpec::Edges { edges, from: None } => {
            for (place, (a, b)) in edges.iter().enumerate() {
                if *a >= count || *b >= count {
                    let problem = format!(
                        "there is no member {}: they are numbered from 0 to {}",
                        a.max(b),
                        count - 1
                    );
                    return Err(invalid(format!("{field}.edges[{place}]"), problem));
                }
            }
            Ok(())
        }
    }
}

/// About how many ties a topology has.
fn expected_ties(topology: &TopologySpec, count: u32) -> f64 {
    let count = f64::from(count);
    match topology {
        TopologySpec::None => 0.0,
        TopologySpec::Ring | TopologySpec::Star => count,
        TopologySpec::Grid { .. } => 2.0 * count,
        TopologySpec::Random { p } => count * count / 2.0 * p,
        TopologySpec::SmallWorld { k, .. } => count * f64::from(*k) / 2.0,
        TopologySpec::ScaleFree { m } => count * f64::from(*m),
        TopologySpec::Edges { edges, from: _ } => edges.len() as f64,
    }
}

fn check_aggregate(
    aggregate: &AggregateSpec,
    roles: &HashSet<&str>,
    field: &str,
) -> Result<(), SpecError> {
    check_name(&aggregate.name, format!("{field}.name"))?;
    if aggregate.every == 0 {
        return Err(invalid(
            format!("{field}.every"),
            "it is computed at most once in a tick: 1 or more",
        ));
    }
    match aggregate.of.split_once('.') {
        Some((role, column)) if roles.contains(role) && !column.is_empty() => {}
        Some(_) | None => {
            let mut names: Vec<&str> = roles.iter().copied().collect();
            names.sort_unstable();
            let problem = format!(
                "it is a role and one of its columns, as `role.column`; the roles are {}",
                names.join(", ")
            );
            return Err(invalid(format!("{field}.of"), problem));
        }
    }
    match aggregate.is {
        Statistic::Quantile(q) => probability(q, &format!("{field}.is")),
        Statistic::Share(value) if !value.is_finite() => {
            Err(invalid(format!("{field}.is"), "the value is a number"))
        }
        Statistic::Mean
        | Statistic::Sum
        | Statistic::Min
        | Statistic::Max
        | Statistic::Gini
        | Statistic::Share(_) => Ok(()),
    }
}
