//! Builds guest components from a build script.
//!
//! A build script names the guests of its crate and gets a file of constants to include:
//!
//! ```no_run
//! use dormouse_guest_build::Guests;
//!
//! Guests::of_packages(["agent-echo", "agent-counter"]).emit("BundledAgent");
//! ```
//!
//! All guests of a crate are built by one inner run of cargo, with the workspace's `guest` profile
//! and in directories of its own, so it neither waits for the outer run nor disturbs it. The build
//! script runs again when, and only when, a file changes from which a guest was built.

#![deny(missing_docs)]

mod constants;
mod dep_info;
mod inner_cargo;
mod target;

use std::{env, path::PathBuf, process};

/// The guests that one build script builds.
#[derive(Debug)]
pub struct Guests {
    selection: Vec<String>,
    /// What names of artifacts begin with and names of guests do not.
    prefix: &'static str,
}

/// One component that was built.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The name, in snake case.
    pub name: String,
    /// The version of the package that it comes from.
    pub version: String,
    /// Where the component is.
    pub path: PathBuf,
}

/// Why the guests could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compiler has no standard library for components, and rustup could not add it.
    #[error(
        "the Rust target `{target}` is not installed and could not be added ({reason}); run \
         `rustup target add {target}` and build again",
        target = target::NAME
    )]
    MissingTarget {
        /// Why it could not be added.
        reason: String,
    },
    /// A variable that cargo sets for build scripts is missing.
    #[error("`{0}` is not set: guests are built from build scripts only")]
    NotABuildScript(&'static str),
    /// A program that the build needs did not start.
    #[error("cannot run `{program}`: {source}")]
    Run {
        /// The program.
        program: String,
        /// Why it did not start.
        source: std::io::Error,
    },
    /// The inner cargo failed. Its messages are on standard error.
    #[error("building the guests failed, see the messages of the compiler below")]
    Failed,
    /// A file could not be read or written.
    #[error("cannot access {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Guests {
    /// The libraries of packages named `agent-NAME`. Each is a `cdylib`, and the guest is `NAME`.
    pub fn of_packages<'a>(packages: impl IntoIterator<Item = &'a str>) -> Self {
        let mut selection = vec!["--lib".to_owned()];
        for package in packages {
            selection.extend(["--package".to_owned(), package.to_owned()]);
        }
        Guests { selection, prefix: "agent_" }
    }

    /// The examples of one package: each a `cdylib`, or a program with a `main`. The guest is named as
    /// the example.
    pub fn of_examples(package: &str) -> Self {
        Guests {
            selection: vec!["--examples".to_owned(), "--package".to_owned(), package.to_owned()],
            prefix: "",
        }
    }

    /// Builds the guests, sorted by name, and tells the outer cargo when to do so again.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn build(&self) -> Result<Vec<Guest>, Error> {
        let workspace = inner_cargo::workspace()?;
        target::ensure(&workspace)?;
        let guests = inner_cargo::build(&workspace, &self.selection, self.prefix)?;
        dep_info::emit(&workspace, &guests)?;
        Ok(guests)
    }

    /// Builds the guests and writes `$OUT_DIR/guests.rs`: for each guest a constant named as the
    /// guest, in capitals, and `ALL`, a slice of all of them. `struct_name` is a struct with the
    /// fields `name`, `version` and `bytes`, in scope where the file is included.
    ///
    /// If that fails, it fails the build.
    pub fn emit(&self, struct_name: &str) {
        let written =
            self.build().and_then(|guests| constants::write(&out_dir()?, struct_name, &guests));
        if let Err(error) = written {
            println!("cargo::error={error}");
            process::exit(1);
        }
    }
}

fn out_dir() -> Result<PathBuf, Error> {
    env::var_os("OUT_DIR").map(PathBuf::from).ok_or(Error::NotABuildScript("OUT_DIR"))
}
