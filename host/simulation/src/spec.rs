//! What a world is made of: its specification, as TOML or as JSON.
//!
//! A specification says all that means something for what comes of a world. It is checked as a whole before anything is
//! made of it ([`WorldSpec::check`]), and an error names the place that is to be changed.

mod check;
mod value;

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Map;

pub use check::SpecError;
pub(crate) use check::{MAX_BYTES, MAX_MEMBERS, MAX_SESSIONS};
#[cfg(feature = "schema")]
use value::RowsForm;
pub use value::{AttributeSpec, Distribution, RowsSpec};

use crate::fingerprint::Link;
use dormouse_domain::session::JsonObject;
use dormouse_domain::simulation::{Member, Parameter, Schedule, Tick};
use dormouse_domain::time::Timestamp;

/// The specification of a world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorldSpec {
    /// What people call it. It means nothing for the outcome.
    #[serde(default)]
    pub name: String,
    /// What all chance of the world comes from.
    #[serde(default)]
    pub seed: u64,
    /// How many ticks it has.
    pub ticks: u64,
    /// When its first tick is and how long each takes, for the clocks of its members.
    #[serde(default)]
    pub clock: ClockSpec,
    /// In which order members act.
    #[serde(default)]
    pub schedule: ScheduleSpec,
    /// Its members, a role each.
    pub members: Vec<MembersSpec>,
    /// Where members are, so that they can ask who is near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<SpaceSpec>,
    /// Numbers about all members of a role, which are computed as the world goes on.
    #[serde(default)]
    pub aggregates: Vec<AggregateSpec>,
    /// What is done to it from outside, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub program: Vec<ProgramStep>,
    /// What it may use before it is paused. It means nothing for the outcome.
    #[serde(default)]
    pub budget: Budget,
}

/// A plane in which members are: those of each role that publishes both coordinates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpaceSpec {
    /// Its width and its height. It begins with 0.
    #[serde(deserialize_with = "two")]
    pub size: [f64; 2],
    /// Whether its borders meet. Otherwise members may also be outside.
    #[serde(default)]
    pub torus: bool,
    /// The columns with the coordinates of members.
    #[serde(default = "coordinates", deserialize_with = "two")]
    pub columns: [String; 2],
}

/// Two values: TOML leaves away what comes behind them, and says nothing.
fn two<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<[T; 2], D::Error> {
    let values = Vec::<T>::deserialize(from)?;
    values.try_into().map_err(|_| serde::de::Error::custom("a plane has two directions"))
}

fn coordinates() -> [String; 2] {
    ["x".to_owned(), "y".to_owned()]
}

/// Something that is done to a world from outside, between two ticks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgramStep {
    /// Before which tick.
    pub at: Tick,
    /// What is done.
    #[serde(rename = "do")]
    pub deed: Deed,
}

/// What can be done to a world from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Some parameters of a role, or the configuration of some of its members, have other values from now on.
    Set(Change),
    /// Members are sent a mail, which arrives with this tick. Its sender is `world`.
    Send(Announcement),
    /// The world is paused. It means nothing for the outcome.
    Pause,
}

/// Other values of some parameters of a role, where its members are rows; of their configuration, where they are sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// The role.
    pub role: String,
    /// Parameters that change. The others stay as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, ParameterSpec>,
    /// What of the configuration changes. What is not named stays as it is.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: JsonObject,
    /// Whose configuration. Where it is left out, that of all members of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
}

/// A mail to members that are sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Announcement {
    /// The role.
    pub role: String,
    /// To whom. Where it is left out, to all members of the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
    /// What it says.
    pub text: String,
}

/// What a world may use before it is paused. What is left out is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Budget {
    /// US dollars, for calls of language models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// Tokens of language models, read and written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Fuel, of all ticks together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// How long it may run, in milliseconds: the time in which it goes on, and not that in which it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
}

/// When the ticks of a world are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClockSpec {
    /// When the first tick is, in milliseconds since 1970-01-01T00:00:00Z.
    pub start_ms: u64,
    /// How long a tick takes, in milliseconds.
    pub tick_ms: u64,
}

