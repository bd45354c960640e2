//! Simulations as clients ask for them and see them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::query::bounded;
use super::value::{Count, Id, Time};
use crate::error::ApiError;
use dormouse::world_spec::{Announcement, Budget, Change, ParameterSpec};
use dormouse::{
    CallProgress, Column, LoggedTick, NewBranch, PauseCause, SimulationDifference,
    SimulationListing, SimulationMembers, SimulationRecord, SimulationStatus, SimulationSurvey,
    Tick, WorldSpec, text_of,
};

/// `POST /api/simulations`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CreateSimulation {
    /// The specification, as JSON. This or `toml` is needed.
    #[schemars(with = "Option<WorldSpec>")]
    spec: Option<Map<String, Value>>,
    /// The specification, as the text of a TOML file.
    toml: Option<String>,
    /// Whether it starts at once. Default: no.
    start: bool,
}

impl CreateSimulation {
    /// The specification, and whether it starts at once.
    ///
    /// # Errors
    /// There is none, or it says what makes no sense.
    pub(crate) fn read(self) -> Result<(WorldSpec, bool), ApiError> {
        Ok((specification(self.spec, self.toml)?, self.start))
    }
}

/// The specification of a world, as JSON or as TOML.
///
/// # Errors
/// There is none, or it says what makes no sense.
pub(super) fn specification(
    spec: Option<Map<String, Value>>,
    toml: Option<String>,
) -> Result<WorldSpec, ApiError> {
    match (spec, toml) {
        (Some(spec), None) => {
            serde_path_to_error::deserialize(Value::Object(spec)).map_err(|error| {
                let field = format!("spec.{}", error.path());
                ApiError::invalid_field(field, format!("is wrong: {}", error.inner()))
            })
        }
        (None, Some(text)) => Ok(WorldSpec::from_toml(&text)?),
        (Some(_), Some(_)) | (None, None) => {
            let problem = "or `toml` is needed, and one of them only";
            Err(ApiError::invalid_field("spec", problem))
        }
    }
}

/// `POST /api/simulations/{id}/start` and `…/resume`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StartSimulation {
    /// What it may use from now on, what it has used before included. Default: as it was.
    budget: Option<BudgetBody>,
}

impl StartSimulation {
    pub(crate) fn budget(&self) -> Option<Budget> {
        self.budget.as_ref().map(BudgetBody::read)
    }
}

/// What a simulation may use before it is paused. What is left out is not limited.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "SimulationBudget")]
pub(super) struct BudgetBody {
    /// US dollars, for calls of language models.
    usd: Option<f64>,
    /// Tokens of language models, read and written.
    tokens: Option<Count>,
    /// Fuel, of all ticks together.
    fuel: Option<Count>,
    /// How long it may run, in milliseconds.
    wall_ms: Option<Count>,
}

impl BudgetBody {
    pub(super) fn read(&self) -> Budget {
        Budget {
            fuel: self.fuel.map(|Count(fuel)| fuel),
            wall_ms: self.wall_ms.map(|Count(ms)| ms),
            tokens: self.tokens.map(|Count(tokens)| tokens),
            usd: self.usd,
        }
    }
}

/// `POST /api/simulations/{id}/step`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StepSimulation {
    /// By how many ticks it goes on. Default: one.
    ticks: Option<Count>,
}

impl StepSimulation {
    pub(crate) fn ticks(&self) -> Tick {
        self.ticks.map_or(1, |Count(ticks)| ticks)
    }
}

/// Other values of some parameters of a role.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SetParameters")]
pub(crate) struct SetBody {
    /// The role.
    #[schemars(required)]
    role: Option<String>,
    /// Those that change, by name: numbers, texts, yes or no. For members that are rows.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ParameterSpec>")]
    parameters: Map<String, Value>,
    /// What of the configuration changes, by name. For members that are sessions.
    #[serde(default)]
    config: Map<String, Value>,
    /// Whose configuration. Default: that of all members of the role.
    members: Option<Vec<Count>>,
}

impl SetBody {
    /// # Errors
    /// Something is missing, or a value is none that a parameter has.
    pub(crate) fn read(self, within: &str) -> Result<Change, ApiError> {
        let needed = |name: &str| ApiError::invalid_field(format!("{within}{name}"), "is needed");
        let role = self.role.ok_or_else(|| needed("role"))?;
        let members = self.members.map(|members| numbers_of(members, within)).transpose()?;
        let value = |(name, value): (String, Value)| {
            let field = format!("{within}parameters.{name}");
            let read = serde_json::from_value::<ParameterSpec>(value);
            let read = read.map_err(|_| {
                ApiError::invalid_field(field, "must be a number, a text, `true` or `false`")
            });
            Ok((name, read?))
        };
        let parameters: Result<_, ApiError> = self.parameters.into_iter().map(value).collect();
        Ok(Change { role, parameters: parameters?, config: self.config, members })
    }
}

