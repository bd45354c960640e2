//! Experiments as clients ask for them and see them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::simulation::{BudgetBody, CallsBody, PauseWord, StatusWord, hex, specification};
use super::value::{Count, Id, Time};
use crate::error::ApiError;
use dormouse::{
    Design, Experiment, ExperimentListing, ExperimentRecord, NewExperiment, Run, RunResult, Seeds,
    Values, WorldSpec,
};

/// `POST /api/experiments`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CreateExperiment {
    /// What it is called. Default: as its world.
    name: Option<String>,
    /// The specification of the world, as JSON. This or `toml` is needed.
    #[schemars(with = "Option<WorldSpec>")]
    spec: Option<Map<String, Value>>,
    /// The same, as the text of a TOML file.
    toml: Option<String>,
    /// Values of fields of the specification, by their way: `ticks`, or behind a role, `traders.parameters.law`.
    #[schemars(with = "BTreeMap<String, Values>")]
    parameters: Map<String, Value>,
    /// Which combinations of them are run. Default: `full`, each value of each field with each of all others.
    design: Option<Design>,
    /// How often each combination is run, each time with another seed. Default: once.
    replicates: Option<Count>,
    /// What the seeds of the runs come from, and whether replicates of the same number have the same seed in all combinations. Default:
    /// 0, and they have.
    seeds: Option<SeedsBody>,
    /// What all runs together may use before the experiment is paused.
    budget: Option<BudgetBody>,
}

/// What the seeds of runs come from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "ExperimentSeeds")]
struct SeedsBody {
    /// What all of them come from. Default: 0.
    base: Option<Count>,
    /// Whether replicates of the same number have the same seed in all combinations. Default: yes.
    paired: Option<bool>,
}

impl CreateExperiment {
    /// # Errors
    /// There is no specification, or something makes no sense.
    pub(crate) fn read(self) -> Result<NewExperiment, ApiError> {
        let spec = specification(self.spec, self.toml)?;
        let values = |(name, values): (String, Value)| {
            let field = format!("parameters.{name}");
            let read = serde_json::from_value::<Values>(values);
            let problem = "must be a list of values, or `{from, to, count}`";
            Ok((name, read.map_err(|_| ApiError::invalid_field(field, problem))?))
        };
        let parameters: Result<_, ApiError> = self.parameters.into_iter().map(values).collect();
        let replicates = self.replicates.map_or(1, |Count(count)| count);
        let seeds = self.seeds.unwrap_or_default();
        let experiment = Experiment {
            parameters: parameters?,
            design: self.design.unwrap_or_default(),
            replicates: u32::try_from(replicates).unwrap_or(u32::MAX),
            seeds: Seeds {
                base: seeds.base.map_or(0, |Count(base)| base),
                paired: seeds.paired.unwrap_or(true),
            },
        };
        let budget = self.budget.as_ref().map(BudgetBody::read).unwrap_or_default();
        Ok(NewExperiment { name: self.name.unwrap_or_default(), spec, experiment, budget })
    }
}

/// `GET /api/experiments/{id}/runs`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct RunsQuery {
    /// The first run of the page: what the page before calls `next`.
    from: Option<Count>,
    /// The same, by the name that it has for all lists.
    cursor: Option<Count>,
    /// The most runs of the page: 1 to 200. Default: 50.
    limit: Option<Count>,
}

impl RunsQuery {
    pub(crate) fn from(&self) -> usize {
        let from = self.cursor.or(self.from);
        from.map_or(0, |Count(from)| usize::try_from(from).unwrap_or(usize::MAX))
    }

    pub(crate) fn limit(&self) -> usize {
        super::query::bounded(self.limit)
    }
}

/// The runs of one simulation with many parameters.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Experiment")]
pub(crate) struct ExperimentBody {
    #[schemars(with = "Id")]
    id: String,
    /// The principal whose it is.
    owner: String,
    name: String,
    status: StatusWord,
    /// Why it is paused. `null`: it is not.
    pause_cause: Option<PauseWord>,
    /// The same, for people.
    reason: Option<String>,
    /// How many runs it has.
    runs: usize,
    /// How many of them are over.
    done: usize,
    /// How many of these have failed.
    failed: usize,
    /// How often a member has acted, in the runs that are over, as all that follows.
    member_steps: u64,
    fuel: u64,
    /// How long they have run, in milliseconds.
    wall_ms: u64,
    /// What members have asked language models.
    calls: CallsBody,
    /// The fields of the specification that are varied.
    parameters: Vec<String>,
    aggregates: Vec<String>,
    /// What all runs together may use. `null`: as much as they like.
    fuel_budget: Option<u64>,
    wall_ms_budget: Option<u64>,
    usd_budget: Option<f64>,
    token_budget: Option<u64>,
    #[schemars(with = "Time")]
    created_at: String,
    /// When it was started, paused or completed last.
    #[schemars(with = "Time")]
    changed_at: String,
}

impl From<&ExperimentRecord> for ExperimentBody {
    fn from(record: &ExperimentRecord) -> ExperimentBody {
        let progress = record.progress;
        ExperimentBody {
            id: record.id.to_string(),
            owner: record.owner.0.clone(),
            name: record.name.clone(),
            status: record.status.into(),
            pause_cause: record.status.pause().map(PauseWord::from),
            reason: record.reason.clone(),
            runs: record.planned,
            done: progress.done,
            failed: progress.failed,
            member_steps: progress.steps,
            fuel: progress.fuel,
            wall_ms: progress.wall_ms,
            calls: CallsBody::from(&progress.calls),
            parameters: record.parameters.clone(),
            aggregates: record.aggregates.clone(),
            fuel_budget: record.budget.fuel,
            wall_ms_budget: record.budget.wall_ms,
            usd_budget: record.budget.usd,
            token_budget: record.budget.tokens,
            created_at: record.created_at.to_string(),
            changed_at: record.changed_at.to_string(),
        }
    }
}