impl Default for ClockSpec {
    /// 2000-01-01T00:00:00Z, and a second each.
    fn default() -> ClockSpec {
        ClockSpec { start_ms: 946_684_800_000, tick_ms: 1_000 }
    }
}

impl ClockSpec {
    /// When a tick is.
    pub(crate) fn at(self, tick: Tick) -> Timestamp {
        let ms = self.start_ms.saturating_add(tick.saturating_mul(self.tick_ms));
        Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

/// In which order the members of a tick act, and when others learn of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleSpec {
    /// All at once: what a member does arrives with the next tick.
    #[default]
    Simultaneous,
    /// Each once, shuffled for each tick; what it does within its role arrives at once.
    Random,
    /// As many acts as there are members, each by one drawn among all; what it does within its role arrives at once.
    RandomReplace,
    /// Each once, by number; what it does within its role arrives at once.
    Sequential,
    /// Those to whom something was done or who are due; what they do arrives with the next tick.
    ByEvent,
}

impl From<ScheduleSpec> for Schedule {
    fn from(schedule: ScheduleSpec) -> Schedule {
        match schedule {
            ScheduleSpec::Simultaneous => Schedule::Simultaneous,
            ScheduleSpec::Random => Schedule::Random,
            ScheduleSpec::RandomReplace => Schedule::RandomReplace,
            ScheduleSpec::Sequential => Schedule::Sequential,
            ScheduleSpec::ByEvent => Schedule::ByEvent,
        }
    }
}

/// The members of one role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MembersSpec {
    /// The role.
    pub role: String,
    /// The name of an agent, with its version where one is meant. Where it is a population, the members are its rows; otherwise
    /// each is a session of it.
    pub agent: String,
    /// How many there are. It may be left out where `from` says.
    #[serde(default)]
    pub count: u32,
    /// A table beside the file of the specification, in CSV: a member for each line. Only the command line reads files: it puts
    /// numbers among the `attributes` of rows, and everything into `each` of sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How many rows an instance has. It means nothing for the outcome.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "RowsForm"))]
    pub rows: RowsSpec,
    /// What the population is told of the world.
    #[serde(default)]
    pub parameters: BTreeMap<String, ParameterSpec>,
    /// What each member has from its beginning.
    #[serde(default)]
    pub attributes: BTreeMap<String, AttributeSpec>,
    /// Who stands next to whom.
    #[serde(default)]
    pub topology: TopologySpec,
    /// Where members are sessions: what each is configured with.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: JsonObject,
    /// Where members are sessions: what single ones are configured with besides. The first is for member 0, and behind the last it
    /// begins anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each: Vec<JsonObject>,
    /// Where members are sessions: the names under which they sample what they publish. One that has sampled nothing yet publishes
    /// its attribute of that name, or 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Where members are sessions: the columns and aggregates that they read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// Where members are sessions: the fuel that each may use in a tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel_per_turn: Option<u64>,
    /// Where members are sessions: how many are in memory at a time, at most. It means nothing for the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<u32>,
}

impl MembersSpec {
    /// The first field that only members have that are sessions.
    pub(crate) fn of_sessions(&self) -> Option<&'static str> {
        let MembersSpec { config, each, columns, reads, fuel_per_turn, resident, .. } = self;
        let fields = [
            ("config", !config.is_empty()),
            ("each", !each.is_empty()),
            ("columns", !columns.is_empty()),
            ("reads", !reads.is_empty()),
            ("fuelPerTurn", fuel_per_turn.is_some()),
            ("resident", resident.is_some()),
        ];
        fields.into_iter().find(|(_, is_there)| *is_there).map(|(name, _)| name)
    }
}

/// A parameter of a population.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum ParameterSpec {
    /// Yes or no.
    Flag(bool),
    /// An integer.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl From<ParameterSpec> for Parameter {
    fn from(parameter: ParameterSpec) -> Parameter {
        match parameter {
            ParameterSpec::Flag(value) => Parameter::Flag(value),
            ParameterSpec::Integer(value) => Parameter::Integer(value),
            ParameterSpec::Number(value) => Parameter::Number(value),
            ParameterSpec::Text(value) => Parameter::Text(value),
        }
    }
}

