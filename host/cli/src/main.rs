//! The program `dormouse`: which command, and what it is told.
//!
//! `serve` is what the program does unless told otherwise; `config` shows the settings that are in
//! force; `keys` creates, lists and revokes keys for callers, `key` makes one for the
//! configuration; `store`, `backup` and `restore` look after the data
//! directory; `sessions`, `agents`, `events`, `stats`, `talk` and `dev` are clients of a running host;
//! `sim` runs simulated worlds; `reference` prints what the API takes and answers;
//! `compile` is for the program itself, which calls it in a child process to compile what is uploaded.

mod client;
mod config;
mod control;
mod egress;
mod files;
mod key;
mod keys;
mod limits;
mod listen;
mod mcp;
mod models;
mod serve;
mod settings;
mod sim;
mod sources;
mod store;
mod table;
mod value;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use models::environment;
use settings::{Config, SETTINGS, Setting, SettingGroup};
use sources::{Settings, Sources};

/// The command that the program gives to its children.
const COMPILE: &str = "compile";

/// The command that prints the reference of the API, of which `docs/reference.md` is made.
const REFERENCE: &str = "reference";

/// The option that names the file with settings.
const FILE: &str = "config";

/// Small allocations on many threads are a fifth of the processor time of a busy host.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else is started: a child that compiles has little memory, and needs none of it.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == COMPILE) {
        return dormouse::compile_child();
    }
    let matches = command().get_matches();
    if let Some((name, given)) = matches.subcommand()
        && let Some(code) = client::run(name, given)
    {
        return code;
    }
    match matches.subcommand() {
        Some(("key", given)) => key::run(given),
        Some(("sim", given)) => with_settings(&matches, |settings| sim::run(given, &settings)),
        Some((REFERENCE, _)) => {
            print!("{}", dormouse_http::reference());
            ExitCode::SUCCESS
        }
        Some(("config", given)) => with_settings(&matches, |settings| config::run(given, settings)),
        Some(("keys", given)) => with_settings(&matches, |settings| keys::run(given, settings)),
        Some(("store", given)) => with_settings(&matches, |settings| store::store(given, settings)),
        Some(("backup", given)) => {
            with_settings(&matches, |settings| store::backup(given, settings))
        }
        Some(("restore", given)) => {
            with_settings(&matches, |settings| store::restore(given, settings))
        }
        Some(_) | None => with_settings(&matches, serve::run),
    }
}

fn with_settings(matches: &ArgMatches, run: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    match sources(matches).merge() {
        Ok(settings) => run(settings),
        Err(error) => complain(&error),
    }
}

/// Say what went wrong, where no log is written yet.
fn complain(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("dormouse: {error}");
    ExitCode::FAILURE
}

/// What the command line says: options after the command win over those before it.
fn sources(matches: &ArgMatches) -> Sources {
    let mut levels = vec![matches];
    while let Some((_, inner)) = levels[levels.len() - 1].subcommand() {
        levels.push(inner);
    }
    // A command that has no such option says nothing of it.
    let option = |setting: &Setting| {
        let given =
            |level: &&ArgMatches| level.try_get_one::<String>(setting.name).ok().flatten().cloned();
        levels.iter().rev().find_map(given).map(|value| (setting.name, value))
    };
    let file = |level: &&ArgMatches| level.try_get_one::<PathBuf>(FILE).ok().flatten().cloned();
    Sources {
        options: SETTINGS.iter().filter_map(option).collect(),
        file: levels.iter().rev().find_map(file),
        variables: Sources::own_variables(),
        of_providers: environment::variables(),
    }
}

fn command() -> Command {
    let defaults = Config::default();
    let all = || with_options(&defaults, |_| true);
    let of_store = |command: Command| {
        command.args(
            with_options(&defaults, SettingGroup::is_of_store).map(|option| option.global(true)),
        )
    };
    let of_models = |command: Command| {
        command.args(
            with_options(&defaults, SettingGroup::is_of_models).map(|option| option.global(true)),
        )
    };
    Command::new("dormouse")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A host for AI-agent sessions in WebAssembly: sandboxed, metered, asleep when idle")
        .after_help(
            "Each option is also a variable (--data-dir: DORMOUSE_DATA_DIR) and a key of the file \
             (data-dir = \"…\").\nSizes have units (512MiB, 2GiB), and so have times (500ms, 30s, 5m).",
        )
        .args(all())
        .subcommand(Command::new("serve").about("Serve the HTTP API (default)").args(all()))
        .subcommand(config::command().args(all()))
        .subcommand(key::command())
        .subcommand(of_store(keys::command()))
        .subcommands(client::commands())
        .subcommand(of_models(sim::command()))
        .subcommand(of_store(store::command()))
        .subcommand(of_store(store::backup_command()))
        .subcommand(of_store(store::restore_command()))
        .subcommand(Command::new(REFERENCE).about("Print the reference of the HTTP API, as Markdown"))
        .subcommand(Command::new(COMPILE).hide(true))
}

/// The options of a command that goes by the settings of these groups.
fn with_options(
    defaults: &Config,
    applies: fn(SettingGroup) -> bool,
) -> impl Iterator<Item = Arg> + use<'_> {
    let file = Arg::new(FILE)
        .long(FILE)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help_heading(SettingGroup::Common.heading())
        .help("File with settings [default: ./dormouse.toml, if it exists]");
    let settings = SETTINGS.iter().filter(move |setting| applies(setting.group));
    std::iter::once(file).chain(settings.map(|setting| option(setting, defaults)))
}

fn option(setting: &'static Setting, defaults: &Config) -> Arg {
    Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value)
        // So that a number below zero is refused in the words of its setting.
        .allow_negative_numbers(true)
        .help_heading(setting.group.heading())
        .help(format!("{} [default: {}]", setting.doc, (setting.show)(defaults)))
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
            assert_eq!(sources(&matches).options.get("log").map(String::as_str), Some("json"));
        }
        let line =
            ["dormouse", "--log", "json", "--data-dir", "a", "store", "--log", "human", "stat"];
        let options = sources(&command().get_matches_from(line)).options;
        assert_eq!((options["log"].as_str(), options["data-dir"].as_str()), ("human", "a"));
    }

    #[test]
    fn a_command_has_the_options_that_it_goes_by() {
        let mut command = command();
        command.build();
        let options = |path: &[&str]| {
            let of = |command: &Command, name: &&str| {
                command.find_subcommand(name).expect("there is such a command").clone()
            };
            let command = path.iter().fold(command.clone(), |command, name| of(&command, name));
            command.get_arguments().map(|option| option.get_id().to_string()).collect::<Vec<_>>()
        };
        for path in [&[][..], &["serve"], &["config"]] {
            let options = options(path);
            assert!(SETTINGS.iter().all(|s| options.iter().any(|o| o == s.name)), "{path:?}");
        }
        for path in [&["store", "check"][..], &["backup"], &["restore"]] {
            let options = options(path);
            assert!(options.iter().any(|option| option == "data-dir"), "{path:?}");
            assert!(!options.iter().any(|option| option == "listen"), "{path:?}");
        }
        assert!(!options(&["key"]).iter().any(|option| option == "data-dir"));
        for path in [&["sessions", "show"][..], &["agents", "list"], &["events"], &["talk"]] {
            let options = options(path);
            assert!(options.iter().any(|option| option == "server"), "{path:?}");
            assert!(!options.iter().any(|option| option == "data-dir"), "{path:?}");
        }
        assert!(!options(&["serve"]).iter().any(|option| option == "server"));
    }
}
