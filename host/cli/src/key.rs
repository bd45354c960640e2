//! `dormouse key`: make a key for the configuration. `dormouse keys` creates those that the host keeps.

use std::fmt::Write;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command};

use super::complain;
use dormouse::{Clock, Principal, Role};
use dormouse_http::ApiKey;

pub(super) fn command() -> Command {
    Command::new("key")
        .about("Generate a key for the configuration; `dormouse keys create` needs no restart")
        .arg(
            Arg::new("name")
                .value_name("NAME")
                .default_value("admin")
                .help("The principal of the key: the owner of what its callers create"),
        )
        .arg(
            Arg::new("role")
                .long("role")
                .value_name("ROLE")
                .value_parser(PossibleValuesParser::new(Role::ALL.map(Role::as_str)))
                .default_value(Role::User.as_str())
                .help("What its callers may do"),
        )
}

pub(super) fn run(given: &ArgMatches) -> ExitCode {
    let name = given.get_one::<String>("name").map_or("admin", String::as_str);
    let key = random(&Clock::real());
    let role = given.get_one::<String>("role").and_then(|word| Role::from_word(word));
    let line =
        ApiKey::new(Principal(name.to_owned()), &key).role(role.unwrap_or(Role::User)).to_string();
    if let Err(error) = line.parse::<ApiKey>() {
        return complain(&error);
    }
    println!(
        "The API key of {name}, for `Authorization: Bearer …`. It is shown only once:\n\n  {key}\n"
    );
    println!(
        "The line of dormouse.toml that accepts it (add further keys to the list):\n\n  api-keys = [\"{line}\"]"
    );
    ExitCode::SUCCESS
}

/// More than 240 random bits.
fn random(clock: &Clock) -> String {
    let mut key = "dm_".to_owned();
    for byte in clock.random().into_iter().chain(clock.random()) {
        // Writing to a string does not fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_never_the_same() {
        let clock = Clock::real();
        let (one, two) = (random(&clock), random(&clock));
        assert_eq!(one.len(), 3 + 64);
        assert_ne!(one, two);
    }
}
