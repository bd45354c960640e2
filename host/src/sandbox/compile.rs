//! From a component to its compiled form: in this process, or in a child that can be killed.
//!
//! Compilation cannot be cancelled and its time is the component's choice, so one runs at a time, and
//! a server gives it to a child of its own binary with limits of its own. The child is a bound on
//! processor time and memory, not on trust: what it returns is loaded as code.

mod child;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Semaphore};
use wasmtime::Engine;

pub use child::compile_child;

use super::fault::bounded;
use super::refusal::Refusal;

/// Compilations that wait for their turn. One more is told to come back.
const MAX_WAITING: usize = 16;
/// How long a child may take on the clock: it shares its processors with running guests.
const TIMEOUT: Duration = Duration::from_secs(300);
/// The largest compiled form that is taken from a child.
const MAX_COMPILED: u64 = 1 << 30;
/// The most of a child's standard error that is read.
const MAX_COMPLAINT: u64 = 4 << 10;

/// Who compiles.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// This process. Nothing can stop a compilation that takes long.
    InProcess,
    /// `<program> compile`: the component on its standard input, the compiled form on its standard
    /// output.
    Child {
        /// The program; a server names itself.
        program: PathBuf,
    },
}

/// Compiles one component at a time.
pub(super) struct Compilation {
    compiler: Compiler,
    engine: Engine,
    waiting: Arc<Semaphore>,
    one: Arc<Mutex<()>>,
}

impl Compilation {
    /// With settings like those of this engine.
    pub(super) fn new(compiler: Compiler, engine: Engine) -> Compilation {
        Compilation {
            compiler,
            engine,
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            one: Arc::default(),
        }
    }

    /// Compile a component that has been inspected.
    ///
    /// # Errors
    /// [`Refusal::Busy`] where too many wait, and the refusals of the compiler.
    pub(super) async fn compile(&self, component: Bytes) -> Result<Vec<u8>, Refusal> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Refusal::Busy)?;
        let one = self.one.clone().lock_owned().await;
        match &self.compiler {
            Compiler::InProcess => {
                let engine = self.engine.clone();
                let task = tokio::task::spawn_blocking(move || {
                    // Held until the compiler is done, even if nobody waits for it any more.
                    let _one = one;
                    engine.precompile_component(&component)
                });
                match task.await {
                    Ok(Ok(compiled)) => Ok(compiled),
                    Ok(Err(error)) => Err(Refusal::CompileFailed(bounded(format!("{error:#}")))),
                    Err(panic) => {
                        Err(Refusal::CompileFailed(format!("the compiler failed: {panic}")))
                    }
                }
            }
            Compiler::Child { program } => {
                let _one = one;
                in_child(program, component).await
            }
        }
    }
}

async fn in_child(program: &Path, component: Bytes) -> Result<Vec<u8>, Refusal> {
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
    compiled: Vec<u8>,
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
    let ((), compiled, complaint) =
        tokio::join!(send, read(stdout, MAX_COMPILED), read(stderr, MAX_COMPLAINT));
    let (compiled, complaint) = (compiled?, complaint?);
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    Ok(Ended { status: child.wait().await?, compiled, complaint })
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
    fn judge(self) -> Result<Vec<u8>, Refusal> {
        use std::os::unix::process::ExitStatusExt;

        if self.status.success() {
            return if self.compiled.len() as u64 >= MAX_COMPILED {
                Err(Refusal::TooComplex { what: "bytes of compiled code", limit: MAX_COMPILED })
            } else {
                Ok(self.compiled)
            };
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
    use std::os::unix::fs::PermissionsExt;

    /// A stand-in for the compiler: a shell script.
    async fn run(script: &str, component: &'static [u8]) -> Result<Vec<u8>, Refusal> {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("compiler");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("set");
        let compiler = Compiler::Child { program };
        let engine = super::super::engine::compiler().expect("an engine");
        Compilation::new(compiler, engine).compile(Bytes::from_static(component)).await
    }

    #[tokio::test]
    async fn what_the_child_writes_is_the_compiled_form() {
        assert_eq!(run("/bin/cat", b"abc").await, Ok(b"abc".to_vec()));
    }

    #[tokio::test]
    async fn a_child_has_no_variables_of_ours() {
        let compiled = run("echo $HOME$CARGO_MANIFEST_DIR", b"").await;
        assert_eq!(compiled, Ok(b"\n".to_vec()));
    }

    #[tokio::test]
    async fn the_end_of_a_child_becomes_a_refusal_that_says_why() {
        let long: &[u8] = &[0; 1 << 20];
        assert_eq!(run("exit 0", long).await, Ok(Vec::new()));
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
}
