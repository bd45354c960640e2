//! A compiler that waits until the test lets it work.

use std::path::{Path, PathBuf};
use std::process::Command;

use dormouse::{Host, ManualClock};
use tempfile::TempDir;

use crate::TestHost;

/// Notes the size of each component that it is given, waits until the gate is open (two minutes at most),
/// and compiles.
const SCRIPT: &str = r#"#!/bin/sh
PATH=/usr/bin:/bin
cd "${0%/*}" || exit 1
cat > "component.$$"
wc -c < "component.$$" >> begun
left=12000
while [ ! -e open ] && [ "$left" -gt 0 ]; do
    left=$((left - 1))
    sleep 0.01
done
exec "$(cat binary)" compile < "component.$$"
"#;

/// The gate before a compiler. Closed at first.
pub struct Gate {
    directory: TempDir,
}

impl Gate {
    /// A gate before this binary, which compiles.
    #[must_use]
    pub fn new(binary: &str) -> Gate {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("binary"), binary).expect("it is written");
        // Written by another process: a child that another test starts meanwhile would keep a file open
        // that this one writes, and what is open for writing cannot be run.
        let written = Command::new("/bin/sh")
            .args(["-c", r#"printf %s "$1" > "$0" && chmod 700 "$0""#])
            .arg(directory.path().join("compiler"))
            .arg(SCRIPT)
            .status();
        assert!(written.expect("a shell").success());
        Gate { directory }
    }

    /// A host whose compiler is behind this gate. It keeps no compiled agents.
    pub async fn host(&self) -> TestHost {
        let clock = ManualClock::new();
        let host = Host::builder()
            .in_memory()
            .manual_clock(&clock)
            .compile_in_child(self.path("compiler"))
            .configure(|options| {
                options.max_residents = 64;
                options.max_world_instances = 32;
            })
            .build()
            .await
            .expect("the host starts");
        TestHost { host, clock }
    }

    /// Let all compile, those that wait and those that come.
    pub fn open(&self) {
        std::fs::write(self.path("open"), "").expect("it is written");
    }

    /// Let nobody compile who comes from now on.
    pub fn close(&self) {
        std::fs::remove_file(self.path("open")).expect("it was open");
    }

    /// The sizes of the components whose compilation has begun, in bytes.
    #[must_use]
    pub fn begun(&self) -> Vec<usize> {
        let lines = std::fs::read_to_string(self.path("begun")).unwrap_or_default();
        lines.lines().map(|line| line.trim().parse().expect("a size")).collect()
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }
}