/// A mail to members that are sessions.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SendMail")]
pub(crate) struct SendBody {
    /// The role.
    #[schemars(required)]
    role: Option<String>,
    /// To whom. Default: to all members of the role.
    members: Option<Vec<Count>>,
    /// What it says.
    #[schemars(required)]
    text: Option<String>,
}

impl SendBody {
    /// # Errors
    /// Something is missing.
    pub(crate) fn read(self, within: &str) -> Result<Announcement, ApiError> {
        let needed = |name: &str| ApiError::invalid_field(format!("{within}{name}"), "is needed");
        Ok(Announcement {
            role: self.role.ok_or_else(|| needed("role"))?,
            members: self.members.map(|members| numbers_of(members, within)).transpose()?,
            text: self.text.ok_or_else(|| needed("text"))?,
        })
    }
}

/// `POST /api/simulations/{id}/survey`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SurveyMembers")]
pub(crate) struct SurveyBody {
    /// The role.
    #[schemars(required)]
    role: Option<String>,
    /// Who is asked: 1 to 1,000 members of the role.
    #[schemars(required)]
    members: Option<Vec<Count>>,
    /// What they are asked.
    #[schemars(required)]
    text: Option<String>,
}

impl SurveyBody {
    /// # Errors
    /// Something is missing.
    pub(crate) fn read(self) -> Result<(String, Vec<u32>, String), ApiError> {
        let needed = |name: &str| ApiError::invalid_field(name.to_owned(), "is needed");
        let members = self.members.ok_or_else(|| needed("members"))?;
        let role = self.role.ok_or_else(|| needed("role"))?;
        let text = self.text.filter(|text| !text.is_empty()).ok_or_else(|| needed("text"))?;
        Ok((role, numbers_of(members, "")?, text))
    }
}

/// What members of a simulation reply to a question.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SimulationSurvey")]
pub(crate) struct SurveyedBody {
    /// How many ticks the simulation has behind it.
    ticks: Tick,
    /// In the order in which the members were named.
    replies: Vec<SurveyReply>,
    /// What it has cost, in US dollars: the owner's, and not of the budget of the simulation.
    cost_usd: f64,
}

/// What one member replies.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SurveyReply {
    member: u32,
    /// `null`: it does not reply.
    text: Option<String>,
    /// Why it does not. `null`: it does.
    error: Option<String>,
}

impl SurveyedBody {
    pub(crate) fn of(members: &[u32], survey: SimulationSurvey) -> SurveyedBody {
        let replies = members.iter().zip(survey.replies).map(|(member, reply)| match reply {
            Ok(content) => {
                SurveyReply { member: *member, text: Some(text_of(&content)), error: None }
            }
            Err(error) => SurveyReply { member: *member, text: None, error: Some(error) },
        });
        let (ticks, cost_usd) = (survey.ticks, survey.cost.as_usd());
        SurveyedBody { ticks, replies: replies.collect(), cost_usd }
    }
}

/// Numbers of members.
fn numbers_of(members: Vec<Count>, within: &str) -> Result<Vec<u32>, ApiError> {
    let number = |Count(number)| u32::try_from(number);
    let numbers: Result<_, _> = members.into_iter().map(number).collect();
    numbers
        .map_err(|_| ApiError::invalid_field(format!("{within}members"), "has numbers of members"))
}

/// `POST /api/simulations/{id}/fork`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ForkSimulation {
    /// Before which tick it is forked. Default: where it is.
    at: Option<Count>,
    /// How each fork goes on. Default: one, that goes on as the simulation does.
    branches: Option<Vec<BranchBody>>,
}

/// How a fork goes on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "SimulationBranch")]
struct BranchBody {
    /// What it is called. Default: as the simulation.
    name: Option<String>,
    /// The parameters, and the configuration of members, that have other values from there on, of each role that has some.
    set: Vec<SetBody>,
    /// What members that are sessions are sent first.
    send: Vec<SendBody>,
}

