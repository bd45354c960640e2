//! Data directories that earlier versions have written: `tests/fixtures`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use ruzstd::decoding::StreamingDecoder;
use serde_json::Value;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// Unpack the directories of this name below `to`, and return what was answered when they were made.
pub fn unpack(name: &str, to: &Path) -> Result<Value> {
    let packed = std::fs::File::open(format!("{FIXTURES}/{name}.tar.zst"))?;
    let mut archive = Vec::new();
    StreamingDecoder::new(packed)?.read_to_end(&mut archive)?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--file=-", "--directory"]).arg(to);
    let mut tar = tar.stdin(Stdio::piped()).spawn().context("tar starts")?;
    let mut input = tar.stdin.take().context("its input is piped")?;
    input.write_all(&archive)?;
    drop(input);
    ensure!(tar.wait()?.success(), "tar has failed");
    let told = std::fs::read(format!("{FIXTURES}/{name}.json"))?;
    Ok(serde_json::from_slice(&told)?)
}
