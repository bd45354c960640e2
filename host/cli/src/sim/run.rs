//! `dormouse sim run`: a world from its first tick to its last.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};

use super::profile::Profile;
use super::{file_argument, hex, json_argument, kept, out_argument, read_into, results, set_rows};
use crate::sources::Settings;
use dormouse::{AggregateValue, Bundle, CallTotals, Host, Record, Simulation, WorldSpec};

/// About how long the world goes on between two looks at the progress.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn command() -> Command {
    Command::new("run")
        .about("Run a world from its first tick to its last")
        .arg(file_argument())
        .arg(json_argument())
        .arg(out_argument())
        .arg(
            Arg::new("keep")
                .long("keep")
                .value_name("DIR")
                .help("Keep the world there as it goes on, so that the same command goes on with it after a crash or a pause"),
        )
        .arg(
            Arg::new("profile")
                .long("profile")
                .action(ArgAction::SetTrue)
                .help("Tell where the time of a member-step went"),
        )
        .arg(
            Arg::new("rows")
                .long("rows")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..))
                .help("Let each instance have N rows at most; what comes of the world is the same"),
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("Another seed than the specification has"),
        )
        .arg(
            Arg::new("ticks")
                .long("ticks")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .help("Another number of ticks than the specification has"),
        )
}

pub(super) async fn run(given: &ArgMatches, settings: &Settings) -> Result<ExitCode> {
    let file = given.get_one::<String>("file").map_or("", String::as_str);
    let change = |spec: &mut WorldSpec| {
        if let Some(rows) = given.get_one::<u32>("rows") {
            set_rows(spec, *rows);
        }
        spec.seed = given.get_one::<u64>("seed").copied().unwrap_or(spec.seed);
        spec.ticks = given.get_one::<u64>("ticks").copied().unwrap_or(spec.ticks);
    };
    let keep = given.get_one::<String>("keep").map(Path::new);
    let (host, spec) = read_into(file, settings, keep, change).await?;
    let profile = given.get_flag("profile").then(|| Profile::install(host.clock().clone()));
    if let Some(out) = given.get_one::<String>("out") {
        fs::create_dir_all(out).with_context(|| format!("{out} cannot be made"))?;
    }
    let (mut world, record, took, calls) = match keep {
        Some(folder) => {
            let ran = kept::to_its_end(&host, spec, folder).await;
            let (world, record, took, kept) = ran.with_context(|| file.to_owned())?;
            let calls = kept.record().progress.calls.totals();
            (world, record, took, calls)
        }
        None => {
            let made = host.simulations().make(spec).await;
            let mut world = made.with_context(|| file.to_owned())?;
            let (record, took) = to_its_end(&host, &mut world).await?;
            let calls = world.calls();
            (world, record, took, calls)
        }
    };
    let profiled = profile.map(|profile| profile.table(world.steps(), took));
    let summary = summary(&world, &record, took, calls);
    let bundle = world.bundle(record).await?;
    if let Some(out) = given.get_one::<String>("out") {
        results::write(Path::new(out), &mut world, &bundle, &summary)
            .await
            .with_context(|| out.clone())?;
    }
    if given.get_flag("json") {
        println!("{summary}");
    } else {
        print!("{}", told(&world, &bundle, took, calls));
    }
    if let Some(profiled) = profiled {
        // Beside the last line, which is for programs.
        eprint!("{profiled}");
    }
    host.shut_down().await?;
    Ok(ExitCode::SUCCESS)
}

/// Let the world go on to its last tick, and show how far it is.
pub(super) async fn to_its_end(host: &Host, world: &mut Simulation) -> Result<(Record, Duration)> {
    let last = world.spec().map_or(0, |spec| spec.ticks);
    let bar = ProgressBar::new(last);
    let style = "{bar:30} {pos}/{len} ticks  {msg}  {eta} to go";
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let begun = host.clock().monotonic();
    let took = || host.clock().monotonic().saturating_sub(begun);
    let mut record = Record::default();
    let mut some = 1;
    while world.ticks() < last {
        let before = took();
        for summary in world.run(some).await? {
            record.note(&summary);
        }
        let now = took();
        bar.set_position(world.ticks());
        bar.set_message(format!("{} member-steps/s", per_second(world.steps(), now)));
        // As many ticks as take about as long as a look may wait, and never many times more than before.
        let share = LOOK.as_secs_f64() / (now - before).as_secs_f64().max(1e-6);
        some = ((some as f64 * share.clamp(0.1, 10.0)) as u64).max(1);
    }
    bar.finish_and_clear();
    record.fingerprint = world.fingerprint().await?;
    Ok((record, took()))
}

/// What came of it, for programs.
pub(super) fn summary(
    world: &Simulation,
    record: &Record,
    took: Duration,
    calls: CallTotals,
) -> Value {
    let mut aggregates = Map::new();
    let names = world.spec().map(|spec| spec.aggregates.as_slice()).unwrap_or_default();
    for AggregateValue { place, value, .. } in &record.aggregates {
        // Those of later ticks come later.
        aggregates.insert(names[*place].name.clone(), json!(value));
    }
    json!({
        "fingerprint": hex(record.fingerprint),
        "ticks": world.ticks(),
        "memberSteps": world.steps(),
        "seconds": took.as_secs_f64(),
        "aggregates": aggregates,
        "fuel": world.fuel(),
        "instances": world.instances(),
        "calls": calls.made,
        "costUsd": calls.cost.as_usd(),
        "inheritedCalls": calls.inherited,
        "savedUsd": calls.saved.as_usd(),
    })
}

/// The same for people.
pub(super) fn told(
    world: &Simulation,
    bundle: &Bundle,
    took: Duration,
    calls: CallTotals,
) -> String {
    let mut text = format!(
        "{} ticks, {} member-steps in {:.2} s: {} a second, {} instances\n",
        world.ticks(),
        world.steps(),
        took.as_secs_f64(),
        per_second(world.steps(), took),
        world.instances(),
    );
    if calls.made + calls.inherited > 0 {
        text.push_str(&format!(
            "{} calls of language models for ${:.4}, and {} answered before, which would have cost ${:.4}\n",
            calls.made,
            calls.cost.as_usd(),
            calls.inherited,
            calls.saved.as_usd(),
        ));
    }
    for (place, aggregate) in bundle.spec.aggregates.iter().enumerate() {
        let mut values = bundle.record.aggregates.iter().rev();
        let value = values.find(|own| own.place == place).and_then(|own| own.value);
        let value = value.map_or("no members".to_owned(), |value| value.to_string());
        text.push_str(&format!("{:>20}  {value}\n", aggregate.name));
    }
    text.push_str(&format!("{:>20}  {}\n", "fingerprint", hex(bundle.record.fingerprint)));
    text
}

fn per_second(steps: u64, took: Duration) -> String {
    let rate = steps as f64 / took.as_secs_f64().max(1e-9);
    match rate {
        1e6.. => format!("{:.1} M", rate / 1e6),
        1e3.. => format!("{:.1} k", rate / 1e3),
        _ => format!("{rate:.0}"),
    }
}
