//! What has come of arms: a table that grows by a line for each, and what people and programs are told of it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use csv::{ReaderBuilder, StringRecord, WriterBuilder};
use serde_json::{Value, json};

use super::effects::Comparison;

/// The table.
const RUNS: &str = "runs.csv";
/// What the runs of the base are called.
const BASE: &str = "base";

/// One arm of one replicate.
#[derive(Clone, Debug)]
pub(super) struct ArmRun {
    pub(super) arm: String,
    pub(super) replicate: u32,
    pub(super) seed: u64,
    /// The last value of each aggregate. `None`: there were no members.
    pub(super) aggregates: Vec<Option<f64>>,
    /// Which part of those that were asked says yes.
    pub(super) survey: Option<f64>,
    pub(super) calls: u64,
    pub(super) cost_usd: f64,
    pub(super) inherited: u64,
    pub(super) saved_usd: f64,
    pub(super) fingerprint: String,
}

/// All arms of all replicates, and the bases that they were forked from.
pub(super) struct Results {
    path: PathBuf,
    head: StringRecord,
    pub(super) runs: Vec<ArmRun>,
    bases: BTreeMap<u32, ArmRun>,
}

impl Results {
    /// What there is in this folder.
    pub(super) fn open(
        folder: &Path,
        aggregates: Vec<String>,
        has_survey: bool,
    ) -> Result<Results> {
        let own = ["arm", "replicate", "seed"].map(str::to_owned);
        let survey = has_survey.then(|| "survey".to_owned());
        let ledger = ["calls", "costUsd", "inheritedCalls", "savedUsd", "fingerprint"];
        let head: StringRecord = own
            .into_iter()
            .chain(aggregates)
            .chain(survey)
            .chain(ledger.map(str::to_owned))
            .collect::<Vec<String>>()
            .into();
        let path = folder.join(RUNS);
        let mut results = Results { path, head, runs: Vec::new(), bases: BTreeMap::new() };
        if results.path.exists() {
            results.read(has_survey).with_context(|| results.path.display().to_string())?;
        } else {
            results.write(&results.head.clone())?;
        }
        Ok(results)
    }

    fn read(&mut self, has_survey: bool) -> Result<()> {
        let text = std::fs::read_to_string(&self.path)?;
        // The last line may have been cut off in the middle.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            std::fs::write(&self.path, &text[..whole])?;
        }
        let mut reader = ReaderBuilder::new().from_reader(&text.as_bytes()[..whole]);
        if *reader.headers()? != self.head {
            bail!("it is the table of other arms; name another folder");
        }
        for line in reader.records() {
            let line = line?;
            let run = self.run(&line, has_survey).context("a line is no run of these arms")?;
            self.keep(run);
        }
        Ok(())
    }

    fn run(&self, line: &StringRecord, has_survey: bool) -> Option<ArmRun> {
        let aggregates = self.head.len() - 8 - usize::from(has_survey);
        let mut fields = line.iter();
        let mut next = || fields.next();
        let optional = |field: &str| match field {
            "" => Some(None),
            number => number.parse().ok().map(Some),
        };
        Some(ArmRun {
            arm: next()?.to_owned(),
            replicate: next()?.parse().ok()?,
            seed: next()?.parse().ok()?,
            aggregates: (0..aggregates).map(|_| optional(next()?)).collect::<Option<_>>()?,
            survey: if has_survey { optional(next()?)? } else { None },
            calls: next()?.parse().ok()?,
            cost_usd: next()?.parse().ok()?,
            inherited: next()?.parse().ok()?,
            saved_usd: next()?.parse().ok()?,
            fingerprint: next()?.to_owned(),
        })
    }

    fn keep(&mut self, run: ArmRun) {
        if run.arm == BASE {
            self.bases.insert(run.replicate, run);
        } else {
            self.runs.push(run);
        }
    }

    pub(super) fn has(&self, arm: &str, replicate: u32) -> bool {
        self.runs.iter().any(|run| run.arm == arm && run.replicate == replicate)
    }

    /// What the base of a replicate has cost.
    pub(super) fn note_base(&mut self, replicate: u32, made: ArmRun) -> Result<()> {
        if self.bases.contains_key(&replicate) {
            return Ok(());
        }
        self.add(made)
    }

    /// Write a run down.
    pub(super) fn add(&mut self, run: ArmRun) -> Result<()> {
        let optional =
            |value: &Option<f64>| value.map_or(String::new(), |value| format!("{value:?}"));
        let has_survey = self.head.iter().any(|name| name == "survey");
        let survey = has_survey.then(|| optional(&run.survey));
        let own = [run.arm.clone(), run.replicate.to_string(), run.seed.to_string()];
        let ledger = [
            run.calls.to_string(),
            format!("{:?}", run.cost_usd),
            run.inherited.to_string(),
            format!("{:?}", run.saved_usd),
            run.fingerprint.clone(),
        ];
        let aggregates: Vec<String> = run.aggregates.iter().map(optional).collect();
        let line = own.into_iter().chain(aggregates).chain(survey).chain(ledger);
        self.write(&line.collect::<Vec<_>>().into())?;
        self.keep(run);
        Ok(())
    }

    /// In one write: a run is in the table as a whole, or it is not.
    fn write(&self, line: &StringRecord) -> Result<()> {
        let mut text = WriterBuilder::new().from_writer(Vec::new());
        text.write_record(line)?;
        let text = text.into_inner()?;
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        std::io::Write::write_all(&mut file, &text).with_context(|| self.path.display().to_string())
    }

    /// In the order of these arms, and of each, of its replicates.
    pub(super) fn sort(&mut self, arms: &[&str]) {
        let place = |arm: &str| arms.iter().position(|own| *own == arm);
        self.runs.retain(|run| place(&run.arm).is_some());
        self.runs.sort_by_key(|run| (place(&run.arm), run.replicate));
    }

    /// What calls have come to, of the bases and of each arm.
    fn ledgers(&self) -> Vec<(String, u64, f64, u64, f64)> {
        let mut ledgers: Vec<(String, u64, f64, u64, f64)> = Vec::new();
        for run in self.bases.values().chain(&self.runs) {
            let place = match ledgers.iter().position(|own| own.0 == run.arm) {
                Some(place) => place,
                None => {
                    ledgers.push((run.arm.clone(), 0, 0.0, 0, 0.0));
                    ledgers.len() - 1
                }
            };
            let ledger = &mut ledgers[place];
            ledger.1 += run.calls;
            ledger.2 += run.cost_usd;
            ledger.3 += run.inherited;
            ledger.4 += run.saved_usd;
        }
        ledgers
    }
}

