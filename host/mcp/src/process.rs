//! The process of a server: its own group, which ends with whoever holds it.

use std::io;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::options::Launch;

/// A process that runs, with all that it has started and that has not left its group. Killed when it is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    group: Option<Pid>,
}

/// What a process reads and writes.
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl ServerProcess {
    /// Start a process. It has the environment that it was given, and `PATH`.
    pub(crate) fn start(launch: &Launch) -> io::Result<(ServerProcess, Pipes)> {
        let (program, arguments) =
            launch.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(&launch.env);
        if let Some(directory) = &launch.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The leader of the group is a zombie until it is dropped here: nobody else gets its number before that.
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pipes = Pipes {
            stdin: child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?,
            stdout: child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?,
            stderr: child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?,
        };
        Ok((ServerProcess { child, group }, pipes))
    }

    /// Its number, for logs.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
