//! `dormouse serve`: start the host, serve the API, and end in order.
//!
//! The first signal lets running turns finish; the second ends the process at once.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::complain;
use super::control::Control;
use super::egress::summary;
use super::files;
use super::listen::reachable;
use super::mcp;
use super::models::{self, Unusable};
use super::settings::Config;
use super::sources::{Settings, SettingsError};
use dormouse::egress::EgressOptions;
use dormouse::mcp::McpOptions;
use dormouse::model::Catalog;
use dormouse::{Agent, AgentError, ComponentKind, Host, Principal};
use dormouse_base::telemetry::{self, Metrics};

/// Agents of the same owner that the banner names at most.
const NAMED: usize = 10;

/// What a shell calls an exit by the second signal.
const INTERRUPTED: i32 = 130;

/// How long answers may take to leave once the host has shut down.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

pub(super) fn run(settings: Settings) -> ExitCode {
    let models = match catalog(&settings) {
        Ok(models) => models,
        Err(error) => return complain(&error),
    };
    let egress = match egress(&settings) {
        Ok(egress) => egress,
        Err(error) => return complain(&error),
    };
    let mcp = match mcp_options(&settings) {
        Ok(mcp) => mcp,
        Err(error) => return complain(&error),
    };
    let mut config = settings.config;
    if let Err(error) = telemetry::install_log(config.log, &config.log_level) {
        return complain(&error);
    }
    let limit = files::raise_limit();
    let wanted = config.api.max_connections;
    config.api.max_connections = match files::connections(wanted, limit) {
        Ok(connections) => connections,
        Err(error) => return complain(&error.to_string()),
    };
    if config.api.max_connections < wanted {
        let connections = config.api.max_connections;
        tracing::warn!(
            connections,
            wanted,
            limit,
            "fewer connections than max-connections are served: the limit of open files is low"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = match runtime {
        Ok(runtime) => {
            let served = runtime.block_on(serve(config, models, egress, mcp));
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

/// Who answers for models. Keys are read now, and by nobody else.
pub(super) fn catalog(settings: &Settings) -> Result<Catalog, SettingsError> {
    let catalog = settings.config.models.catalog(&|name| std::env::var(name).ok());
    catalog.map_err(|unusable| invalid(settings, unusable))
}

/// What agents may reach. Secrets are read now, and by nobody else.
fn egress(settings: &Settings) -> Result<EgressOptions, SettingsError> {
    let options = settings.config.egress.options(&|name| std::env::var(name).ok());
    options.map_err(|unusable| invalid(settings, unusable))
}

/// The MCP servers that sessions may name. Variables are read now.
fn mcp_options(settings: &Settings) -> Result<McpOptions, SettingsError> {
    let options = settings.config.mcp.options(&|name| std::env::var(name).ok());
    options.map_err(|unusable| invalid(settings, unusable))
}

fn invalid(settings: &Settings, Unusable { setting, problem }: Unusable) -> SettingsError {
    SettingsError::Invalid { name: setting, origin: settings.origin(setting), problem }
}

async fn serve(
    mut config: Config,
    models: Catalog,
    egress: EgressOptions,
    mcp: McpOptions,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    config.api.metrics = Metrics::install();
    config.api.drain = config.host.shutdown_grace + LAST_ANSWERS;
    let listeners = listen(&config).await?;
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    let program = std::env::current_exe().context("where this program lies cannot be found out")?;
    let building = Host::builder()
        .data_dir(&config.data_dir)
        .options(config.host.clone())
        .models(models)
        .egress(egress)
        .mcp(mcp)
        .compile_in_child(program)
        .build();
    let host = building.await?;
    config.api.needs_keys = config.listen.beyond_loopback().is_some();
    refuse_to_be_open(&config, &host)?;
    // A machine that cannot run the bundled agents is found out now, and not by the first client.
    let agents = agents(&host).await.context("the bundled agents cannot be used")?;
    // Before anybody is told that the host is there.
    let control = open_control(&config.data_dir);
    greet(&config, &addresses, &agents, &host)?;
    run_until_told(host, listeners, control, config, &mut signals).await
}

async fn run_until_told(
    host: Host,
    listeners: Vec<TcpListener>,
    control: Option<Control>,
    config: Config,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let ending = CancellationToken::new();
    let metrics = config.api.metrics.clone();
    let server =
        tokio::spawn(dormouse_http::serve(host.clone(), listeners, config.api, ending.clone()));
    let control = control.map(|control| tokio::spawn(control.serve(host.clone(), ending.clone())));
    let measured = host.clone();
    let keeping_up = tokio::spawn(async move {
        if let Some(metrics) = metrics {
            metrics.keep_up(|| measured.stats().record()).await;
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
            "there is no control socket: `dormouse store`, `keys` and `backup` will not reach this \
             host"
        );
    };
    Control::open(data_dir).inspect_err(failed).ok()
}

async fn listen(config: &Config) -> anyhow::Result<Vec<TcpListener>> {
    config.listen.bind().await
}

/// A server that others can reach needs keys.
fn refuse_to_be_open(config: &Config, host: &Host) -> anyhow::Result<()> {
    match config.listen.beyond_loopback() {
        Some(address) if !has_keys(config, host) => bail!(
            "to listen on {address}, which others can reach, needs keys: make one with \
             `dormouse keys create NAME --role admin`, or listen on 127.0.0.1:{}",
            address.port()
        ),
        Some(_) | None => Ok(()),
    }
}

fn has_keys(config: &Config, host: &Host) -> bool {
    !config.api.keys.is_empty() || host.keys().are_needed()
}

/// Say where the server is and how to try it. For people, also where the log is not.
fn greet(
    config: &Config,
    addresses: &[SocketAddr],
    agents: &[Agent],
    host: &Host,
) -> io::Result<()> {
    let servers: Vec<String> =
        addresses.iter().map(|address| format!("http://{}", reachable(*address))).collect();
    let server = servers.first().map_or("", String::as_str);
    let url = format!("{server}/api/sessions");
    let has_keys = has_keys(config, host);
    let key = if has_keys { " -H \"authorization: Bearer $KEY\"" } else { "" };
    let json = "-H 'content-type: application/json'";
    let data_dir = std::path::absolute(&config.data_dir).unwrap_or(config.data_dir.clone());
    let sessions = match host.stats().store.sessions {
        1 => "1 session".to_owned(),
        count => format!("{count} sessions"),
    };
    let mut out = io::stdout().lock();
    writeln!(out, "dormouse {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  listening on  {}", servers.join("\n                "))?;
    writeln!(out, "  data in       {} ({sessions})", data_dir.display())?;
    let has_members =
        |agent: &Agent| agent.component.exports.kind() == Some(ComponentKind::Population);
    let bundled = |agent: &Agent| agent.is_bundled() && !has_members(agent);
    writeln!(out, "  agents        {}", names(agents, bundled))?;
    let worlds = |agent: &Agent| agent.is_bundled() && has_members(agent);
    writeln!(out, "  populations   {}", names(agents, worlds))?;
    writeln!(out, "  uploaded      {}", names(agents, |agent| !agent.is_bundled()))?;
    writeln!(out, "  models        {}", models::summary(host.models()))?;
    writeln!(out, "  web           {}", summary(host.egress().policy()))?;
    writeln!(out, "  tools         {}", mcp::summary(&host.mcp().options().servers))?;
    writeln!(out, "  connections   {} at most", config.api.max_connections)?;
    let keys = match has_keys {
        true => "each caller needs one",
        false => "none: everybody who reaches this server operates it (see `dormouse keys create`)",
    };
    writeln!(out, "  keys          {keys}")?;
    writeln!(out, "\nTry it in a second terminal:\n")?;
    let program = std::env::args().next().unwrap_or_else(|| "dormouse".to_owned());
    let key_option = if has_keys { " --key $KEY" } else { "" };
    writeln!(out, "  {program} talk counter hello --server {server}{key_option}\n")?;
    writeln!(out, "or with curl:\n")?;
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

/// The agents that come with the host, and those that were uploaded.
async fn agents(host: &Host) -> Result<Vec<Agent>, AgentError> {
    host.operating().agents().list().await
}

/// The names of these of the agents, each once, as far as they fit a line.
fn names(agents: &[Agent], are_named: impl Fn(&Agent) -> bool) -> String {
    let wanted = agents.iter().filter(|agent| are_named(agent));
    let names: BTreeSet<String> = wanted
        .map(|agent| match agent.reference.owner.principal() {
            Some(owner) if *owner != Principal::local() => {
                format!("{owner}/{}", agent.reference.name)
            }
            Some(_) | None => agent.reference.name.to_string(),
        })
        .collect();
    let shown: Vec<&str> = names.iter().map(String::as_str).take(NAMED).collect();
    match names.len().saturating_sub(NAMED) {
        0 if names.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
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
