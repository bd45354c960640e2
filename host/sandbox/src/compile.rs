//! From a component to its compiled form: in a child that can be killed, or in this process.
//!
//! All that is more than linear in the bytes of a stranger happens here, in `make`: inspection,
//! instrumentation, compilation. None of it can be cancelled once it runs, and all of it takes the time
//! that the component makes it take. So a server gives it to a child of its own binary, which has limits of
//! its own and is killed when its future is dropped, when it takes too long, or when the host
//! shuts down. A host that compiles in its own process has the bounds of `component` alone.
//!
//! One compiles at a time, and principals take turns: `queue`. The child is a bound on processor time
//! and memory, not on trust: what it returns is loaded as code.

mod child;
mod frame;
mod make;
mod queue;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wasmtime::Engine;

pub use child::compile_child;
pub(super) use frame::MAX_NAMES;
pub(super) use make::Compiled;
pub(super) use queue::Owner;

use super::fault::bounded;
use super::refusal::Refusal;
use make::{STACK, make};
use queue::{CompilePermit, CompileQueue, CompileQueueFull, MAX_WAITING_EACH};

/// How long a child may take on the clock: it shares its processors with running guests.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The largest answer that is taken from a child: nearly all of it is the compiled form.
const MAX_ANSWER: u64 = 1 << 30;
/// The most of a child's standard error that is read.
const MAX_COMPLAINT: u64 = 4 << 10;

/// How components are compiled: in this process, or in a child of it.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// This process. Nothing can stop a compilation that takes long.
    InProcess,
    /// `<program> compile`: the component on its standard input, the answer on its standard output.
    Child {
        /// The program; a server names itself.
        program: PathBuf,
    },
}

/// Compiles one component at a time.
pub(super) struct Compilation {
    compiler: Compiler,
    engine: Engine,
    queue: CompileQueue,
    stopped: CancellationToken,
}

impl Compilation {
    /// With settings like those of this engine.
    pub(super) fn new(compiler: Compiler, engine: Engine) -> Compilation {
        let (queue, stopped) = (CompileQueue::default(), CancellationToken::new());
        Compilation { compiler, engine, queue, stopped }
    }

    /// Inspect, instrument and compile a component, when it is its owner's turn. A child is killed when
    /// this future is dropped.
    ///
    /// # Errors
    /// [`Refusal::QueueFull`] and [`Refusal::Busy`] where too many wait, [`Refusal::ShuttingDown`], and the
    /// refusals of the inspection and of the compiler.
    pub(super) async fn compile(
        &self,
        component: Bytes,
        owner: Owner,
    ) -> Result<Compiled, Refusal> {
        let leave = self.queue.leave(owner).await.map_err(|full| match full {
            CompileQueueFull::Principal => Refusal::QueueFull { limit: MAX_WAITING_EACH },
            CompileQueueFull::Everybody => Refusal::Busy,
        })?;
        match &self.compiler {
            Compiler::InProcess => self.in_process(component, leave).await,
            Compiler::Child { program } => {
                let _leave = leave;
                in_child(program, component).await
            }
        }
    }

    /// Components that are compiled or wait for it.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Kill what compiles, and compile nothing any more.
    pub(super) fn stop(&self) {
        self.stopped.cancel();
    }

    /// What this future brings, unless the host shuts down before.
    ///
    /// # Errors
    /// [`Refusal::ShuttingDown`], and those of the future.
    pub(super) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        tokio::select! {
            biased;
            () = self.stopped.cancelled() => Err(Refusal::ShuttingDown),
            done = work => done,
        }
    }

    /// On a thread that does nothing else: it may take long, and nothing else is to wait behind it.
    async fn in_process(
        &self,
        component: Bytes,
        leave: CompilePermit,
    ) -> Result<Compiled, Refusal> {
        let engine = self.engine.clone();
        let (done, made) = oneshot::channel();
        let thread = std::thread::Builder::new().name("dormouse-compile".to_owned());
        let thread = thread.stack_size(STACK);
        let spawned = thread.spawn(move || {
            // Kept until it is done, even if nobody waits for it any more.
            let _leave = leave;
            // Where nobody waits, nobody wants it.
            let _ = done.send(make(&component, &engine));
        });
        spawned.map_err(|error| Refusal::Host(format!("the compiler has no thread: {error}")))?;
        // A panic drops the sender.
        made.await.unwrap_or_else(|_| Err(Refusal::Host("the compiler has panicked".to_owned())))
    }
}

