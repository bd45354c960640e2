//! `dormouse sim check`: whether what comes of a world depends on how its rows are split.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::json;

use super::{file_argument, hex, json_argument, read, set_rows};
use crate::sources::Settings;
use dormouse::{Bundle, Fingerprint, Host, Record, WorldSpec};

/// How many ticks are compared, unless the command line says otherwise.
const TICKS: &str = "10";
/// The most instances of a role.
const INSTANCES: u32 = 1_000;

pub(super) fn command() -> Command {
    Command::new("check")
        .about("Compare a world whose instances have 1, 7 and all rows: finds what rows share by mistake")
        .arg(file_argument())
        .arg(json_argument())
        .arg(
            Arg::new("ticks")
                .long("ticks")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .default_value(TICKS)
                .help("How many ticks are compared"),
        )
}

pub(super) async fn run(given: &ArgMatches, settings: &Settings) -> Result<ExitCode> {
    let file = given.get_one::<String>("file").map_or("", String::as_str);
    let ticks = given.get_one::<u64>("ticks").copied().unwrap_or(10);
    let change = |spec: &mut WorldSpec| {
        spec.ticks = spec.ticks.min(ticks);
        // With places for as many instances as are tried.
        set_rows(spec, 1);
    };
    let (host, spec) = read(file, settings, change).await?;
    let (all, recorded) = of_ticks(&host, &spec, u32::MAX, None).await?;
    let mut difference = None;
    let largest = spec.members.iter().map(|members| members.count).max().unwrap_or(0);
    // Of a large world as few in an instance as there are places for.
    let mut compared: Vec<u32> =
        [7, 1].map(|rows: u32| rows.max(largest.div_ceil(INSTANCES))).into();
    compared.dedup();
    for rows in compared.iter().copied() {
        let (split, _) = of_ticks(&host, &spec, rows, Some(&recorded)).await?;
        if let Some(tick) = all.iter().zip(&split).position(|(all, split)| all != split) {
            difference = Some((rows, tick));
            break;
        }
    }
    host.shut_down().await?;
    let last = all.last().copied().unwrap_or_default();
    if given.get_flag("json") {
        let (rows, tick) = difference.unzip();
        println!(
            "{}",
            json!({ "same": difference.is_none(), "ticks": spec.ticks, "fingerprint": hex(last), "rows": rows, "tick": tick, "compared": compared })
        );
    } else {
        match difference {
            None => {
                println!(
                    "{} ticks come out the same, whether an instance has {} or all rows",
                    spec.ticks,
                    compared.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
                )
            }
            Some((rows, tick)) => println!(
                "tick {tick} comes out differently where an instance has {rows} rows: rows of a population share \
                 something, such as a variable that one row writes and another reads"
            ),
        }
    }
    Ok(if difference.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the world has come to after each tick, where its instances have so many rows; and the world with what was recorded of it.
async fn of_ticks(
    host: &Host,
    spec: &WorldSpec,
    rows: u32,
    recorded: Option<&Bundle>,
) -> Result<(Vec<Fingerprint>, Bundle)> {
    let mut spec = spec.clone();
    set_rows(&mut spec, rows);
    let (simulations, ticks) = (host.simulations(), spec.ticks);
    let mut world = match recorded {
        // What models have answered they answer again.
        Some(recorded) => simulations.make_of_bundle(recorded, spec, ticks).await?,
        None => simulations.make(spec).await?,
    };
    let (mut fingerprints, mut record) = (Vec::new(), Record::default());
    // All that members publish counts, also what no other member sees.
    while let Some(summary) = world.run(1).await?.pop() {
        record.note(&summary);
        fingerprints.push(world.fingerprint().await?);
    }
    Ok((fingerprints, world.bundle(record).await?))
}