impl ForkSimulation {
    /// # Errors
    /// A branch says what makes no sense.
    pub(crate) fn read(self) -> Result<(Option<Tick>, Vec<NewBranch>), ApiError> {
        let branches = self.branches.unwrap_or_else(|| vec![BranchBody::default()]);
        let branch = |(place, own): (usize, BranchBody)| {
            let change = |(number, set): (usize, SetBody)| {
                set.read(&format!("branches[{place}].set[{number}]."))
            };
            let set: Result<_, ApiError> = own.set.into_iter().enumerate().map(change).collect();
            let mail = |(number, send): (usize, SendBody)| {
                send.read(&format!("branches[{place}].send[{number}]."))
            };
            let send: Result<_, ApiError> = own.send.into_iter().enumerate().map(mail).collect();
            Ok(NewBranch { name: own.name, set: set?, send: send? })
        };
        let branches: Result<_, ApiError> = branches.into_iter().enumerate().map(branch).collect();
        Ok((self.at.map(|Count(at)| at), branches?))
    }
}

/// `GET /api/simulations/{id}/ticks`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct TicksQuery {
    /// The first tick of the page: what the page before calls `next`.
    from: Option<Count>,
    /// The same, by the name that it has for all lists.
    cursor: Option<Count>,
    /// The most ticks of the page: 1 to 200. Default: 50.
    limit: Option<Count>,
}

impl TicksQuery {
    pub(crate) fn from(&self) -> Tick {
        self.cursor.or(self.from).map_or(0, |Count(from)| from)
    }

    pub(crate) fn limit(&self) -> usize {
        bounded(self.limit)
    }
}

/// `GET /api/simulations/{id}/members`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct MembersQuery {
    /// The role of the members.
    #[schemars(required)]
    role: Option<String>,
    /// The number of the first member of the page: what the page before calls `next`.
    from: Option<Count>,
    /// The same, by the name that it has for all lists.
    cursor: Option<Count>,
    /// The most members of the page: 1 to 10,000. Default: 1,000.
    limit: Option<Count>,
}

impl MembersQuery {
    /// # Errors
    /// No role is named.
    pub(crate) fn read(&self) -> Result<(&str, u32, u32), ApiError> {
        let role = self.role.as_deref();
        let role = role.ok_or_else(|| ApiError::invalid_field("role", "is needed"))?;
        let number = |Count(number)| u32::try_from(number).unwrap_or(u32::MAX);
        let from = self.cursor.or(self.from).map_or(0, number);
        Ok((role, from, self.limit.map_or(1_000, number).clamp(1, 10_000)))
    }
}

/// `GET /api/simulations/{id}/diff`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct DiffQuery {
    /// The simulation that it is compared with.
    #[schemars(required, with = "Option<Id>")]
    pub(crate) with: Option<String>,
}

/// A simulated world.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Simulation")]
pub(crate) struct SimulationBody {
    #[schemars(with = "Id")]
    id: String,
    /// The principal whose it is.
    owner: String,
    name: String,
    status: StatusWord,
    /// Why it is paused. `null`: it is not.
    pause_cause: Option<PauseWord>,
    /// The same, or why it has failed, for people.
    reason: Option<String>,
    /// How many ticks it has behind it. Of one that runs that is about a second old, as all that follows.
    ticks: Tick,
    /// How many it has in all.
    planned_ticks: Tick,
    /// How often a member has acted.
    member_steps: u64,
    fuel: u64,
    /// How long it has run, in milliseconds.
    wall_ms: u64,
    /// The chained hash of its last tick, in hexadecimal. `null`: it has none behind it.
    hash: Option<String>,
    /// What has come of it, as one hash. `null`: it has not come to its last tick.
    fingerprint: Option<String>,
    /// What it may use. `null`: as much as it likes.
    fuel_budget: Option<u64>,
    wall_ms_budget: Option<u64>,
    usd_budget: Option<f64>,
    token_budget: Option<u64>,
    /// What its members have asked language models.
    calls: CallsBody,
    forked_from: Option<ForkedFrom>,
    /// The experiment of which it is a run. `null`: of none.
    experiment: Option<RunOf>,
    #[schemars(with = "Time")]
    created_at: String,
    /// When it was started, paused or ended last.
    #[schemars(with = "Time")]
    changed_at: String,
}

/// What members of a world have asked language models.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SimulationCalls")]
pub(super) struct CallsBody {
    /// Calls that were made for this world.
    made: u64,
    /// What these have cost, in US dollars.
    cost_usd: f64,
    /// Tokens that these have read and written.
    tokens: u64,
    /// Calls to which the world that it was forked from had the answer.
    inherited: u64,
    /// What these would have cost, in US dollars.
    saved_usd: f64,
}

