//! `dormouse store …`, `dormouse backup` and `dormouse restore`: what an operator does with the data
//! directory.
//!
//! Where no host has the directory open, this process works on it itself. Where one has, it is asked
//! to, over its control socket ([`control`](super::control)); only `repair` and `restore` need the
//! directory for themselves.

mod remote;
pub(super) mod text;
pub(super) mod wire;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use self::remote::RemoteError;
use self::wire::{UpkeepAnswer, UpkeepRequest};
use super::complain;
use super::keys;
use super::keys::wire::KeyAnswer;
use super::settings::Config;
use super::sources::Settings;
use dormouse::{OpenError, StoreOptions, upkeep};
use dormouse_base::telemetry;
use dormouse_store::upkeep::UpkeepError;

/// What the exit codes mean, for the help.
const EXIT: &str = "The exit code is 0 when all is well, 1 when something is wrong with the store or \
                    the command failed, and 2 when the command line is invalid.";

pub(super) fn command() -> Command {
    let check = Command::new("check")
        .about("Verify every checksum, reference and count, and list what is wrong")
        .long_about(
            "Read everything: every checksum, every reference, every count, and say what is wrong \
             and which sessions are concerned. Changes nothing. Also of a store that does not open, \
             and of one that a host is running on.",
        );
    let stat = Command::new("stat").about("Show disk and memory use");
    let compact = Command::new("compact").about("Free disk space that is not in use");
    let quarantine = Arg::new("quarantine")
        .long("quarantine")
        .action(ArgAction::SetTrue)
        .required(true)
        .help("Keep what is removed in the folder store/quarantine/ of the data directory");
    let repair = Command::new("repair")
        .about("Remove what cannot be read, so that a host can start with the rest")
        .long_about(
            "Remove what cannot be read, so that a host can start with the rest. A session whose \
             state is lost is put into `error`, and can be resumed from an older snapshot; all \
             others go on. A recent backup is often the better choice: see `dormouse restore`. \
             No host may be running.",
        )
        .arg(quarantine);
    let subcommands = [check, stat, compact, repair];
    Command::new("store")
        .about("Check, measure, compact or repair the data directory")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(subcommands.map(|command| command.arg(json_flag()).after_help(EXIT)))
}

pub(super) fn backup_command() -> Command {
    Command::new("backup")
        .about("Back up the data directory to an empty directory, even while a host is running")
        .long_about(
            "Copy everything that is durable at one moment to a directory that is empty or not \
             there, and read the copy back. A running host goes on meanwhile, and writes the copy \
             itself. A host can be started on the copy; it is no backup any more then.",
        )
        .arg(directory("directory", "Where to"))
        .arg(json_flag())
        .after_help(EXIT)
}

pub(super) fn restore_command() -> Command {
    Command::new("restore")
        .about("Restore a backup to an empty data directory")
        .long_about(
            "Verify a backup, copy it to the data directory, which must be empty or not there, and \
             open that once. No host may be running on it.",
        )
        .arg(directory("backup", "The backup"))
        .arg(json_flag())
        .after_help(EXIT)
}

/// `--json`, of this command and of others.
pub(super) fn json_flag() -> Arg {
    Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print one JSON document, for programs")
}

fn directory(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .value_name("DIRECTORY")
        .value_parser(clap::value_parser!(PathBuf))
        .required(true)
        .help(help)
}

/// Ask for something that a running host can do as well, and print what has come of it.
pub(super) fn ask(request: UpkeepRequest, given: &ArgMatches, settings: Settings) -> ExitCode {
    run(&Task::Either(request), given, settings)
}

/// What is to be done.
enum Task {
    /// What a running host can do as well.
    Either(UpkeepRequest),
    Repair,
    Restore(PathBuf),
}

pub(super) fn store(given: &ArgMatches, settings: Settings) -> ExitCode {
    let Some((name, given)) = given.subcommand() else { return ExitCode::FAILURE };
    let task = match name {
        "check" => Task::Either(UpkeepRequest::Check),
        "stat" => Task::Either(UpkeepRequest::Stat),
        "compact" => Task::Either(UpkeepRequest::Compact),
        _ => Task::Repair,
    };
    run(&task, given, settings)
}

pub(super) fn backup(given: &ArgMatches, settings: Settings) -> ExitCode {
    // A host has another current directory.
    match std::path::absolute(path(given, "directory")) {
        Ok(directory) => run(&Task::Either(UpkeepRequest::Backup { directory }), given, settings),
        Err(error) => complain(&error),
    }
}

pub(super) fn restore(given: &ArgMatches, settings: Settings) -> ExitCode {
    run(&Task::Restore(path(given, "backup")), given, settings)
}

fn path(given: &ArgMatches, name: &str) -> PathBuf {
    given.get_one::<PathBuf>(name).cloned().unwrap_or_default()
}

fn run(task: &Task, given: &ArgMatches, settings: Settings) -> ExitCode {
    let config = settings.config;
    if let Err(error) = telemetry::install_log(config.log, &config.log_level) {
        return complain(&error);
    }
    let answer = match task {
        Task::Either(request) => either(request, &config),
        Task::Repair => upkeep::repair(&config.data_dir, options(&config)).map(UpkeepAnswer::from),
        Task::Restore(backup) => {
            upkeep::restore(backup, &config.data_dir, options(&config)).map(UpkeepAnswer::from)
        }
    };
    match answer {
        Ok(answer) => print(&answer, given.get_flag("json"), &config.data_dir),
        Err(error) => complain(&error),
    }
}

fn options(config: &Config) -> StoreOptions {
    config.host.store_options()
}

/// In this process, or by the host that has the directory.
fn either(request: &UpkeepRequest, config: &Config) -> Result<UpkeepAnswer, UpkeepError> {
    let data_dir = &config.data_dir;
    match here(request, data_dir, options(config)) {
        Err(UpkeepError::Open(OpenError::Locked { path, pid })) => {
            tracing::debug!(?pid, "a host has the data directory, and is asked");
            remote::ask(data_dir, request).map_err(|error| match error {
                // It may be another command of this kind, or a host that is just starting.
                RemoteError::Nobody => UpkeepError::Open(OpenError::Locked { path, pid }),
                RemoteError::Io(error) => UpkeepError::Io { path: data_dir.clone(), error },
            })
        }
        done => done,
    }
}

fn here(
    request: &UpkeepRequest,
    data_dir: &Path,
    options: StoreOptions,
) -> Result<UpkeepAnswer, UpkeepError> {
    match request {
        UpkeepRequest::Check => upkeep::check(data_dir, options).map(UpkeepAnswer::from),
        UpkeepRequest::Stat => upkeep::stat(data_dir, options).map(UpkeepAnswer::stat),
        UpkeepRequest::Compact => upkeep::compact(data_dir, options).map(UpkeepAnswer::compacted),
        UpkeepRequest::Backup { directory } => upkeep::backup(data_dir, directory, options)
            .map(|summary| UpkeepAnswer::backup(directory.clone(), summary)),
        UpkeepRequest::Keys { request } => {
            keys::here(request, data_dir, options).map(UpkeepAnswer::Keys)
        }
    }
}

fn print(answer: &UpkeepAnswer, json: bool, data_dir: &Path) -> ExitCode {
    let is_well = answer.is_well();
    if let UpkeepAnswer::Refused { error } | UpkeepAnswer::Keys(KeyAnswer::Refused { error }) =
        answer
    {
        return complain(error);
    }
    let told = if json { answer.to_json() } else { text::of(answer, data_dir) };
    let written = io::stdout().lock().write_all(told.as_bytes());
    if is_well && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
