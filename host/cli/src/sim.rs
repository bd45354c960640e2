//! `dormouse sim`: worlds on this machine, from a file, without a server.
//!
//! Each command makes a host of its own, in memory unless it is told to keep what it runs, whose populations are those that come with the program and the components
//! that the specification names as files. So nothing is left behind but what was asked for.

mod arms;
mod check;
mod diff;
mod fork;
mod kept;
mod profile;
mod results;
mod run;
mod sweep;
mod tables;
mod verify;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::serve;
use crate::sources::Settings;
use dormouse::model::Catalog;
use dormouse::world_spec::{MembersSpec, RowsSpec};
use dormouse::{Bundle, Host, WorldSpec};

/// What the exit codes mean, for the help.
const EXIT: &str = "The exit code is 0 when all is well, 1 when a world fails or is not what it should be, and 2 when \
                    the command line is invalid.";

pub(super) fn command() -> Command {
    Command::new("sim")
        .about("Run simulated worlds: many members by rules or by agents, reproducible to the bit")
        .subcommand_required(true)
        .after_help(EXIT)
        .subcommands([
            run::command(),
            fork::command(),
            diff::command(),
            sweep::command(),
            arms::command(),
            check::command(),
            verify::command(),
        ])
}

pub(super) fn run(given: &ArgMatches, settings: &Settings) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let done = runtime.context("the threads do not start").and_then(|runtime| {
        runtime.block_on(async {
            match given.subcommand() {
                Some(("run", given)) => run::run(given, settings).await,
                Some(("fork", given)) => fork::run(given, settings).await,
                Some(("diff", given)) => diff::run(given).await,
                Some(("sweep", given)) => sweep::run(given, settings).await,
                Some(("arms", given)) => arms::run(given, settings).await,
                Some(("check", given)) => check::run(given, settings).await,
                Some(("verify", given)) => verify::run(given).await,
                Some(_) | None => Ok(ExitCode::FAILURE),
            }
        })
    });
    done.unwrap_or_else(|error| {
        eprintln!("dormouse: {error:#}");
        ExitCode::FAILURE
    })
}

/// The file with the specification of a world.
fn file_argument() -> Arg {
    Arg::new("file")
        .value_name("FILE")
        .required(true)
        .help("The specification of the world, in TOML")
}

/// Where the results go.
fn out_argument() -> Arg {
    Arg::new("out").long("out").value_name("DIR").help(
        "Write the results there, and the world itself as `bundle`, for `dormouse sim verify`",
    )
}

/// The bundle in this file.
fn open(path: &str) -> Result<Bundle> {
    let file = File::open(path).with_context(|| format!("{path} cannot be read"))?;
    Bundle::read(BufReader::new(file)).with_context(|| path.to_owned())
}

/// Whether the last line is for programs.
fn json_argument() -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Say what came of it as one JSON object, on the last line")
}

/// A host for one command, with places for so many instances of members. Its models are those of the settings.
async fn host(instances: u32, settings: &Settings) -> Result<Host> {
    host_with(instances, serve::catalog(settings)?, None).await
}

/// A host for one command that asks no model.
async fn silent_host(instances: u32) -> Result<Host> {
    host_with(instances, Catalog::new(Vec::new()), None).await
}

/// A host for one command, which keeps what it has in this folder, where one is named.
async fn host_with(instances: u32, models: Catalog, folder: Option<&Path>) -> Result<Host> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let builder = match folder {
        Some(folder) => Host::builder().data_dir(folder),
        None => Host::builder().in_memory(),
    };
    builder
        .models(models)
        .compile_in_child(program)
        .configure(|options| {
            // No session lives here.
            options.max_residents = 1;
            options.max_world_instances = instances.clamp(1, MAX_INSTANCES);
        })
        .build()
        .await
        .context("the host does not start")
}

/// The most instances of a world on the command line: each takes six memory maps of the kernel's `vm.max_map_count`, of
/// which there are 65,530 on most machines.
const MAX_INSTANCES: u32 = 10_800;
/// Instances for members that are born while their world goes on.
const SPARE_INSTANCES: u32 = 100;

/// A host for the world of this file, and its specification as `change` leaves it.
async fn read(
    file: &str,
    settings: &Settings,
    change: impl FnOnce(&mut WorldSpec),
) -> Result<(Host, WorldSpec)> {
    read_into(file, settings, None, change).await
}

/// The same, with a host that keeps what it has in this folder.
async fn read_into(
    file: &str,
    settings: &Settings,
    keep: Option<&Path>,
    change: impl FnOnce(&mut WorldSpec),
) -> Result<(Host, WorldSpec)> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
    let mut spec =
        WorldSpec::parse_toml(&text).map_err(|error| anyhow::anyhow!("{file}: {error}"))?;
    change(&mut spec);
    let host = host_with(places(&spec), serve::catalog(settings)?, keep).await?;
    let folder = Path::new(file).parent().unwrap_or(Path::new("."));
    named_files(&host, &mut spec, folder).await.with_context(|| file.to_owned())?;
    spec.check().map_err(|error| anyhow::anyhow!("{file}: {error}"))?;
    Ok((host, spec))
}

/// Give the host the agents that this specification names as files of this folder, and the specification what is in its tables.
async fn named_files(host: &Host, spec: &mut WorldSpec, folder: &Path) -> Result<()> {
    for (place, members) in spec.members.iter_mut().enumerate() {
        if !members.agent.ends_with(".wasm") {
            continue;
        }
        let path = folder.join(&members.agent);
        let component = std::fs::read(&path).with_context(|| {
            format!("members[{place}].agent: {} cannot be read", path.display())
        })?;
        // Each file is an agent of its own, whatever it is called.
        let name = format!("file-{place}");
        let upload = host.agents().upload(&name, "1", component).await;
        let upload =
            upload.with_context(|| format!("members[{place}].agent: {}", path.display()))?;
        members.agent = upload.agent.reference.name.to_string();
    }
    tables::read(host, spec, folder).await
}

/// Places for the instances of a world, and for some more.
fn places(spec: &WorldSpec) -> u32 {
    let of = |members: &MembersSpec| match members.rows {
        RowsSpec::AtMost(rows) => members.count.div_ceil(rows),
        RowsSpec::Auto if has_sessions(members) => members.resident.unwrap_or(SESSIONS_IN_MEMORY),
        RowsSpec::Auto => 0,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let of_threads = u32::try_from(threads).unwrap_or(u32::MAX).saturating_mul(2);
    spec.members.iter().map(of).fold(of_threads + SPARE_INSTANCES, u32::saturating_add)
}

/// Whether members are sessions, as far as their specification tells.
fn has_sessions(members: &MembersSpec) -> bool {
    let MembersSpec { config, each, columns, reads, from, fuel_per_turn, resident, .. } = members;
    let has_some = [config.is_empty(), each.is_empty(), columns.is_empty(), reads.is_empty()];
    has_some.contains(&false) || from.is_some() || fuel_per_turn.is_some() || resident.is_some()
}

/// How many members that are sessions are in memory at a time, where nobody says.
const SESSIONS_IN_MEMORY: u32 = 1_000;

/// Let each instance have this many rows at most; of members that are sessions, let as many be in memory.
fn set_rows(spec: &mut WorldSpec, rows: u32) {
    for members in &mut spec.members {
        if has_sessions(members) {
            members.resident = Some(rows);
        } else {
            members.rows = RowsSpec::AtMost(rows);
        }
    }
}

/// A fingerprint, as people and programs write it.
fn hex(fingerprint: dormouse::Fingerprint) -> String {
    fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()
}