/// Some experiments, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExperimentList {
    experiments: Vec<ExperimentBody>,
    count: usize,
    /// How many there are, over all pages.
    total: usize,
    /// What to ask for as `after`. `null`: the list ends here.
    next: Option<String>,
    /// The same, by the name that it has in all lists.
    next_cursor: Option<String>,
}

impl From<ExperimentListing> for ExperimentList {
    fn from(found: ExperimentListing) -> ExperimentList {
        let experiments: Vec<_> =
            found.experiments.iter().map(|own| ExperimentBody::from(&**own)).collect();
        let next = found.next.map(|id| id.to_string());
        ExperimentList {
            count: experiments.len(),
            experiments,
            total: found.total,
            next_cursor: next.clone(),
            next,
        }
    }
}

/// One run of an experiment.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ExperimentRun")]
pub(crate) struct RunBody {
    run: usize,
    /// The values of the fields that are varied.
    parameters: BTreeMap<String, Value>,
    seed: u64,
    /// Which repetition of these values it is, from 0.
    replicate: u32,
    status: RunWord,
    /// Why it has failed. `null`: it has not.
    error: Option<String>,
    ticks: u64,
    /// How often a member has acted.
    member_steps: u64,
    /// The last values of the aggregates, by name. `null`: there is none.
    aggregates: BTreeMap<String, Option<f64>>,
    /// What has come of it, as one hash. `null`: it has not come to its last tick.
    fingerprint: Option<String>,
    /// Calls of language models.
    calls: u64,
    /// What these have cost, in US dollars.
    cost_usd: f64,
}

/// Where a run is in its life.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum RunWord {
    /// It goes on, or has not begun.
    Open,
    Completed,
    Failed,
}

impl RunBody {
    pub(crate) fn of(record: &ExperimentRecord, run: Run, result: Option<RunResult>) -> RunBody {
        let status = match &result {
            None => RunWord::Open,
            Some(RunResult { error: None, .. }) => RunWord::Completed,
            Some(_) => RunWord::Failed,
        };
        let parameters = record.parameters.iter().cloned().zip(run.values).collect();
        let (seed, replicate) = (run.seed, run.replicate);
        let run = run.number;
        let Some(result) = result else {
            return RunBody {
                run,
                parameters,
                seed,
                replicate,
                status,
                error: None,
                ticks: 0,
                member_steps: 0,
                aggregates: BTreeMap::new(),
                fingerprint: None,
                calls: 0,
                cost_usd: 0.0,
            };
        };
        let cost_usd = result.cost().as_usd();
        RunBody {
            run,
            parameters,
            seed,
            replicate,
            status,
            error: result.error,
            ticks: result.ticks,
            member_steps: result.steps,
            aggregates: record.aggregates.iter().cloned().zip(result.aggregates).collect(),
            fingerprint: result.fingerprint.as_ref().map(|hash| hex(hash)),
            calls: result.calls,
            cost_usd,
        }
    }
}

/// Some runs of an experiment, in order.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunPage {
    runs: Vec<RunBody>,
    count: usize,
    /// How many there are, over all pages.
    total: usize,
    /// What to ask for as `from`. `null`: there are no more.
    next: Option<usize>,
    /// The same, by the name that it has in all lists.
    next_cursor: Option<usize>,
}

impl RunPage {
    pub(crate) fn of(
        record: &ExperimentRecord,
        from: usize,
        runs: Vec<(Run, Option<RunResult>)>,
    ) -> RunPage {
        let end = from.saturating_add(runs.len());
        let next = Some(end).filter(|end| *end < record.planned);
        let runs: Vec<_> =
            runs.into_iter().map(|(run, result)| RunBody::of(record, run, result)).collect();
        let (count, total) = (runs.len(), record.planned);
        RunPage { count, runs, total, next, next_cursor: next }
    }
}

/// The table of runs, as CSV.
pub(crate) mod csv_line {
    use super::{ExperimentRecord, Run, RunResult, hex};
    use dormouse::{csv_field, table_names};

    /// The line of names.
    pub(crate) fn head(record: &ExperimentRecord) -> String {
        let parameters = record.parameters.iter().map(String::as_str);
        let aggregates = record.aggregates.iter().map(String::as_str);
        let mut names = table_names(parameters, aggregates);
        names.extend(["calls", "costUsd", "error"]);
        let names: Vec<_> = names.into_iter().map(|name| csv_field(&name.into())).collect();
        names.join(",") + "\n"
    }

    /// The line of a run.
    pub(crate) fn of(record: &ExperimentRecord, run: Run, result: RunResult) -> String {
        let mut fields = vec![run.prefix()];
        fields.extend((0..record.aggregates.len()).map(|place| {
            let value = result.aggregates.get(place).copied().flatten();
            value.map_or(String::new(), |value| format!("{value:?}"))
        }));
        fields.push(result.fingerprint.as_ref().map_or(String::new(), |hash| hex(hash)));
        fields.extend([result.calls.to_string(), result.cost().as_usd().to_string()]);
        fields.push(
            result
                .error
                .map_or(String::new(), |error| csv_field(&error.replace(['\n', '\r'], " ").into())),
        );
        fields.join(",") + "\n"
    }
}
