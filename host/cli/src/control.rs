//! The control socket: how the commands of an operator reach a running host.
//!
//! A Unix socket in the data directory, for the user that the host runs as, and for root. A line of
//! JSON asks, a line of JSON answers, and the connection ends. Guests see no file, and the HTTP API
//! does not lead here.
//!
//! At most [`CONNECTIONS`] are served at a time, each asks within [`PEER_TIMEOUT`], and one at a time does
//! what reads or writes the whole store.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::keys;
use super::store::wire::{UpkeepAnswer, UpkeepRequest};
use dormouse::Host;

/// The name of the socket in the data directory.
const NAME: &str = "control";
/// How long a peer may take to ask, and to take its answer.
pub(super) const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may be, in bytes.
const MAX_REQUEST: u64 = 64 << 10;
/// How long an answer is at most, in bytes: a thousand findings, each with a key in it.
pub(super) const MAX_ANSWER: u64 = 8 << 20;
/// How many are served at a time.
const CONNECTIONS: usize = 8;

/// Where the socket of a data directory is. The path of a socket may have 108 bytes, and that of a
/// data directory more: so it is named by way of a handle of the directory.
pub(super) struct ControlSocket {
    directory: File,
}

impl ControlSocket {
    pub(super) fn of(data_dir: &Path) -> io::Result<ControlSocket> {
        Ok(ControlSocket { directory: File::open(data_dir)? })
    }

    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{NAME}", self.directory.as_raw_fd()).into()
    }
}

/// The socket, which is removed with this.
pub(super) struct Control {
    listener: UnixListener,
    door: ControlSocket,
}

impl Control {
    /// Listen. The data directory is ours: a socket that is there is that of a host which was killed.
    pub(super) fn open(data_dir: &Path) -> io::Result<Control> {
        let door = ControlSocket::of(data_dir)?;
        match std::fs::remove_file(door.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(door.path())?;
        std::fs::set_permissions(door.path(), Permissions::from_mode(0o600))?;
        Ok(Control { listener, door })
    }

    /// Serve until the host ends.
    pub(super) async fn serve(self, host: Host, ending: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let whole = Arc::new(Semaphore::new(1));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = ending.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // The host may have as many files open as it may have.
                    tracing::warn!(%error, "a connection to the control socket was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (host, whole, ending) = (host.clone(), Arc::clone(&whole), ending.clone());
            tokio::spawn(async move {
                tokio::select! {
                    served = serve(stream, &host, &whole) => {
                        if let Err(error) = served {
                            tracing::debug!(%error, "a control connection ended early");
                        }
                    }
                    () = ending.cancelled() => {}
                }
                drop(place);
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(self.door.path()) {
            tracing::debug!(%error, "the control socket was not removed");
        }
    }
}

async fn serve(mut stream: UnixStream, host: &Host, whole: &Semaphore) -> io::Result<()> {
    // Between the making of the socket and its rights, others may have come in.
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(MAX_REQUEST));
    timeout(PEER_TIMEOUT, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(request, host, whole).await,
        Err(error) => refused(format!("this is no request that this host knows: {error}")),
    };
    let mut answer = serde_json::to_vec(&answer)?;
    answer.push(b'\n');
    timeout(PEER_TIMEOUT, stream.write_all(&answer)).await??;
    Ok(())
}

async fn answer(request: UpkeepRequest, host: &Host, whole: &Semaphore) -> UpkeepAnswer {
    let store = host.store();
    match request {
        UpkeepRequest::Stat => store.usage().await.map_or_else(refused, UpkeepAnswer::stat),
        UpkeepRequest::Keys { request } => {
            // Whoever reaches this socket operates the host.
            let keys = host.operating().keys();
            UpkeepAnswer::Keys(keys::answer(&request, &keys, host.clock()).await)
        }
        UpkeepRequest::Check => {
            alone(whole, async { store.check().await.map_or_else(refused, UpkeepAnswer::from) })
                .await
        }
        UpkeepRequest::Compact => {
            let compacting = async {
                match store.compact().await {
                    Ok(()) => store.usage().await.map_or_else(refused, UpkeepAnswer::compacted),
                    Err(error) => refused(error),
                }
            };
            alone(whole, compacting).await
        }
        UpkeepRequest::Backup { directory } => {
            let copying = async {
                match store.backup(&directory).await {
                    Ok(summary) => UpkeepAnswer::backup(directory, summary),
                    Err(error) => refused(error),
                }
            };
            alone(whole, copying).await
        }
    }
}

/// Do what reads or writes the whole store, unless something else does at this time.
async fn alone(whole: &Semaphore, work: impl Future<Output = UpkeepAnswer>) -> UpkeepAnswer {
    let Ok(_alone) = whole.try_acquire() else {
        return refused(
            "the host is at another check, compaction or backup; try again when that has ended",
        );
    };
    work.await
}

fn refused(error: impl ToString) -> UpkeepAnswer {
    UpkeepAnswer::Refused { error: error.to_string() }
}
