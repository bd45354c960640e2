//! Messages over standard input and output of a process: one a line.
//!
//! What a process writes is read all the time, also when nobody waits for it, so that it never blocks; what is too large
//! or too deep is thrown away as it comes, and its request fails. What the host writes waits in a short queue: a process
//! that does not read is broken once it is full.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::told;
use crate::process::{Pipes, ServerProcess};
use crate::refused::refused;
use crate::scan::{Refusal, Scan};
use dormouse_base::clock::Clock;
use dormouse_base::memory::pool::{Charge, Pool};
use dormouse_domain::id::Principal;

/// What is read at once.
const PIECE: usize = 64 << 10;
/// What is parsed on the thread that has it, in bytes. More is parsed elsewhere.
const SMALL: usize = 64 << 10;
/// Messages that wait to be written, and to be taken.
const QUEUE: usize = 16;
/// Lines of standard error that are logged in a minute, and the most bytes of one.
const LOGGED: u32 = 60;
const LOG_LINE: usize = 1 << 10;
/// After so many messages in a row a process is read more slowly.
const BURST: u32 = 256;
const REST: Duration = Duration::from_millis(10);

/// Who a process works for.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) server: Arc<str>,
    pub(crate) owner: Principal,
    pub(crate) clock: Clock,
    pub(crate) memory: Pool,
}

/// The transport. The process ends with it.
pub(crate) struct Stdio {
    outgoing: Option<mpsc::Sender<Vec<u8>>>,
    incoming: mpsc::Receiver<ServerJsonRpcMessage>,
    /// Dropped before the process, so that nobody writes to what is gone.
    tasks: JoinSet<()>,
    process: ServerProcess,
}

impl Stdio {
    /// Speak with a process that was started.
    pub(crate) fn new(process: ServerProcess, pipes: Pipes, work: &Work) -> Stdio {
        let (outgoing, to_write) = mpsc::channel(QUEUE);
        let (read, incoming) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(write(pipes.stdin, to_write));
        tasks.spawn(log(pipes.stderr, work.clone(), process.id()));
        tasks.spawn(Lines::new(work.clone(), read).run(pipes.stdout));
        Stdio { outgoing: Some(outgoing), incoming, tasks, process }
    }
}

impl Transport<RoleClient> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let line = serde_json::to_vec(&message).map_err(io::Error::from).map(|mut line| {
            line.push(b'\n');
            line
        });
        let sent = line.and_then(|line| match &self.outgoing {
            Some(outgoing) => outgoing.try_send(line).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => io::ErrorKind::TimedOut.into(),
                mpsc::error::TrySendError::Closed(_) => io::ErrorKind::BrokenPipe.into(),
            }),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        });
        std::future::ready(sent)
    }

    fn receive(&mut self) -> impl Future<Output = Option<ServerJsonRpcMessage>> + Send {
        self.incoming.recv()
    }

    /// End the process: all of its group, at once. Nobody waits for its answers any more.
    async fn close(&mut self) -> io::Result<()> {
        self.outgoing = None;
        self.tasks.shutdown().await;
        tracing::debug!(process = self.process.id(), "an MCP server is ended");
        Ok(())
    }
}

async fn write(mut stdin: ChildStdin, mut to_write: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = to_write.recv().await {
        let written = async {
            stdin.write_all(&line).await?;
            stdin.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

/// Reads the lines of a process.
struct Lines {
    work: Work,
    read: mpsc::Sender<ServerJsonRpcMessage>,
    line: Vec<u8>,
    charge: Charge,
    /// Why nothing of the line is kept.
    dropped: Option<Refusal>,
    scan: Scan,
    in_a_row: u32,
}

impl Lines {
    fn new(work: Work, read: mpsc::Sender<ServerJsonRpcMessage>) -> Lines {
        let charge = work.memory.of(&work.owner);
        let (line, scan) = (Vec::new(), Scan::default());
        Lines { work, read, line, charge, dropped: None, scan, in_a_row: 0 }
    }

    /// Until the process closes its output, or nobody reads it any more.
    async fn run(mut self, mut stdout: ChildStdout) {
        let mut piece = vec![0; PIECE];
        loop {
            let Ok(count @ 1..) = stdout.read(&mut piece).await else { return };
            let mut rest = &piece[..count];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                self.keep(&rest[..end]);
                rest = &rest[end + 1..];
                if self.end().await.is_err() {
                    return;
                }
            }
            self.keep(rest);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.scan.read(bytes);
        if self.dropped.is_none() {
            self.dropped = self.scan.refusal();
        }
        let more = (self.line.len() + bytes.len()).saturating_sub(self.line.capacity());
        if self.dropped.is_none() && more > 0 {
            // Twice what there is, so that few bytes are copied often.
            let more = more.max(self.line.capacity());
            match self.charge.grow(more as u64) {
                Ok(()) => self.line.reserve_exact(self.line.capacity() - self.line.len() + more),
                Err(_) => self.dropped = Some(Refusal::OutOfMemory),
            }
        }
        match self.dropped {
            None => self.line.extend_from_slice(bytes),
            Some(_) => self.line = Vec::new(),
        }
    }

    /// A line is complete.
    async fn end(&mut self) -> Result<(), mpsc::error::SendError<ServerJsonRpcMessage>> {
        let scan = std::mem::take(&mut self.scan);
        let line = std::mem::take(&mut self.line);
        // Also that of a line that is parsed yet: it is small beside what the parser takes.
        let _charge = std::mem::replace(&mut self.charge, self.work.memory.of(&self.work.owner));
        let message = match (self.dropped.take(), scan.answers()) {
            (Some(refusal), Some(id)) => Some(refused(refusal, id)),
            (Some(_), None) => None,
            (None, _) if scan.bytes() == 0 => None,
            (None, answers) => match parse(line).await {
                Some(message) => Some(message),
                None => answers.map(|id| refused(Refusal::Unreadable, id)),
            },
        };
        self.in_a_row += 1;
        if self.in_a_row >= BURST {
            self.in_a_row = 0;
            self.work.clock.back_off(REST).await;
        }
        match message {
            Some(message) => self.read.send(message).await,
            None => Ok(()),
        }
    }
}

/// The message of a line. `None`: it is none, such as what a server prints in error.
async fn parse(line: Vec<u8>) -> Option<ServerJsonRpcMessage> {
    match line.len() > SMALL {
        false => serde_json::from_slice(&line).ok(),
        true => {
            let parsing = tokio::task::spawn_blocking(move || serde_json::from_slice(&line).ok());
            parsing.await.ok().flatten()
        }
    }
}

/// Log what a process writes to standard error, a bounded number of lines in a minute.
async fn log(mut stderr: ChildStderr, work: Work, process: u32) {
    let mut piece = vec![0; PIECE];
    let mut line = Vec::new();
    let (mut minute, mut logged) = (work.clock.monotonic(), 0);
    loop {
        let Ok(count @ 1..) = stderr.read(&mut piece).await else { return };
        for byte in &piece[..count] {
            match byte {
                b'\n' => {
                    let now = work.clock.monotonic();
                    if now.saturating_sub(minute) >= Duration::from_secs(60) {
                        (minute, logged) = (now, 0);
                    }
                    if logged < LOGGED {
                        let line = told(&String::from_utf8_lossy(&line));
                        tracing::info!(server = %work.server, process, line, "an MCP server says");
                    }
                    logged = logged.saturating_add(1);
                    line.clear();
                }
                _ if line.len() < LOG_LINE => line.push(*byte),
                _ => {}
            }
        }
    }
}
