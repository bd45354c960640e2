//! The commands that are clients of a running host, over its HTTP API: `sessions`, `agents`, `events`,
//! `stats`, `talk` and `dev`.
//!
//! Each prints a table or sentences for people and, with `--json`, the document of the server for
//! programs. They read no settings: the address and the key are options and variables of their own.
//! What the server refuses is told in its own words, with its code.

mod agents;
mod conversation;
mod dev;
mod error;
mod events;
mod server;
mod sessions;
mod stats;
mod stream;
mod talk;
mod terminal;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use serde_json::Value;

use self::error::ClientError;

pub(super) use self::server::VARIABLES;

/// What the exit codes mean, for the help.
const EXIT: &str = "The exit code is 0 when all is well, 1 when the server refuses, 2 when the command \
                    line is invalid, and 3 when no server answers.";

/// One command of a client.
#[derive(Clone, Copy)]
enum ClientCommand {
    Sessions,
    Agents,
    Events,
    Stats,
    Talk,
    Dev,
}

impl ClientCommand {
    const ALL: [ClientCommand; 6] = [
        ClientCommand::Sessions,
        ClientCommand::Agents,
        ClientCommand::Events,
        ClientCommand::Stats,
        ClientCommand::Talk,
        ClientCommand::Dev,
    ];

    fn command(self) -> Command {
        match self {
            ClientCommand::Sessions => sessions::command(),
            ClientCommand::Agents => agents::command(),
            ClientCommand::Events => events::command(),
            ClientCommand::Stats => stats::command(),
            ClientCommand::Talk => talk::command(),
            ClientCommand::Dev => dev::command(),
        }
    }

    async fn run(self, given: &ArgMatches) -> Result<(), ClientError> {
        match self {
            ClientCommand::Sessions => sessions::run(given).await,
            ClientCommand::Agents => agents::run(given).await,
            ClientCommand::Events => events::run(given).await,
            ClientCommand::Stats => stats::run(given).await,
            ClientCommand::Talk => talk::run(given).await,
            ClientCommand::Dev => dev::run(given).await,
        }
    }
}

/// All commands of clients.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    let all = ClientCommand::ALL.into_iter();
    all.map(|command| command.command().args(server::options()).after_help(EXIT))
}

/// Run the command of this name; `None` where it is none of these.
pub(super) fn run(name: &str, given: &ArgMatches) -> Option<ExitCode> {
    let mut all = ClientCommand::ALL.into_iter();
    let command = all.find(|command| command.command().get_name() == name)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(command.run(given));
            // A thread may still wait for a line of the terminal.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(error.into()),
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dormouse: {error}");
            error.exit_code()
        }
    })
}

/// Print the document of the server for a program, or what `told` makes of it for people.
fn print(
    given: &ArgMatches,
    document: &Value,
    told: impl FnOnce(&Value) -> String,
) -> Result<(), ClientError> {
    let text = if given.get_flag("json") {
        format!("{}\n", terminal::document(document))
    } else {
        told(document)
    };
    write(&text)
}

/// Write a text to standard output, at once.
fn write(text: &str) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// The option of this name, where it is given.
fn option<'a>(given: &'a ArgMatches, name: &str) -> Option<&'a str> {
    given.get_one::<String>(name).map(String::as_str)
}
