//! Which files the outer cargo watches.
//!
//! The compiler writes beside each component from which files it was built. To those come the
//! manifests of the packages that the files belong to, and what all builds depend on.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{Error, Guest};

/// What decides over every guest, relative to the workspace.
const OF_ALL: &[&str] = &["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"];

/// Tells the outer cargo to run the build script again when one of the files changes.
pub(crate) fn emit(workspace: &Path, guests: &[Guest]) -> Result<(), Error> {
    let mut watched: BTreeSet<PathBuf> = OF_ALL.iter().map(|file| workspace.join(file)).collect();
    for guest in guests {
        let path = guest.path.with_extension("d");
        let text = fs::read_to_string(&path).map_err(|source| Error::File { path, source })?;
        for source in sources(&text) {
            watched.extend(around(workspace, &source));
            watched.insert(source);
        }
    }
    // A file that does not exist would run the build script every time.
    for path in watched.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    Ok(())
}

/// The manifest above a source file and, for a WIT file, its directory: a file that is added there
/// belongs to the package.
fn around(workspace: &Path, source: &Path) -> impl Iterator<Item = PathBuf> {
    let manifest = source
        .ancestors()
        .skip(1)
        .take_while(|directory| directory.starts_with(workspace))
        .map(|directory| directory.join("Cargo.toml"))
        .find(|manifest| manifest.exists());
    let directory = source
        .extension()
        .is_some_and(|extension| extension == "wit")
        .then(|| source.parent().map(Path::to_owned))
        .flatten();
    manifest.into_iter().chain(directory)
}

/// The files after the colon of a rule as `make` reads it. A space in a name has a backslash.
fn sources(text: &str) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let Some((_, list)) = line.split_once(": ") else {
            continue;
        };
        let mut name = String::new();
        let mut escaped = false;
        for character in list.chars() {
            match character {
                '\\' if !escaped => escaped = true,
                ' ' if !escaped => {
                    sources.push(std::mem::take(&mut name));
                }
                other => {
                    if escaped && other != ' ' && other != '\\' {
                        name.push('\\');
                    }
                    name.push(other);
                    escaped = false;
                }
            }
        }
        sources.push(name);
    }
    sources.retain(|name| !name.is_empty());
    sources.into_iter().map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_stay_whole() {
        let text = "/out/guest.wasm: /src/one.rs /my\\ src/two.rs\n";
        assert_eq!(sources(text), [Path::new("/src/one.rs"), Path::new("/my src/two.rs")]);
    }

    #[test]
    fn a_wit_file_brings_its_directory() {
        let around: Vec<_> = around(Path::new("/nowhere"), Path::new("/src/wit/log.wit")).collect();
        assert_eq!(around, [Path::new("/src/wit")]);
    }
}
