//! `dormouse keys …`: the keys of the API, created, listed and revoked by whoever operates the host.
//!
//! Where a host has the data directory open, it is asked over its control socket; else this process works on
//! the store itself, as the commands of `store` do.

pub(super) mod wire;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};

use self::wire::{KeyAnswer, KeyRequest};
use super::sources::Settings;
use super::store::wire::UpkeepRequest;
use super::store::{self, json_flag};
use super::value;
use dormouse::{Clock, CreatedKey, KeyError, KeyId, Keys, NewKey, Role, Store, StoreOptions};
use dormouse_store::embedded::Embedded;
use dormouse_store::upkeep::UpkeepError;

pub(super) fn command() -> Command {
    let roles = PossibleValuesParser::new(Role::ALL.map(Role::as_str));
    let create = Command::new("create")
        .about("Create a key for a principal, and print its secret")
        .long_about(
            "Create a key for a principal: the owner of what its callers create. All keys of one \
             principal share what it has. From the first key on, each caller of the server needs one; \
             so the first has the role admin. The secret is printed once and kept nowhere.",
        )
        .arg(Arg::new("name").value_name("NAME").required(true).help("The principal"))
        .arg(
            Arg::new("role").long("role").value_name("ROLE").value_parser(roles).default_value(Role::User.as_str()).help(
                "reader: read what the principal has; user: change it as well; admin: everything of \
                 everybody, and keys",
            ),
        )
        .arg(
            Arg::new("expires")
                .long("expires")
                .value_name("TIME")
                .value_parser(value::positive_duration)
                .help("Admit nobody after this time, such as 30d [default: never]"),
        );
    let list = Command::new("list").about("List all keys, without their secrets");
    let revoke = Command::new("revoke")
        .about("Revoke a key: it admits nobody from now on, and what its principal has stays")
        .arg(Arg::new("id").value_name("ID").required(true).help("The id of the key"));
    let subcommands = [create, list, revoke];
    Command::new("keys")
        .about("Create, list and revoke keys of the API, also while a host is running")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(subcommands.map(|command| command.arg(json_flag())))
}

pub(super) fn run(given: &ArgMatches, settings: Settings) -> ExitCode {
    let Some((name, given)) = given.subcommand() else { return ExitCode::FAILURE };
    let text = |name: &str| given.get_one::<String>(name).cloned().unwrap_or_default();
    let request = match name {
        "create" => KeyRequest::Create {
            principal: text("name"),
            role: text("role"),
            expires_in_ms: given.get_one("expires").map(wire::millis),
        },
        "list" => KeyRequest::List,
        _ => KeyRequest::Revoke { id: text("id") },
    };
    store::ask(UpkeepRequest::Keys { request }, given, settings)
}

/// Do it in this process, to a store that no host has.
pub(super) fn here(
    request: &KeyRequest,
    data_dir: &Path,
    options: StoreOptions,
) -> Result<KeyAnswer, UpkeepError> {
    let io = |error| UpkeepError::Io { path: data_dir.to_owned(), error };
    // Only the first key may come before the first host.
    if !matches!(request, KeyRequest::Create { .. }) {
        std::fs::metadata(data_dir).map_err(io)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let store: Arc<dyn Store> = Arc::new(Embedded::open(data_dir, options)?);
    runtime.block_on(async {
        let answer = match Keys::of_store(store.clone()).await {
            Ok(keys) => answer(request, &keys, &Clock::real()).await,
            Err(error) => refused(&error),
        };
        // What was committed is durable, whether or not it closes cleanly.
        Ok(store.close().await.map_or_else(|error| refused(&error), |()| answer))
    })
}

/// What comes of a request.
pub(super) async fn answer(request: &KeyRequest, keys: &Keys, clock: &Clock) -> KeyAnswer {
    done(request, keys, clock).await.unwrap_or_else(|error| match error {
        KeyError::FirstMustBeAdmin => {
            KeyAnswer::Refused { error: format!("{error}: --role admin") }
        }
        error => refused(&error),
    })
}

async fn done(request: &KeyRequest, keys: &Keys, clock: &Clock) -> Result<KeyAnswer, KeyError> {
    Ok(match request {
        KeyRequest::Create { principal, role, expires_in_ms } => {
            let Some(role) = Role::from_word(role) else {
                return Ok(KeyAnswer::Refused { error: format!("there is no role '{role}'") });
            };
            let expires_at = expires_in_ms.map(|after| clock.now().after(wire::time(after)));
            let new = NewKey { principal: principal.clone(), role, expires_at };
            let CreatedKey { key, secret } = keys.create(new).await?;
            KeyAnswer::Created { key: key.into(), secret: secret.as_str().to_owned() }
        }
        KeyRequest::List => KeyAnswer::All(keys.list()?.into_iter().map(wire::Key::from).collect()),
        KeyRequest::Revoke { id } => match id.parse::<KeyId>() {
            Ok(id) => KeyAnswer::Revoked(keys.revoke(id).await?.into()),
            Err(error) => refused(&error),
        },
    })
}

fn refused(error: &dyn std::fmt::Display) -> KeyAnswer {
    KeyAnswer::Refused { error: error.to_string() }
}
