//! The inner run of cargo.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{Error, Guest, out_dir, target};

/// Variables that the outer cargo or its user set for the outer build. Flags for the machine that
/// builds are wrong for a guest, a wrapper such as clippy's would check guests instead of building
/// them, and directories of the outer build are locked by it.
const NOT_INHERITED: &[&str] = &[
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_UNSTABLE_SBOM",
    "DEBUG",
    "HOST",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "TARGET",
];

/// What the names of further such variables begin with.
const NOT_INHERITED_PREFIXES: &[&str] =
    &["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_", "DEP_"];

/// What is read of a message of cargo.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Target {
    #[serde(default)]
    name: String,
    #[serde(default)]
    crate_types: Vec<String>,
}

/// The directory of the workspace that the crate of the build script is a member of.
pub(crate) fn workspace() -> Result<PathBuf, Error> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map(|directory| Path::new(&directory).join("Cargo.toml"))
        .ok_or(Error::NotABuildScript("CARGO_MANIFEST_DIR"))?;
    let output = Command::new(cargo())
        .args(["locate-project", "--workspace", "--message-format", "plain"])
        .arg("--manifest-path")
        .arg(&manifest)
        .stderr(Stdio::inherit())
        .output()
        .map_err(not_run)?;
    let root = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    match root.parent() {
        Some(directory) if output.status.success() => Ok(directory.to_owned()),
        _ => Err(Error::Failed),
    }
}

/// Builds what is selected and returns the components, sorted by name.
pub(crate) fn build(
    workspace: &Path,
    selection: &[String],
    prefix: &str,
) -> Result<Vec<Guest>, Error> {
    let directory = out_dir()?.join("guests");
    let mut command = Command::new(cargo());
    command
        .args(["build", "--profile", "guest", "--target", target::NAME])
        .args(["--message-format", "json-render-diagnostics"])
        // A build script changes no sources.
        .arg("--locked")
        .args(selection)
        .current_dir(workspace)
        .stderr(Stdio::inherit());
    for (name, _) in env::vars_os() {
        if !is_inherited(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    command
        .env("CARGO_TARGET_DIR", directory.join("target"))
        .env("CARGO_BUILD_BUILD_DIR", directory.join("build"));
    // With a job server the inner cargo shares the jobs of the outer one.
    if env::var_os("CARGO_MAKEFLAGS").is_none()
        && let Some(jobs) = env::var_os("NUM_JOBS")
    {
        command.arg("--jobs").arg(jobs);
    }
    let output = command.output().map_err(not_run)?;
    if !output.status.success() {
        return Err(Error::Failed);
    }
    let mut guests: Vec<Guest> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| component(line, prefix))
        .collect();
    guests.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(guests)
}

fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn not_run(source: std::io::Error) -> Error {
    Error::Run { program: cargo().to_string_lossy().into_owned(), source }
}

fn is_inherited(name: &str) -> bool {
    !NOT_INHERITED.contains(&name)
        && !NOT_INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The component that a line of cargo's messages is about, if it is about one.
fn component(line: &str, prefix: &str) -> Option<Guest> {
    let message: Message = serde_json::from_str(line).ok()?;
    let is_component = message.reason == "compiler-artifact"
        && message.target.crate_types.iter().any(|it| it == "cdylib" || it == "bin");
    if !is_component {
        return None;
    }
    let path = message
        .filenames
        .into_iter()
        .find(|file| file.extension().is_some_and(|it| it == "wasm"))?;
    let name = message.target.name.replace('-', "_");
    Some(Guest {
        name: name.strip_prefix(prefix).unwrap_or(&name).to_owned(),
        // An id ends in `#1.2.3` or `#name@1.2.3`.
        version: message.package_id.rsplit(['#', '@']).next()?.to_owned(),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_read_from_the_message_about_it() {
        let line = r#"{"reason":"compiler-artifact",
            "package_id":"path+file:///src/agents/echo#agent-echo@0.1.0",
            "target":{"name":"agent_echo","crate_types":["cdylib"]},
            "filenames":["/out/agent_echo.wasm"],"fresh":true}"#;
        let guest = component(line, "agent_").unwrap();
        assert_eq!(guest.name, "echo");
        assert_eq!(guest.version, "0.1.0");
        assert_eq!(guest.path, Path::new("/out/agent_echo.wasm"));
    }

    #[test]
    fn a_program_is_a_component_and_a_build_script_is_none() {
        let line = r#"{"reason":"compiler-artifact",
            "package_id":"path+file:///src/tests#fixtures@0.1.0",
            "target":{"name":"plain_program","crate_types":["bin"]},
            "filenames":["/out/plain_program.wasm"],"fresh":true}"#;
        assert_eq!(component(line, "").unwrap().name, "plain_program");
        let line = r#"{"reason":"compiler-artifact",
            "package_id":"registry+index#serde@1.0.0",
            "target":{"name":"build-script-build","crate_types":["bin"]},
            "filenames":["/out/build-script-build"],"fresh":true}"#;
        assert!(component(line, "").is_none());
    }

    #[test]
    fn other_messages_are_passed_over() {
        assert!(component(r#"{"reason":"build-finished","success":true}"#, "").is_none());
        assert!(component("not JSON", "").is_none());
    }

    #[test]
    fn variables_of_the_outer_build_stay_outside() {
        for name in ["CARGO_ENCODED_RUSTFLAGS", "CARGO_PKG_NAME", "RUSTC_WRAPPER"] {
            assert!(!is_inherited(name), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN", "CARGO_MAKEFLAGS", "RUSTC"] {
            assert!(is_inherited(name), "{name}");
        }
    }
}