async fn in_child(program: &Path, component: Bytes) -> Result<Compiled, Refusal> {
    let mut child = Command::new(program)
        .arg("compile")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Refusal::Host(format!("the compiler could not be started: {error}")))?;
    let ended = match tokio::time::timeout(TIMEOUT, exchange(&mut child, component)).await {
        Ok(ended) => ended.map_err(|error| Refusal::Host(format!("the compiler: {error}")))?,
        // Dropping the child kills it.
        Err(_) => return Err(Refusal::CompileTimeout { seconds: TIMEOUT.as_secs() }),
    };
    ended.judge()
}

/// What a child left behind.
struct Ended {
    status: std::process::ExitStatus,
    answer: Vec<u8>,
    complaint: String,
}

async fn exchange(child: &mut Child, component: Bytes) -> std::io::Result<Ended> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let send = async {
        if let Some(mut stdin) = stdin {
            // A child that dies does not read to the end. Its status says more than our error.
            let _ = stdin.write_all(&component).await;
        }
    };
    let ((), answer, complaint) =
        tokio::join!(send, read(stdout, MAX_ANSWER), read(stderr, MAX_COMPLAINT));
    let (answer, complaint) = (answer?, complaint?);
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    Ok(Ended { status: child.wait().await?, answer, complaint })
}