impl From<&CallProgress> for CallsBody {
    fn from(calls: &CallProgress) -> CallsBody {
        CallsBody {
            made: calls.made,
            cost_usd: calls.cost().as_usd(),
            tokens: calls.tokens,
            inherited: calls.inherited,
            saved_usd: calls.saved().as_usd(),
        }
    }
}

/// The experiment of which a world is a run.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RunOf {
    #[schemars(with = "Id")]
    id: String,
    /// The number of the run.
    run: u32,
}

/// Where a world was forked.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ForkedFrom {
    #[schemars(with = "Id")]
    id: String,
    /// Before which tick.
    at: Tick,
}

/// Where a world is in its life.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum StatusWord {
    Created,
    Running,
    Paused,
    Completed,
    Stopped,
    Failed,
}

/// Why a world is paused.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum PauseWord {
    Requested,
    Stepped,
    Program,
    BudgetFuel,
    BudgetWallTime,
    BudgetUsd,
    BudgetTokens,
    Model,
    Host,
}

impl From<SimulationStatus> for StatusWord {
    fn from(status: SimulationStatus) -> StatusWord {
        match status {
            SimulationStatus::Created => StatusWord::Created,
            SimulationStatus::Running => StatusWord::Running,
            SimulationStatus::Paused(_) => StatusWord::Paused,
            SimulationStatus::Completed => StatusWord::Completed,
            SimulationStatus::Stopped => StatusWord::Stopped,
            SimulationStatus::Failed => StatusWord::Failed,
        }
    }
}

impl From<PauseCause> for PauseWord {
    fn from(cause: PauseCause) -> PauseWord {
        match cause {
            PauseCause::Requested => PauseWord::Requested,
            PauseCause::Stepped => PauseWord::Stepped,
            PauseCause::Program => PauseWord::Program,
            PauseCause::Fuel => PauseWord::BudgetFuel,
            PauseCause::WallTime => PauseWord::BudgetWallTime,
            PauseCause::Money => PauseWord::BudgetUsd,
            PauseCause::Tokens => PauseWord::BudgetTokens,
            PauseCause::Model => PauseWord::Model,
            PauseCause::Host => PauseWord::Host,
        }
    }
}

impl From<&SimulationRecord> for SimulationBody {
    fn from(record: &SimulationRecord) -> SimulationBody {
        let progress = record.progress;
        SimulationBody {
            id: record.id.to_string(),
            owner: record.owner.0.clone(),
            name: record.name.clone(),
            status: record.status.into(),
            pause_cause: record.status.pause().map(PauseWord::from),
            reason: record.reason.clone(),
            ticks: progress.ticks,
            planned_ticks: record.planned,
            member_steps: progress.steps,
            fuel: progress.fuel,
            wall_ms: progress.wall_ms,
            hash: (progress.ticks > 0).then(|| hex(&progress.hash)),
            fingerprint: record.fingerprint.as_ref().map(|hash| hex(hash)),
            fuel_budget: record.budget.fuel,
            wall_ms_budget: record.budget.wall_ms,
            usd_budget: record.budget.usd,
            token_budget: record.budget.tokens,
            calls: CallsBody::from(&progress.calls),
            forked_from: record.forked_from.map(|(id, at)| ForkedFrom { id: id.to_string(), at }),
            experiment: record.run_of.map(|(id, run)| RunOf { id: id.to_string(), run }),
            created_at: record.created_at.to_string(),
            changed_at: record.changed_at.to_string(),
        }
    }
}

pub(super) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Some simulations, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SimulationList {
    simulations: Vec<SimulationBody>,
    count: usize,
    /// How many there are, over all pages.
    total: usize,
    /// What to ask for as `after`. `null`: the list ends here.
    next: Option<String>,
    /// The same, by the name that it has in all lists.
    next_cursor: Option<String>,
}

impl From<SimulationListing> for SimulationList {
    fn from(found: SimulationListing) -> SimulationList {
        let simulations: Vec<_> =
            found.simulations.iter().map(|own| SimulationBody::from(&**own)).collect();
        let next = found.next.map(|id| id.to_string());
        SimulationList {
            count: simulations.len(),
            simulations,
            total: found.total,
            next_cursor: next.clone(),
            next,
        }
    }
}

/// The forks of a simulation, in the order of the branches.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ForkList {
    pub(crate) simulations: Vec<SimulationBody>,
}

