//! The invariants of ARCHITECTURE.md that a reader of the source can check: what each room must not
//! know.
//!
//! Each check is a function of the sources that it is given, so that a control can hand it one with a
//! violation, and see it found.

use std::path::{Path, PathBuf};

/// What a file of the host must not name, but in these rooms and files.
struct Rule {
    name: &'static str,
    /// Folders whose files may name it.
    rooms: &'static [&'static str],
    /// Files besides.
    files: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule { name: "sled::", rooms: &["store/src/embedded/"], files: &[] },
    Rule { name: "crate::host", rooms: &[], files: &["dormouse/src/builder.rs"] },
    Rule {
        name: "session::registry",
        rooms: &["dormouse/src/session/", "dormouse/src/host/"],
        files: &["dormouse/src/host.rs", "dormouse/src/builder.rs"],
    },
    Rule {
        name: "session::services",
        rooms: &[],
        files: &["dormouse/src/host.rs", "dormouse/src/builder.rs"],
    },
    Rule { name: "session::driver", rooms: &[], files: &[] },
    Rule { name: "println!", rooms: &["cli/src/"], files: &[] },
    Rule { name: "Instant::now", rooms: &[], files: &["base/src/clock.rs"] },
    Rule { name: "SystemTime::now", rooms: &[], files: &["base/src/clock.rs"] },
    Rule { name: "Uuid::new_v7", rooms: &[], files: &["base/src/clock.rs"] },
];

/// The crates of the host, each with those of them that it may depend on: none that stands above it. From
/// there on the compiler sees to it.
const FLOORS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("base", &["dormouse-domain"]),
    ("workspace", &[]),
    ("store", &["dormouse-base", "dormouse-domain", "dormouse-workspace"]),
    ("sandbox", &["dormouse-base", "dormouse-domain", "dormouse-workspace"]),
    ("simulation", &["dormouse-base", "dormouse-domain", "dormouse-sandbox"]),
    ("model", &["dormouse-base", "dormouse-domain"]),
    ("egress", &["dormouse-base", "dormouse-domain"]),
    ("tools", &["dormouse-base", "dormouse-domain", "dormouse-egress"]),
    ("mcp", &["dormouse-base", "dormouse-domain", "dormouse-egress"]),
    ("git", &["dormouse-workspace"]),
    (
        "dormouse",
        &[
            "dormouse-base",
            "dormouse-domain",
            "dormouse-egress",
            "dormouse-git",
            "dormouse-mcp",
            "dormouse-model",
            "dormouse-sandbox",
            "dormouse-simulation",
            "dormouse-store",
            "dormouse-tools",
            "dormouse-workspace",
        ],
    ),
    ("http", &["dormouse", "dormouse-base", "dormouse-domain"]),
    ("cli", &["dormouse", "dormouse-base", "dormouse-domain", "dormouse-http", "dormouse-store"]),
];

/// What one crate of the host alone may depend on.
const SOLE_USERS: &[(&str, &str)] = &[
    ("wasmtime", "sandbox"),
    ("sled", "store"),
    ("axum", "http"),
    ("clap", "cli"),
    ("anyhow", "cli"),
    ("rmcp", "mcp"),
];

impl Rule {
    fn allows(&self, path: &str) -> bool {
        self.rooms.iter().any(|room| path.starts_with(room)) || self.files.contains(&path)
    }
}

/// A file of the host, with its lines that are neither comments nor tests, and their numbers. A `use` with
/// braces is a line for each path in it.
struct Source {
    /// From the folder of the crates.
    path: String,
    code: Vec<(usize, String)>,
}