/// Who stands next to whom among the members of a role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TopologySpec {
    /// Nobody next to anybody.
    #[default]
    None,
    /// The one before and the one after, in a circle.
    Ring,
    /// Those to the left, to the right, above and below, on a grid whose borders meet. Members are numbered line by line.
    Grid {
        /// How many members a line has.
        width: u32,
    },
    /// Everybody next to the first, who is next to everybody.
    Star,
    /// Each pair by chance.
    Random {
        /// How likely each is.
        p: f64,
    },
    /// A ring in which each has this many neighbours, half on each side, and each of these ties leads elsewhere by chance
    /// (Watts and Strogatz).
    SmallWorld {
        /// How many neighbours each begins with: an even number.
        k: u32,
        /// How likely a tie leads elsewhere.
        p: f64,
    },
    /// Each comes with this many ties to those that were there before, who get them the more the more they have (Barabási
    /// and Albert).
    ScaleFree {
        /// How many ties each comes with.
        m: u32,
    },
    /// These pairs.
    Edges {
        /// Pairs of members.
        #[serde(default)]
        edges: Vec<(u32, u32)>,
        /// A table of them beside the file of the specification, in CSV. Only the command line reads files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
}

/// A number about all members of a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AggregateSpec {
    /// Its name.
    pub name: String,
    /// What it is of: a role and one of its columns, as `role.column`.
    pub of: String,
    /// What it is.
    pub is: Statistic,
    /// At which ticks it is computed: those whose number is a multiple of this, and the last.
    #[serde(default = "each_tick")]
    pub every: u64,
}

fn each_tick() -> u64 {
    1
}

/// What an aggregate is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Statistic {
    /// The arithmetic mean.
    Mean,
    /// The sum.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The coefficient of Gini: 0 where all have the same, towards 1 where one has all.
    Gini,
    /// The value below which this part of the members is.
    Quantile(f64),
    /// The part of the members that have this value.
    Share(f64),
}

impl WorldSpec {
    /// Hash what means something for the outcome, whatever form it was written in: no names, nothing of what is recorded, of
    /// how rows are split, and of how long the world goes on. What is done to it is hashed when it is done.
    pub(crate) fn hash(&self, link: &mut Link) {
        let WorldSpec {
            name: _,
            seed,
            ticks: _,
            clock,
            schedule,
            members,
            space,
            aggregates: _,
            program: _,
            budget: _,
        } = self;
        let part = (seed, clock, schedule);
        link.document(&part);
        if let Some(space) = space {
            link.document(space);
        }
        for members in members {
            let MembersSpec { role, agent: _, count, from: _, rows: _, parameters, .. } = members;
            let MembersSpec { attributes, topology, config, each, columns, .. } = members;
            let MembersSpec { reads, fuel_per_turn, resident: _, .. } = members;
            link.document(&(role, count, parameters, attributes, topology));
            let hashed = (config, each, columns, reads, fuel_per_turn);
            if hashed != (&JsonObject::new(), &Vec::new(), &Vec::new(), &Vec::new(), &None) {
                link.document(&(config, each, columns, reads, fuel_per_turn));
            }
        }
    }

    /// Read a specification in TOML.
    ///
    /// # Errors
    /// It is no TOML, or has other fields than a specification, or does not make sense. The error names the line or the
    /// field.
    pub fn from_toml(text: &str) -> Result<WorldSpec, SpecError> {
        let spec = WorldSpec::parse_toml(text)?;
        spec.check()?;
        Ok(spec)
    }

    /// The same, without checking whether it makes sense: for whoever reads the tables that it names first.
    ///
    /// # Errors
    /// It is no TOML, or has other fields than a specification.
    pub fn parse_toml(text: &str) -> Result<WorldSpec, SpecError> {
        if text.len() > check::MAX_BYTES {
            return Err(SpecError::TooLarge);
        }
        toml::from_str(text).map_err(|error| SpecError::Toml(error.to_string()))
    }
}