/// What has come of it, for programs.
pub(super) fn summary(results: &Results, comparisons: &[Comparison]) -> Value {
    let comparison = |own: &Comparison| {
        let arms = own.arms.iter().map(|arm| {
            let effect = arm.effect.map(|effect| {
                let half = effect.half_width;
                let low = half.map(|half| effect.mean - half);
                let high = half.map(|half| effect.mean + half);
                json!({ "mean": effect.mean, "low": low, "high": high })
            });
            (arm.arm.clone(), json!({ "mean": arm.mean, "effect": effect }))
        });
        (own.name.clone(), Value::Object(arms.collect()))
    };
    let ledger = |(arm, calls, cost, inherited, saved): (String, u64, f64, u64, f64)| {
        let own = json!({
            "calls": calls, "costUsd": cost, "inheritedCalls": inherited, "savedUsd": saved,
        });
        (arm, own)
    };
    json!({
        "runs": results.runs.len(),
        "aggregates": comparisons.iter().map(comparison).collect::<serde_json::Map<_, _>>(),
        "ledger": results.ledgers().into_iter().map(ledger).collect::<serde_json::Map<_, _>>(),
    })
}

/// The same for people.
pub(super) fn told(results: &Results, comparisons: &[Comparison]) -> String {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let mut text = String::new();
    for comparison in comparisons {
        text.push_str(&format!("{:<24}{:>10}  effect [95 %]\n", comparison.name, "mean"));
        for arm in &comparison.arms {
            let effect = match arm.effect {
                None => String::new(),
                Some(effect) => match effect.half_width {
                    None => format!("{:+.4}", effect.mean),
                    Some(half) => format!(
                        "{:+.4} [{:+.4}, {:+.4}]",
                        effect.mean,
                        effect.mean - half,
                        effect.mean + half
                    ),
                },
            };
            let line = format!("  {:<22}{:>10}  {effect}", arm.arm, number(arm.mean));
            text.push_str(&format!("{}\n", line.trim_end()));
        }
    }
    text.push_str(&format!(
        "{:<24}{:>10}{:>12}{:>12}{:>12}\n",
        "calls", "made", "cost $", "inherited", "saved $"
    ));
    for (arm, calls, cost, inherited, saved) in results.ledgers() {
        text.push_str(&format!("  {arm:<22}{calls:>10}{cost:>12.4}{inherited:>12}{saved:>12.4}\n"));
    }
    text
}