impl Source {
    /// Leave out comments and items under `#[cfg(test)]`. The source is formatted: an item ends with the
    /// first line of its own indentation that closes it.
    fn new(path: impl Into<String>, text: &str) -> Source {
        let mut code = Vec::new();
        let mut lines = (1..).zip(text.lines());
        while let Some((number, line)) = lines.next() {
            let trimmed = line.trim_start();
            if trimmed == "#[cfg(test)]" {
                let indentation = line.len() - trimmed.len();
                let closes = |line: &str| {
                    line.len() - line.trim_start().len() == indentation
                        && !line.trim_start().starts_with("#[")
                        && line.ends_with(['}', ';', ','])
                };
                let _ = lines.find(|(_, line)| closes(line));
            } else if !trimmed.starts_with("//") {
                code.push((number, line.to_owned()));
            }
        }
        Source { path: path.into(), code: unbraced(code) }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = String> {
        let named = self.code.iter().filter(move |(_, code)| code.contains(name));
        named.map(move |(line, code)| format!("{}:{line} names {name}: {}", self.path, code.trim()))
    }
}

/// The same lines, where each `use` with braces is replaced by its paths, each under its first number.
fn unbraced(code: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let mut lines = code.into_iter();
    let mut plain = Vec::new();
    while let Some((number, mut line)) = lines.next() {
        let is_use = line.trim_start().split_once("use ").is_some_and(|(visibility, _)| {
            visibility.is_empty() || (visibility.starts_with("pub") && visibility.ends_with(' '))
        });
        if is_use && line.contains('{') {
            while !line.ends_with(';') {
                let (_, more) = lines.next().expect("a use has an end");
                line += more.trim();
            }
            plain.extend(paths(&line).into_iter().map(|path| (number, path)));
        } else {
            plain.push((number, line));
        }
    }
    plain
}

/// Each path of a `use` with braces: the groups that are open, and what is named in them.
fn paths(line: &str) -> Vec<String> {
    let (mut paths, mut open) = (Vec::new(), Vec::new());
    for piece in line.split_inclusive(['{', '}', ',', ';']) {
        let (name, end) = piece.split_at(piece.len() - 1);
        if end == "{" {
            open.push(name.trim_start().to_owned());
            continue;
        }
        if !name.trim().is_empty() {
            paths.push(open.concat() + name.trim());
        }
        if end == "}" {
            open.pop();
        }
    }
    paths
}

/// Each line that names what its room must not know.
fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for rule in RULES.iter().filter(|rule| !rule.allows(&source.path)) {
            found.extend(source.named(rule.name));
        }
    }
    found
}

