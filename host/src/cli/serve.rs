//! `dormouse serve`: start the host, serve the API, and end in order.
//!
//! The first signal lets running turns finish; the second ends the process at once.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::complain;
use super::control::Control;
use super::settings::Config;
use super::sources::Settings;
use crate::agent::Agent;
use crate::api;
use crate::host::Host;
use crate::telemetry::{self, Metrics};

/// What a shell calls an exit by the second signal.
const INTERRUPTED: i32 = 130;

/// How long answers may take to leave once the host has shut down.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

pub(super) fn run(settings: Settings) -> ExitCode {
    let config = settings.config;
    if let Err(error) = telemetry::install_log(config.log, &config.log_level) {
        return complain(&error);
    }
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = match runtime {
        Ok(runtime) => {
            let served = runtime.block_on(serve(config));
            // What still runs has nobody left to answer.
            runtime.shutdown_timeout(Duration::from_secs(1));
            served
        }
        Err(error) => Err(error.into()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}")),
    }
}

async fn serve(mut config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    config.api.metrics = Metrics::install();
    config.api.drain = config.host.shutdown_grace + LAST_ANSWERS;
    let listener = listen(&config).await?;
    let address = listener.local_addr()?;
    let program = std::env::current_exe().context("where this program lies cannot be found out")?;
    let building = Host::builder()
        .data_dir(&config.data_dir)
        .options(config.host.clone())
        .compile_in_child(program)
        .build();
    let host = building.await?;
    let agents = host.agents().list().await.context("the agents cannot be read")?;
    // Before anybody is told that the host is there.
    let control = open_control(&config.data_dir);
    greet(&config, address, &agents)?;
    run_until_told(host, listener, control, config, &mut signals).await
}

async fn run_until_told(
    host: Host,
    listener: TcpListener,
    control: Option<Control>,
    config: Config,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let ending = CancellationToken::new();
    let metrics = config.api.metrics.clone();
    let server = tokio::spawn(api::serve(host.clone(), listener, config.api, ending.clone()));
    let control = control.map(|control| tokio::spawn(control.serve(host.clone(), ending.clone())));
    let keeping_up = tokio::spawn(async move {
        if let Some(metrics) = metrics {
            metrics.keep_up().await;
        }
    });
    let failed = tokio::select! {
        () = signals.next() => None,
        reason = host.failed() => Some(reason),
    };
    ending.cancel();
    if let Some(control) = control {
        // It has nothing to wait for; its socket goes with it.
        let _ = control.await;
    }
    keeping_up.abort();
    if let Some(reason) = failed {
        tracing::error!(reason, "the host cannot go on");
        bail!("the host cannot go on: {reason}");
    }
    tracing::info!("shutting down; a second signal ends the process at once");
    let in_order = async {
        host.shut_down().await.context("the store was not closed cleanly")?;
        tracing::debug!("the host has put everything to sleep");
        // Whoever waits for a turn is answered by now.
        let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
        tracing::debug!("the server has ended");
        anyhow::Ok(())
    };
    tokio::select! {
        ended = in_order => ended,
        () = signals.next() => std::process::exit(INTERRUPTED),
    }
}

/// The host serves also where there can be no socket: on some file systems.
fn open_control(data_dir: &Path) -> Option<Control> {
    let failed = |error: &io::Error| {
        tracing::warn!(
            %error,
            "there is no control socket: `dormouse store` and `dormouse backup` will not reach this \
             host"
        );
    };
    Control::open(data_dir).inspect_err(failed).ok()
}

async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.listen;
    if !address.ip().is_loopback() && config.api.keys.is_empty() {
        bail!(
            "to listen on {address}, which others can reach, needs keys: make one with \
             `dormouse key` and set api-keys, or listen on 127.0.0.1:{}",
            address.port()
        );
    }
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bail!(
            "port {} of {} is in use: is another dormouse running? Choose another with --listen",
            address.port(),
            address.ip()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// Say where the server is and how to try it. For people, also where the log is not.
fn greet(config: &Config, address: SocketAddr, agents: &[Agent]) -> io::Result<()> {
    let reachable = if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    };
    let url = format!("http://{reachable}/api/sessions");
    let key = if config.api.keys.is_empty() { "" } else { " -H \"authorization: Bearer $KEY\"" };
    let json = "-H 'content-type: application/json'";
    let mut bundled: Vec<&str> = agents
        .iter()
        .filter(|agent| agent.owner.is_none())
        .map(|agent| agent.reference.name.as_str())
        .collect();
    bundled.dedup();
    let mut out = io::stdout().lock();
    writeln!(out, "dormouse {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  listening on  http://{reachable}")?;
    writeln!(out, "  data in       {}", config.data_dir.display())?;
    writeln!(out, "  agents        {}", bundled.join(", "))?;
    writeln!(out, "\nTry it in a second terminal:\n")?;
    writeln!(
        out,
        r#"  ID=$(curl -s {url}{key} {json} -d '{{"agent":"counter","pattern":"hybrid"}}' | sed 's/^{{"id":"\([^"]*\)".*/\1/')"#
    )?;
    writeln!(
        out,
        r#"  curl -s {url}/$ID/message{key} {json} -d '{{"prompt":"hello","streaming":false}}'; echo"#
    )?;
    writeln!(out, "  curl -s -X POST {url}/$ID/sleep{key}; echo")?;
    writeln!(out)?;
    out.flush()
}

/// Each connection and each file takes a descriptor; the soft limit is often low.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, ?current, "the limit of open files stays where it is");
    }
}

/// What asks the process to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Signals { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
