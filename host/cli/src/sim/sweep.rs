//! `dormouse sim sweep`: one world with many parameters and seeds, into one table.
//!
//! The table is the memory of the sweep: a run has its line once it is done. A sweep that was cut off reads the table and goes on
//! with the runs that are missing.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgMatches, Command};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::json;

use super::{MAX_INSTANCES, hex, host, json_argument, named_files, places};
use crate::sources::Settings;
use dormouse::{AggregateValue, Experiment, Host, Run, WorldSpec, csv_field, table_names};

/// The file of a sweep.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SweepFile {
    /// The file of the world, beside this one.
    world: String,
    experiment: Experiment,
}

pub(super) fn command() -> Command {
    Command::new("sweep")
        .about("Run a world with many parameters and seeds, into one table")
        .arg(Arg::new("file").value_name("FILE").required(true).help("The experiment, in TOML"))
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("TABLE")
                .required(true)
                .help("The table, as CSV. Where it is there, the sweep goes on with the runs that are missing"),
        )
        .arg(json_argument())
}

pub(super) async fn run(given: &ArgMatches, settings: &Settings) -> Result<ExitCode> {
    let text = |name: &str| given.get_one::<String>(name).map_or("", String::as_str);
    let (file, out) = (text("file"), text("out"));
    let sweep = fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    let sweep: SweepFile = toml::from_str(&sweep).with_context(|| file.to_owned())?;
    let folder = Path::new(file).parent().unwrap_or(Path::new("."));
    let path = folder.join(&sweep.world);
    let world =
        fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut world = WorldSpec::parse_toml(&world).with_context(|| path.display().to_string())?;
    let runs = sweep.experiment.runs().with_context(|| file.to_owned())?;
    let mut most = places(&world);
    if world.members.iter().any(|members| members.from.is_some()) {
        // How many members that are only the table tells.
        most = MAX_INSTANCES;
    } else {
        for run in &runs {
            let spec = sweep.experiment.world(&world, run);
            most = most.max(places(&spec.with_context(|| file.to_owned())?));
        }
    }
    let host = host(most, settings).await?;
    named_files(&host, &mut world, path.parent().unwrap_or(Path::new("."))).await?;
    // All of them are looked at before the first is run.
    for run in &runs {
        sweep.experiment.world(&world, run).with_context(|| file.to_owned())?;
    }
    let mut table = Table::open(Path::new(out), &sweep.experiment, &world, &runs)?;

    let bar = ProgressBar::new(runs.len() as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs  {eta} to go");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(table.done.len() as u64);
    let (mut steps, mut ran) = (0, 0);
    let missing = runs.iter().filter(|run| !table.done.contains(&run.number));
    for run in missing.collect::<Vec<_>>() {
        let spec = sweep.experiment.world(&world, run).with_context(|| file.to_owned())?;
        let (line, of_run) =
            to_its_end(&host, spec, run).await.with_context(|| format!("run {}", run.number))?;
        table.add(&line)?;
        (steps, ran) = (steps + of_run, ran + 1);
        bar.inc(1);
    }
    bar.finish_and_clear();
    host.shut_down().await?;
    if given.get_flag("json") {
        println!(
            "{}",
            json!({ "runs": runs.len(), "ran": ran, "memberSteps": steps, "table": out })
        );
    } else {
        println!("{} runs, {ran} of them now: {out}", runs.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// The line of a run in the table, and how often a member has acted.
async fn to_its_end(host: &Host, spec: WorldSpec, run: &Run) -> Result<(String, u64)> {
    let names: Vec<String> = spec.aggregates.iter().map(|own| own.name.clone()).collect();
    let mut world = host.simulations().make(spec).await?;
    let mut last: Vec<Option<f64>> = vec![None; names.len()];
    while let Some(summary) = world.run(1).await?.pop() {
        for AggregateValue { place, value, .. } in summary.aggregates {
            last[place] = value;
        }
    }
    let fingerprint = world.fingerprint().await?;
    let mut fields = vec![run.prefix()];
    fields.extend(
        last.into_iter().map(|value| value.map_or(String::new(), |value| format!("{value:?}"))),
    );
    fields.push(hex(fingerprint));
    Ok((fields.join(","), world.steps()))
}

/// The table of a sweep.
struct Table {
    file: File,
    /// The numbers of the runs that are in it.
    done: BTreeSet<usize>,
}

impl Table {
    /// Open it, or begin it.
    fn open(
        path: &Path,
        experiment: &Experiment,
        world: &WorldSpec,
        runs: &[Run],
    ) -> Result<Table> {
        let aggregates = world.aggregates.iter().map(|own| own.name.as_str());
        let parameters = experiment.parameters.keys().map(String::as_str);
        let names = table_names(parameters, aggregates).into_iter();
        let names = names.map(|name| csv_field(&name.into()));
        let head: Vec<String> = names.collect();
        let head = head.join(",");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.as_mut().map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        let mut file = file.try_clone()?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| path.display().to_string())?;
        // The last line may have been cut off in the middle.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut table = Table { file, done: BTreeSet::new() };
        let mut lines = text[..whole].lines();
        match lines.next() {
            None => table.add(&head)?,
            Some(first) if first == head => {}
            Some(_) => {
                bail!("{} is the table of another experiment; name another file", path.display())
            }
        }
        for line in lines {
            let number = line.split(',').next().and_then(|number| number.parse().ok());
            let run = number.and_then(|number: usize| runs.get(number));
            match run {
                Some(run) if line.starts_with(&format!("{},", run.prefix())) => {
                    table.done.insert(run.number)
                }
                Some(_) | None => {
                    bail!(
                        "{} has runs of another experiment; name another file: {line}",
                        path.display()
                    )
                }
            };
        }
        Ok(table)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        // In one write: a run is in the table as a whole, or it is not.
        self.file.write_all(format!("{line}\n").as_bytes()).context("the table cannot be written")
    }
}