#[test]
fn no_room_knows_what_it_must_not_know() {
    let found = violations(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_violation_of_each_rule_is_found() {
    for rule in RULES {
        let text = format!("//! A planted file.\n\nuse {};\n", rule.name);
        let planted = |path: &str| violations(&[Source::new(path, &text)]);
        let found = planted("planted/mod.rs");
        assert_eq!(found.len(), 1, "{}: {found:?}", rule.name);
        assert!(found[0].starts_with("planted/mod.rs:3 names"), "{found:?}");
        if let Some((before, after)) = rule.name.split_once("::").filter(|(_, it)| !it.is_empty()) {
            let text =
                format!("//! A planted file.\nuse a::{{\n    {before}::{{b, {after}::C}},\n}};\n");
            let found = violations(&[Source::new("planted/mod.rs", &text)]);
            assert_eq!(found.len(), 1, "{}: {found:?}", rule.name);
        }
        for file in rule.files {
            assert!(!planted(file).iter().any(|found| found.contains(rule.name)), "{file}");
        }
    }
}

/// Each dependency of this crate of the host that it must not have. `manifest` is its `Cargo.toml`.
fn climbs(name: &str, manifest: &str) -> Vec<String> {
    // Of any kind but those of its tests, on any platform.
    let sections = manifest.split("\n[").filter_map(|section| section.split_once(']'));
    let is_asked =
        |header: &str| header.ends_with("dependencies") && !header.ends_with("dev-dependencies");
    let lines = sections.filter(|(header, _)| is_asked(header)).flat_map(|(_, body)| body.lines());
    let dependencies = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    let (_, below) =
        FLOORS.iter().find(|(floor, _)| *floor == name).expect("the crate has a floor");
    let is_ours = |dependency: &str| {
        dependency == "dormouse"
            || FLOORS.iter().any(|(it, _)| dependency.strip_prefix("dormouse-") == Some(it))
    };
    let is_wrong = |dependency: &&str| {
        (is_ours(dependency) && !below.contains(dependency))
            || SOLE_USERS.iter().any(|(it, user)| it == dependency && *user != name)
    };
    dependencies.filter(is_wrong).map(|dependency| format!("{name} → {dependency}")).collect()
}

#[test]
fn no_crate_depends_on_one_that_stands_above_it() {
    let mut crates = 0;
    for entry in std::fs::read_dir(root()).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert_eq!(climbs(name, &manifest), Vec::<String>::new());
        crates += 1;
    }
    assert_eq!(crates, FLOORS.len());
}

#[test]
fn a_dependency_that_climbs_is_found() {
    for (name, _) in FLOORS {
        let under = |section: &str, dependency: &str| {
            format!("[package]\n\n[{section}]\n{dependency}.workspace = true\n\n[lib]\n")
        };
        let manifest = |dependency: &str| under("dependencies", dependency);
        for section in ["dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
            let above = under(section, "dormouse-cli");
            assert_eq!(climbs(name, &above), [format!("{name} → dormouse-cli")]);
        }
        assert!(climbs(name, &under("dev-dependencies", "dormouse-cli")).is_empty());
        for (sole, user) in SOLE_USERS {
            assert_eq!(climbs(name, &manifest(sole)).is_empty(), name == user, "{name} → {sole}");
        }
        assert!(climbs(name, &manifest("bytes")).is_empty());
    }
}

#[test]
fn only_comments_and_tests_are_left_out_of_a_source() {
    let text = "\
//! names sled::
use one;
#[cfg(test)]
mod tests;
use two;
impl A {
    #[cfg(test)]
    #[expect(dead_code)]
    fn b() {
        sled::open();
    }
    // sled::
    three();
    four(
        #[cfg(test)]
        sled::faults,
        five,
    );
}
#[cfg(test)]
mod more {
    use sled::Db;
}
six();
";
    let source = Source::new("a.rs", text);
    let code: Vec<&str> = source.code.iter().map(|(_, line)| line.trim()).collect();
    let kept =
        ["use one;", "use two;", "impl A {", "three();", "four(", "five,", ");", "}", "six();"];
    assert_eq!(code, kept);
    assert_eq!(source.code.last().unwrap().0, 24);
}

#[test]
fn a_use_with_braces_is_a_line_for_each_path() {
    let text = "\
pub(crate) use a::{self, b::{C, d::*}, e};
use f::{
    g,
    h::{I, J as K},
};
let l = M { n };
";
    let source = Source::new("a.rs", text);
    let code: Vec<(usize, &str)> =
        source.code.iter().map(|(n, line)| (*n, line.as_str())).collect();
    let first = ["self", "b::C", "b::d::*", "e"].map(|path| format!("pub(crate) use a::{path}"));
    let second = ["g", "h::I", "h::J as K"].map(|path| format!("use f::{path}"));
    let expected = first.iter().map(|path| (1, path.as_str()));
    let expected = expected.chain(second.iter().map(|path| (2, path.as_str())));
    let expected: Vec<(usize, &str)> = expected.chain([(6, "let l = M { n };")]).collect();
    assert_eq!(code, expected);
}

#[test]
fn every_allowance_is_made_use_of() {
    let sources = sources();
    let mut idle = Vec::new();
    for rule in RULES {
        let names = |source: &&Source| source.named(rule.name).next().is_some();
        let users: Vec<&str> = sources.iter().filter(names).map(|s| s.path.as_str()).collect();
        for room in rule.rooms.iter().filter(|room| !users.iter().any(|u| u.starts_with(**room))) {
            idle.push(format!("no file in {room} names {}", rule.name));
        }
        for file in rule.files.iter().filter(|file| !users.contains(file)) {
            idle.push(format!("{file} does not name {}", rule.name));
        }
    }
    assert!(idle.is_empty(), "{}", idle.join("\n"));
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
fn every_fixture_is_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    for folder in ["it", "binary"] {
        for path in files_of(root.join(folder)) {
            tests += &std::fs::read_to_string(path).unwrap();
        }
    }
    let unused = |names: &[&str]| -> Vec<String> {
        let constants = names.iter().map(|name| name.to_uppercase());
        constants.filter(|name| !tests.contains(name.as_str())).collect()
    };
    let names: Vec<&str> = dormouse_test_guests::ALL.iter().map(|guest| guest.name).collect();
    assert!(names.len() > 20, "{names:?}");
    assert_eq!(unused(&names), Vec::<String>::new());
    assert_eq!(unused(&["no_such_guest"]).len(), 1);
}

#[test]
fn every_interface_is_in_a_world_and_is_served_or_called_by_the_host() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let world = std::fs::read_to_string(root.join("wit/world.wit")).unwrap();
    let sandbox: String = files_of(root.join("host/sandbox/src"))
        .iter()
        .map(|p| std::fs::read_to_string(p).unwrap())
        .collect();
    let is_used = |interface: &str| {
        let line = |word: &str| world.contains(&format!("  {word} {interface};"));
        (line("import") || line("export"))
            && sandbox.contains(&format!("\"dormouse:agent/{interface}@0.1.0\""))
    };
    let mut interfaces = 0;
    let files: Vec<PathBuf> =
        std::fs::read_dir(root.join("wit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let texts: Vec<String> = files.iter().map(|p| std::fs::read_to_string(p).unwrap()).collect();
    // One of types alone is there for the others.
    let is_named =
        |interface: &str| texts.iter().any(|text| text.contains(&format!("use {interface}.{{")));
    for (file, text) in files.iter().zip(&texts) {
        let interface = file.file_stem().unwrap().to_str().unwrap();
        if interface != "world" {
            interfaces += 1;
            let has_functions = text.contains(": func(");
            assert!(is_used(interface) || (!has_functions && is_named(interface)), "{interface}");
        }
    }
    assert!(interfaces >= 5, "{interfaces}");
    assert!(!is_used("no-such-interface"));
}

/// The metrics that a source names.
fn metrics(source: &Source) -> Vec<&str> {
    let quoted = source.code.iter().flat_map(|(_, line)| line.split('"').skip(1).step_by(2));
    let is_name = |text: &&str| {
        text.starts_with("dormouse_") && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    quoted.filter(is_name).collect()
}

#[test]
fn every_metric_has_a_help_text_and_is_recorded() {
    const TELEMETRY: &str = "base/src/telemetry.rs";
    let sources = sources();
    let is_telemetry = |source: &&Source| source.path == TELEMETRY;
    let described = metrics(sources.iter().find(is_telemetry).unwrap());
    let recorded: Vec<&str> =
        sources.iter().filter(|source| !is_telemetry(source)).flat_map(metrics).collect();
    assert!(recorded.len() > 30, "{recorded:?}");
    let unknown = recorded.iter().filter(|name| !described.contains(name));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&&str>::new(), "they have no help text");
    let idle = described.iter().filter(|name| !recorded.contains(name));
    assert_eq!(idle.collect::<Vec<_>>(), Vec::<&&str>::new(), "nobody records them");
    let planted = Source::new("a.rs", "metrics::counter!(\n    \"dormouse_planted_total\",\n);\n");
    assert_eq!(metrics(&planted), ["dormouse_planted_total"]);
}

/// The sources of all crates of the host.
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../host")
}

/// The sources of the host without those of its tests.
fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for file in files() {
        let path = file.strip_prefix(root()).unwrap().to_str().unwrap();
        let is_test = path.split('/').any(|part| part == "tests" || part == "tests.rs");
        if !is_test {
            sources.push(Source::new(path, &std::fs::read_to_string(&file).unwrap()));
        }
    }
    // A walk that finds nothing finds no violation either.
    assert!(sources.len() > 150, "only {} sources are left", sources.len());
    sources
}