/// Read a stream to its end, but no more than this. A child that writes on gets a broken pipe.
async fn read(stream: Option<impl AsyncRead + Unpin>, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(limit).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

impl Ended {
    fn judge(self) -> Result<Compiled, Refusal> {
        use std::os::unix::process::ExitStatusExt;

        if self.status.success() {
            if self.answer.len() as u64 >= MAX_ANSWER {
                let what = "bytes of compiled code".into();
                return Err(Refusal::TooComplex { what, limit: MAX_ANSWER });
            }
            let unclear = || Err(Refusal::Host("the answer of the compiler is none".to_owned()));
            return frame::read(self.answer).unwrap_or_else(unclear);
        }
        if self.status.signal() == Some(rustix::process::Signal::XCPU.as_raw()) {
            return Err(Refusal::CompileTimeout { seconds: child::MAX_CPU_SECONDS });
        }
        if self.complaint.contains("memory allocation of") {
            return Err(Refusal::CompileMemory { limit: child::MAX_MEMORY });
        }
        let complaint = self.complaint.lines().last().unwrap_or_default();
        Err(Refusal::CompileFailed(bounded(if complaint.is_empty() {
            format!("the compiler ended with {}", self.status)
        } else {
            complaint.to_owned()
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with a compiled form of this length in words of a shell, without it.
    const HEAD: &str = r"printf '\004\000\000\000\202\000\201\366'";

    /// A stand-in for the compiler: a shell script.
    async fn run(script: &str, component: &'static [u8]) -> Result<Compiled, Refusal> {
        let directory = tempfile::tempdir().expect("a directory");
        let compilation = compilation(directory.path(), script);
        compilation.compile(Bytes::from_static(component), None).await
    }

    fn compilation(directory: &Path, script: &str) -> Compilation {
        let program = directory.join("compiler");
        // Written by another process: a child that another test starts meanwhile would keep a file open
        // that this one writes, and what is open for writing cannot be run.
        let written = std::process::Command::new("/bin/sh")
            .args(["-c", r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 700 "$0""#])
            .arg(&program)
            .arg(script)
            .status();
        assert!(written.expect("a shell").success());
        let compiler = Compiler::Child { program };
        Compilation::new(compiler, super::super::engine::compiler().expect("an engine"))
    }

    fn compiled(code: &[u8]) -> Result<Compiled, Refusal> {
        Ok(Compiled { code: code.to_vec(), unimaged: None })
    }

    #[tokio::test]
    async fn what_the_child_writes_is_the_compiled_form() {
        assert_eq!(run(&format!("{HEAD}; /bin/cat"), b"abc").await, compiled(b"abc"));
    }

    #[tokio::test]
    async fn a_child_has_no_variables_of_ours() {
        let script = format!("{HEAD}; echo $HOME$CARGO_MANIFEST_DIR");
        assert_eq!(run(&script, b"").await, compiled(b"\n"));
    }

    #[tokio::test]
    async fn the_end_of_a_child_becomes_a_refusal_that_says_why() {
        let long: &[u8] = &[0; 1 << 20];
        assert_eq!(run(HEAD, long).await, compiled(b""));
        assert!(matches!(run("exit 0", long).await, Err(Refusal::Host(_))));
        assert_eq!(
            run("echo first >&2; echo 'not wasm' >&2; exit 1", long).await,
            Err(Refusal::CompileFailed("not wasm".to_owned()))
        );
        assert!(matches!(run("kill -XCPU $$", b"").await, Err(Refusal::CompileTimeout { .. })));
        assert!(matches!(
            run("echo 'memory allocation of 10 bytes failed' >&2; kill -ABRT $$", b"").await,
            Err(Refusal::CompileMemory { .. })
        ));
        assert!(matches!(run("kill -SEGV $$", b"").await, Err(Refusal::CompileFailed(_))));
    }

    #[tokio::test]
    async fn a_compiler_that_is_not_there_is_the_hosts_fault() {
        let compiled = in_child(Path::new("/nonexistent/compiler"), Bytes::new()).await;
        assert!(matches!(compiled, Err(Refusal::Host(_))));
    }

    /// A child that says that it is there and then never ends: what it writes to, and how to read it.
    fn endless(directory: &Path) -> (Compilation, std::path::PathBuf) {
        let pipe = directory.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        // `exec`: it is the child itself that never ends.
        let script = format!("exec > {}; echo here; exec /bin/sleep 1000000", pipe.display());
        (compilation(directory, &script), pipe)
    }

    /// Wait until the child is there, then do this, and wait until the child is gone.
    async fn outlive(pipe: std::path::PathBuf, kill: impl FnOnce()) {
        let mut child = tokio::fs::File::open(pipe).await.expect("it is opened");
        let mut said = [0; 5];
        child.read_exact(&mut said).await.expect("the child is there");
        kill();
        // The pipe ends with the child.
        assert_eq!(child.read_to_end(&mut Vec::new()).await.expect("it ends"), 0);
    }

    #[tokio::test]
    async fn a_child_is_killed_when_nobody_wants_what_it_makes() {
        let directory = tempfile::tempdir().expect("a directory");
        let (compilation, pipe) = endless(directory.path());
        let waiting = tokio::spawn(async move { compilation.compile(Bytes::new(), None).await });
        outlive(pipe, || waiting.abort()).await;
    }

    #[tokio::test]
    async fn a_child_is_killed_when_the_host_shuts_down_and_nobody_compiles_any_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let (compilation, pipe) = endless(directory.path());
        let compilation = std::sync::Arc::new(compilation);
        let compile = |compilation: std::sync::Arc<Compilation>| async move {
            let work = compilation.compile(Bytes::new(), None);
            compilation.unless_stopped(work).await
        };
        let running = tokio::spawn(compile(compilation.clone()));
        outlive(pipe, || compilation.stop()).await;
        assert_eq!(running.await.expect("no panic"), Err(Refusal::ShuttingDown));
        assert_eq!(compile(compilation).await, Err(Refusal::ShuttingDown));
    }
}
