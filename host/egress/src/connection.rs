//! One connection for one request, to addresses that were checked.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, redirect, retry};

use crate::error::{EgressError, EgressFailure, EgressTimeout};
use dormouse_domain::egress::EgressHost;

/// The most characters of what TLS says.
const MAX_TOLD: usize = 200;

/// The addresses that were checked, whatever name is asked for.
struct Checked(Vec<SocketAddr>);

impl Resolve for Checked {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// A client that connects to these addresses alone. It keeps no connection, follows no redirect, sends nothing twice and
/// decompresses nothing.
pub(crate) fn client(
    tls: &rustls::ClientConfig,
    addresses: &[IpAddr],
    port: u16,
    connect: Duration,
) -> Result<Client, reqwest::Error> {
    let addresses = addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .dns_resolver(Arc::new(Checked(addresses)))
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .http1_only()
        .pool_max_idle_per_host(0)
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd()
        .connect_timeout(connect)
        .build()
}

/// TLS with the roots of the web.
pub(crate) fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

/// Why there are no headers of a response. The error itself has the URL in it, and is told to nobody.
pub(crate) fn failure(error: &reqwest::Error, host: &EgressHost) -> EgressFailure {
    let host = host.clone();
    if !error.is_connect() {
        return EgressFailure::may_have_arrived(EgressError::Broken { host });
    }
    EgressFailure::not_sent(match tls_problem(error) {
        Some(problem) => EgressError::Insecure { host, problem },
        None if error.is_timeout() => {
            EgressError::TimedOut { host, timeout: EgressTimeout::Connect }
        }
        None => EgressError::Unreachable { host },
    })
}

/// What TLS says, where it is the cause.
fn tls_problem(error: &reqwest::Error) -> Option<String> {
    let mut causes = std::iter::successors(error.source(), |error| inner(*error));
    let tls = causes.find_map(|error| error.downcast_ref::<rustls::Error>())?;
    Some(tls.to_string().chars().take(MAX_TOLD).collect())
}

/// The cause of an error. One of input and output passes by what it is made of, and names the cause of that.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}