/// What has come of one tick.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SimulationTick")]
pub(crate) struct TickBody {
    tick: Tick,
    /// How many members have acted.
    member_steps: u64,
    fuel: u64,
    /// The hash of all that has come of the world up to its end, in hexadecimal.
    hash: String,
    /// The aggregates that were due, by name. `null`: there were no members.
    aggregates: BTreeMap<String, Option<f64>>,
}

impl TickBody {
    pub(crate) fn of(record: &SimulationRecord, tick: Tick, logged: LoggedTick) -> TickBody {
        let name = |place: u32| record.aggregates.get(place as usize).cloned().unwrap_or_default();
        let aggregates = logged.aggregates.iter();
        TickBody {
            tick,
            member_steps: logged.steps,
            fuel: logged.fuel,
            hash: hex(&logged.hash),
            aggregates: aggregates.map(|(place, value)| (name(*place), *value)).collect(),
        }
    }
}

/// Some ticks of a simulation, in order. `next` is what to ask for as `from`: also where nothing is left, for what comes later.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TickPage {
    pub(crate) ticks: Vec<TickBody>,
    pub(crate) count: usize,
    pub(crate) next: Tick,
    /// The same, by the name that it has in all lists.
    pub(crate) next_cursor: Tick,
    /// Whether there are more.
    pub(crate) more: bool,
}

/// What some members of a role publish.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberPage {
    role: String,
    /// How many ticks the world has behind it.
    ticks: Tick,
    /// How many members there are or were.
    size: u32,
    /// The number of the first one here.
    from: u32,
    count: usize,
    /// The values of each column, member by member.
    columns: BTreeMap<String, Vec<f64>>,
    /// What to ask for as `from`. `null`: there are no more.
    next: Option<u32>,
    /// The same, by the name that it has in all lists.
    next_cursor: Option<u32>,
}

impl MemberPage {
    pub(crate) fn of(role: &str, from: u32, read: SimulationMembers) -> MemberPage {
        let SimulationMembers { ticks, size, columns } = read;
        let number = |values: &Column| -> Vec<f64> {
            (0..values.len()).map(|place| values.as_slice().number(place)).collect()
        };
        let count = columns.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        let end = u64::from(from) + count as u64;
        let next = u32::try_from(end).ok().filter(|end| count > 0 && *end < size);
        MemberPage {
            role: role.to_owned(),
            ticks,
            size,
            from: from.min(size),
            count,
            columns: columns.iter().map(|(name, values)| (name.clone(), number(values))).collect(),
            next,
            next_cursor: next,
        }
    }
}

/// The specification of a simulation.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SimulationSpec")]
pub(crate) struct SpecBody {
    /// As `POST /api/simulations` takes it.
    spec: Map<String, Value>,
}

impl SpecBody {
    pub(crate) fn of(spec: &WorldSpec) -> SpecBody {
        // It has nothing that JSON cannot say: it was checked.
        match serde_json::to_value(spec) {
            Ok(Value::Object(spec)) => SpecBody { spec },
            Ok(_) | Err(_) => SpecBody { spec: Map::new() },
        }
    }
}

/// Before which tick it is done.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SetAt {
    pub(crate) at: Tick,
}

/// In what two simulations differ.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SimulationDifference")]
pub(crate) struct DifferenceBody {
    /// How many ticks both have behind them.
    compared: Tick,
    /// The first of these that comes to something else. `null`: none does.
    first: Option<Tick>,
    /// The last values of the aggregates that both have, by name.
    aggregates: BTreeMap<String, Pair>,
}

/// A value of two simulations.
#[derive(Debug, Serialize, JsonSchema)]
struct Pair {
    this: Option<f64>,
    with: Option<f64>,
}

impl From<SimulationDifference> for DifferenceBody {
    fn from(found: SimulationDifference) -> DifferenceBody {
        let pair = |(name, (this, with))| (name, Pair { this, with });
        DifferenceBody {
            compared: found.compared,
            first: found.first,
            aggregates: found.aggregates.into_iter().map(pair).collect(),
        }
    }
}

/// Whether a simulation, run again, comes to what it came to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerifiedBody {
    pub(crate) verified: bool,
    /// What is different. `null`: nothing.
    pub(crate) difference: Option<String>,
    pub(crate) fingerprint: String,
}

impl VerifiedBody {
    pub(crate) fn of(fingerprint: &[u8], difference: Option<String>) -> VerifiedBody {
        let fingerprint = hex(fingerprint);
        VerifiedBody { verified: difference.is_none(), difference, fingerprint }
    }
}
