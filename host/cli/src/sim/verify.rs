//! `dormouse sim verify`: whether a bundle says what comes of its world.

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{ArgMatches, Command};
use serde_json::json;

use super::fork::bundle_argument;
use super::{hex, json_argument, places, silent_host};
use dormouse::Bundle;

pub(super) fn command() -> Command {
    Command::new("verify")
        .about("Run the world of a bundle again, and compare what comes of it with what the bundle says")
        .arg(bundle_argument("bundle"))
        .arg(json_argument())
}

pub(super) async fn run(given: &ArgMatches) -> Result<ExitCode> {
    let path = given.get_one::<String>("bundle").map_or("", String::as_str);
    let file = File::open(path).with_context(|| format!("{path} cannot be read"))?;
    let verified = match Bundle::read(BufReader::new(file)) {
        Ok(bundle) => {
            let host = silent_host(places(&bundle.spec)).await?;
            let difference = host.simulations().verify(&bundle).await;
            host.shut_down().await?;
            let fingerprint = hex(bundle.record.fingerprint);
            match difference {
                Ok(None) => Ok(fingerprint),
                Ok(Some(difference)) => Err(difference),
                Err(error) => Err(error.to_string()),
            }
        }
        Err(error) => Err(error.to_string()),
    };
    if given.get_flag("json") {
        let (fingerprint, problem) = match &verified {
            Ok(fingerprint) => (Some(fingerprint), None),
            Err(problem) => (None, Some(problem)),
        };
        let verdict =
            json!({ "verified": verified.is_ok(), "fingerprint": fingerprint, "problem": problem });
        println!("{verdict}");
    } else {
        match &verified {
            Ok(fingerprint) => println!("verified: the world comes to {fingerprint}"),
            Err(problem) => println!("not verified: {problem}"),
        }
    }
    Ok(if verified.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
