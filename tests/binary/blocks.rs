//! The blocks of code in a document, played as a reader would.

use std::path::Path;
use std::process::Command;

/// The blocks of a document, by its path from the root of the repository, in this language.
pub(crate) fn blocks(document: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    text.split(&format!("\n```{language}\n"))
        .skip(1)
        .map(|rest| rest.split_once("\n```").expect("a block ends").0.to_owned())
        .collect()
}

/// Run a script, and return what it prints.
pub(crate) fn shell(script: &str, directory: &Path) -> String {
    let output = Command::new("sh").args(["-euc", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
