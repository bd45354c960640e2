//! `dormouse sim fork`: the world of a bundle, which goes on otherwise from one of its ticks.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::json;

use super::diff::Difference;
use super::run::{summary, to_its_end, told};
use super::{host, json_argument, open, out_argument, places, results};
use crate::sources::Settings;
use dormouse::world_spec::{Announcement, Change, Deed, ParameterSpec, ProgramStep};

pub(super) fn command() -> Command {
    Command::new("fork")
        .about("Run the world of a bundle with other parameters from one of its ticks on, and compare")
        .arg(bundle_argument("bundle"))
        .arg(
            Arg::new("at")
                .long("at")
                .value_name("TICK")
                .required(true)
                .value_parser(value_parser!(u64))
                .help("Before which tick the parameters change"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("ROLE.NAME=VALUE")
                .action(ArgAction::Append)
                .help(
                    "A parameter of a role, or ROLE.config.NAME of members that are sessions, and its value from there \
                     on; it can be given several times",
                ),
        )
        .arg(
            Arg::new("send")
                .long("send")
                .value_name("ROLE=TEXT")
                .action(ArgAction::Append)
                .help("Send this to all members of a role that are sessions, from `world`"),
        )
        .arg(Arg::new("name").long("name").value_name("NAME").help("What the fork is called"))
        .arg(out_argument())
        .arg(json_argument())
}

/// A file that `dormouse sim run --out` has written.
pub(super) fn bundle_argument(name: &'static str) -> Arg {
    Arg::new(name)
        .value_name("BUNDLE")
        .required(true)
        .help("The file that `dormouse sim run --out DIR` has written as DIR/bundle")
}

pub(super) async fn run(given: &ArgMatches, settings: &Settings) -> Result<ExitCode> {
    let path = given.get_one::<String>("bundle").map_or("", String::as_str);
    let at = given.get_one::<u64>("at").copied().unwrap_or_default();
    let before = open(path)?;
    let mut spec = before.spec.clone();
    for set in given.get_many::<String>("set").unwrap_or_default() {
        let deed = Deed::Set(change(set)?);
        spec.intervene(ProgramStep { at, deed }, 0).with_context(|| format!("--set {set}"))?;
    }
    for send in given.get_many::<String>("send").unwrap_or_default() {
        let deed = Deed::Send(announcement(send)?);
        spec.intervene(ProgramStep { at, deed }, 0).with_context(|| format!("--send {send}"))?;
    }
    if let Some(name) = given.get_one::<String>("name") {
        spec.name.clone_from(name);
    }
    if let Some(out) = given.get_one::<String>("out") {
        fs::create_dir_all(out).with_context(|| format!("{out} cannot be made"))?;
    }
    let host = host(places(&spec), settings).await?;
    let mut world = host.simulations().make_of_bundle(&before, spec, at).await?;
    let (record, took) = to_its_end(&host, &mut world).await?;
    let shared = usize::try_from(at).unwrap_or(usize::MAX);
    let first =
        before.record.hashes.iter().zip(&record.hashes).position(|(own, other)| own != other);
    if let Some(first) = first.filter(|first| *first < shared) {
        bail!("{path} is not what comes of its world: it comes to something else in tick {first}");
    }
    let calls = world.calls();
    let mut summary = summary(&world, &record, took, calls);
    let after = world.bundle(record).await?;
    let difference = Difference::of(&before, &after);
    summary["firstDifference"] = json!(difference.first);
    if let Some(out) = given.get_one::<String>("out") {
        results::write(Path::new(out), &mut world, &after, &summary)
            .await
            .with_context(|| out.clone())?;
    }
    if given.get_flag("json") {
        println!("{summary}");
    } else {
        print!("{}{}", told(&world, &after, took, calls), difference.told("before", "forked"));
    }
    host.shut_down().await?;
    Ok(ExitCode::SUCCESS)
}

/// What `ROLE=TEXT` says.
fn announcement(text: &str) -> Result<Announcement> {
    let parts = text.split_once('=');
    let (role, text) = parts.with_context(|| format!("--send {text}: it is not ROLE=TEXT"))?;
    Ok(Announcement { role: role.to_owned(), members: None, text: text.to_owned() })
}

/// What `ROLE.NAME=VALUE` says, or `ROLE.config.NAME=VALUE` of members that are sessions: a number, `true`, `false`, or else a text.
fn change(text: &str) -> Result<Change> {
    let parts = text
        .split_once('=')
        .and_then(|(field, value)| field.split_once('.').map(|(role, name)| (role, name, value)));
    let (role, name, value) =
        parts.with_context(|| format!("--set {text}: it is not ROLE.NAME=VALUE"))?;
    let value = match (value.parse::<i64>(), value.parse::<f64>(), value.parse::<bool>()) {
        (Ok(value), _, _) => ParameterSpec::Integer(value),
        (_, Ok(value), _) => ParameterSpec::Number(value),
        (_, _, Ok(value)) => ParameterSpec::Flag(value),
        _ => ParameterSpec::Text(value.to_owned()),
    };
    let mut change = Change { role: role.to_owned(), ..Change::default() };
    match name.strip_prefix("config.") {
        Some(name) => drop(change.config.insert(name.to_owned(), serde_json::to_value(value)?)),
        None => drop(change.parameters.insert(name.to_owned(), value)),
    }
    Ok(change)
}
