//! The real binary, in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::Client;

/// How long the binary may take until it listens.
const START: Duration = Duration::from_secs(120);

/// A running `dormouse`. Killed when it is dropped.
pub struct Server {
    child: Child,
    base: String,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Start the binary on a data directory with more arguments, on a free port unless they say where.
    pub fn start(binary: &str, data: &Path, arguments: &[&str]) -> Result<Server> {
        let mut command = Command::new(binary);
        command.args(arguments);
        Server::spawn(command, data)
    }

    /// Start a command that ends in the binary, such as a tracer of it.
    pub fn spawn(mut command: Command, data: &Path) -> Result<Server> {
        without_settings(&mut command);
        if !command.get_args().any(|argument| argument == "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !command.get_args().any(|argument| argument == "--log-level") {
            command.args(["--log-level", "warn"]);
        }
        command
            .arg("--data-dir")
            .arg(data)
            .current_dir(data.parent().context("the data directory has a parent")?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = command.spawn().context("the binary starts")?;
        // From here on it is killed, whatever goes wrong.
        let printed = Arc::new(Mutex::new(Vec::new()));
        let mut server = Server { child, base: String::new(), printed: printed.clone() };
        let stdout = server.child.stdout.take().context("standard output is piped")?;
        let (found, base) = mpsc::channel();
        // It reads to the end: what is printed later must not fill the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let base = base_in(&line);
                printed.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                if let Some(base) = base {
                    // Nobody waits for another.
                    let _ = found.send(base);
                }
            }
        });
        match base.recv_timeout(START) {
            Ok(base) => server.base = base,
            Err(RecvTimeoutError::Timeout) => anyhow::bail!("the binary does not listen"),
            Err(RecvTimeoutError::Disconnected) => {
                let status = server.child.wait()?;
                anyhow::bail!("the binary ended before it listened: {status}");
            }
        }
        Ok(server)
    }

    /// Where it listens, such as `http://127.0.0.1:41234`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What it has printed so far.
    #[must_use]
    pub fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.base)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kill it, as `kill -9` does, and wait until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ask the one child of this process to end, where this is a tracer, and wait for its exit code.
    pub fn terminate_traced(mut self) -> Result<Option<i32>> {
        let tracer = self.child.id();
        let children = format!("/proc/{tracer}/task/{tracer}/children");
        let child = std::fs::read_to_string(children)?;
        let child: i32 = child.split_whitespace().next().context("a traced process")?.parse()?;
        kill_process(Pid::from_raw(child).context("a process id")?, Signal::TERM)?;
        Ok(self.child.wait()?.code())
    }

    /// Ask it to end, as `kill` does, and wait for its exit code.
    pub fn terminate(mut self) -> Result<Option<i32>> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone, where it was killed or has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn base_in(line: &str) -> Option<String> {
    let at = line.find("http://127.0.0.1:")?;
    let end = line[at..].find(char::is_whitespace).map_or(line.len(), |n| at + n);
    Some(line[at..end].trim_end_matches('/').to_owned())
}

/// Keep `DORMOUSE_*` variables of this process from a binary under test: those that steer the tests are
/// no settings of it, and it refuses what it does not know. No test asks a provider of whoever runs it.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["DORMOUSE_", "ANTHROPIC_", "OPENAI_"].iter().any(|own| text.starts_with(own)) {
            command.env_remove(name);
        }
    }
}
