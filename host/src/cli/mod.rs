//! The command line: which command, and what it is told.
//!
//! `serve` is what the program does unless told otherwise; `config` shows the settings that are in
//! force; `key` makes a key for callers; `store`, `backup` and `restore` look after the data
//! directory; `compile` is for the program itself, which calls it in a
//! child process to compile what is uploaded.

mod config;
mod control;
mod key;
mod serve;
mod settings;
mod sources;
mod store;
mod value;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use settings::{Config, SETTINGS, Setting};
use sources::{Settings, Sources};

pub use sources::SettingsError;

/// The command that the program gives to its children.
const COMPILE: &str = "compile";

/// Do what the arguments of the process say, and return how it went.
#[must_use]
pub fn run() -> ExitCode {
    // Before anything else is started: a child that compiles has little memory, and needs none of it.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == COMPILE) {
        return crate::compile_child();
    }
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("key", given)) => key::run(given),
        Some(("config", given)) => with_settings(given, config::run),
        Some(("store", given)) => with_settings(given, |settings| store::store(given, settings)),
        Some(("backup", given)) => with_settings(given, |settings| store::backup(given, settings)),
        Some(("restore", given)) => {
            with_settings(given, |settings| store::restore(given, settings))
        }
        Some((_, given)) => with_settings(given, serve::run),
        None => with_settings(&matches, serve::run),
    }
}

fn with_settings(given: &ArgMatches, run: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    match sources(given).merge() {
        Ok(settings) => run(settings),
        Err(error) => complain(&error),
    }
}

/// Say what went wrong, where no log is written yet.
fn complain(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("dormouse: {error}");
    ExitCode::FAILURE
}

fn sources(given: &ArgMatches) -> Sources {
    let option = |setting: &Setting| {
        given.get_one::<String>(setting.name).map(|value| (setting.name, value.clone()))
    };
    Sources {
        options: SETTINGS.iter().filter_map(option).collect(),
        file: given.get_one::<PathBuf>("config").cloned(),
        variables: Sources::own_variables(),
    }
}

fn command() -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .global(true)
        .help("The file with settings [default: ./dormouse.toml, where it is there]");
    let defaults = Config::default();
    let settings = SETTINGS.iter().map(|setting| option(setting, &defaults));
    Command::new("dormouse")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A host for AI-agent sessions in WebAssembly: sandboxed, metered, asleep when idle")
        .after_help(
            "Each option is also a variable (--data-dir: DORMOUSE_DATA_DIR) and a key of the file \
             (data-dir = \"…\").\nSizes have units (512MiB, 2GiB), and so have times (500ms, 30s, 5m).",
        )
        .arg(file)
        .args(settings)
        .subcommand(Command::new("serve").about("Serve the HTTP API (what is done without a command)"))
        .subcommand(Command::new("config").about("Show all settings, and where each comes from"))
        .subcommand(key::command())
        .subcommand(store::command())
        .subcommand(store::backup_command())
        .subcommand(store::restore_command())
        .subcommand(Command::new(COMPILE).hide(true))
}

fn option(setting: &'static Setting, defaults: &Config) -> Arg {
    Arg::new(setting.name).long(setting.name).value_name(setting.value).global(true).help(format!(
        "{} [default: {}]",
        setting.doc,
        (setting.show)(defaults)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn options_come_before_or_after_the_command() {
        for line in [["dormouse", "--log", "json", "serve"], ["dormouse", "serve", "--log", "json"]]
        {
            let matches = command().get_matches_from(line);
            let (_, given) = matches.subcommand().expect("there is a command");
            assert_eq!(sources(given).options.get("log").map(String::as_str), Some("json"));
        }
    }
}
