//! Whether the compiler can build components at all.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Error;

pub(crate) const NAME: &str = "wasm32-wasip2";

/// Adds the target if the compiler lacks it. Not every rustup installs what the toolchain file asks
/// for, and those who have no rustup get a message that says what is missing.
pub(crate) fn ensure(workspace: &Path) -> Result<(), Error> {
    if is_installed(workspace)? {
        return Ok(());
    }
    let added = Command::new("rustup")
        .args(["target", "add", NAME])
        .current_dir(workspace)
        // What a build script prints on standard output are orders to cargo.
        .stdout(Stdio::null())
        .status();
    let reason = match added {
        Ok(status) if status.success() => {
            if is_installed(workspace)? {
                return Ok(());
            }
            "rustup added it to another toolchain".to_owned()
        }
        Ok(status) => format!("rustup ended with {status}"),
        Err(error) => format!("rustup did not start: {error}"),
    };
    Err(Error::MissingTarget { reason })
}

fn is_installed(workspace: &Path) -> Result<bool, Error> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", NAME])
        .current_dir(workspace)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Error::Run { program: rustc.to_string_lossy().into_owned(), source })?;
    let directory = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && PathBuf::from(directory.trim()).is_dir())
}
