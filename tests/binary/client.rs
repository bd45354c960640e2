//! The commands that are clients of a running host, as people and scripts use them.

mod agents;
mod dev;
mod events;
mod refused;
mod sessions;
mod stats;
mod talk;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use dormouse_tests::Server;
use dormouse_tests::process::without_settings;
use serde_json::Value;
use tempfile::TempDir;

use crate::DORMOUSE;

/// A host, and the directory of its data.
struct Host {
    server: Server,
    directory: TempDir,
}

impl Host {
    fn start() -> Host {
        Host::with(&[])
    }

    fn with(arguments: &[&str]) -> Host {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let server = Server::start(DORMOUSE, &data, arguments).unwrap();
        Host { server, directory }
    }

    /// A command that asks this host, which the environment names.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command.env("DORMOUSE_SERVER", self.server.base()).current_dir(self.directory.path());
        command
    }

    /// Run a command with nothing to read.
    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments))
    }

    /// Run a command that succeeds, and take the document that it prints.
    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// Run a command with this on its standard input.
    fn pipe(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn_piped();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(DORMOUSE);
    without_settings(&mut command);
    command.args(arguments).stdin(Stdio::null());
    command
}

trait SpawnPiped {
    fn spawn_piped(&mut self) -> Child;
}

impl SpawnPiped for Command {
    fn spawn_piped(&mut self) -> Child {
        self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// What came of a command.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(mut command: Command) -> Ran {
        command.output().unwrap().into()
    }
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Ran {
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A command that runs on, with what it reads and writes. Killed when it is dropped.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdin(Stdio::piped()).spawn_piped();
        Running {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
        }
    }

    fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// The next line of standard output.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// The lines of standard error until one has this in it: that one.
    fn told(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "{part} is not told");
            if line.contains(part) {
                return line;
            }
        }
    }

    /// End the input, and wait for the exit code.
    fn end(mut self) -> i32 {
        drop(self.stdin.take());
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone, where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
