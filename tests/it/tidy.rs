//! The invariants of ARCHITECTURE.md that a reader of the source can check: what each room must not
//! know.

use std::path::{Path, PathBuf};

/// A file of the host, with the lines of code that are not comments and not tests.
struct Source {
    path: String,
    code: Vec<(usize, String)>,
}

#[test]
fn no_room_knows_what_it_must_not_know() {
    let rules: &[(&str, &[&str], &[&str])] = &[
        // what must not be named; where it may be; which files besides
        ("wasmtime", &["sandbox/"], &[]),
        ("sled::", &["store/embedded/"], &[]),
        ("axum", &["api/", "cli/"], &[]),
        ("tower_http", &["api/"], &[]),
        ("crate::api", &["api/", "cli/"], &["lib.rs", "main.rs"]),
        ("crate::cli", &["cli/"], &["lib.rs", "main.rs"]),
        (
            "crate::sandbox",
            &["sandbox/", "session/", "turn/", "agent/", "cli/"],
            &["builder.rs", "lib.rs"],
        ),
        (
            "crate::host",
            &["api/", "cli/", "session/manager.rs"],
            &["builder.rs", "lib.rs", "telemetry.rs"],
        ),
        ("session::manager", &["session/", "api/"], &["host.rs", "builder.rs", "lib.rs"]),
        ("session::driver", &["session/"], &[]),
        ("println!", &["cli/"], &[]),
        ("Instant::now", &[], &["clock.rs"]),
        ("SystemTime::now", &[], &["clock.rs"]),
        ("Uuid::now_v7", &[], &["clock.rs"]),
        ("anyhow", &["cli/"], &["main.rs"]),
    ];
    let mut found = Vec::new();
    for source in sources() {
        for (name, rooms, files) in rules {
            let allowed = rooms.iter().any(|room| source.path.starts_with(room))
                || files.contains(&source.path.as_str());
            if allowed {
                continue;
            }
            for (line, code) in &source.code {
                if code.contains(name) {
                    found.push(format!("{}:{line} names {name}: {}", source.path, code.trim()));
                }
            }
        }
        if source.path.starts_with("sandbox/") {
            for name in [
                "session::record",
                "session::state",
                "crate::store",
                "crate::event",
                "crate::turn::settlement",
            ] {
                for (line, code) in &source.code {
                    if code.contains(name) {
                        found.push(format!("{}:{line} names {name}", source.path));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = files()
        .into_iter()
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn every_fixture_and_every_interface_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    for folder in ["it", "binary"] {
        for path in files_of(root.join(folder)) {
            tests += &std::fs::read_to_string(path).unwrap();
        }
    }
    let unused: Vec<_> = dormouse_test_guests::ALL
        .iter()
        .map(|guest| guest.name.to_uppercase())
        .filter(|name| !tests.contains(name.as_str()))
        .collect();
    assert!(unused.is_empty(), "no test uses {unused:?}");
}

fn files() -> Vec<PathBuf> {
    let found = files_of(root());
    assert!(found.len() > 50, "the sources are not where they were");
    found
}

fn files_of(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src")
}

fn sources() -> Vec<Source> {
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text
            .lines()
            .enumerate()
            .take_while(|(_, line)| *line != "#[cfg(test)]")
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(n, line)| (n + 1, line.to_owned()));
        Source {
            path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
            code: code.collect(),
        }
    };
    let tests = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "tests");
    files().into_iter().filter(|path| !tests(path)).map(read).collect()
}
