//! The socket: accepts, bounds what a slow client may hold, and comes to its end in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::options::ApiOptions;
use super::{Api, Closing, routes};
use crate::host::Host;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// How long to wait when the machine has no more sockets.
const NO_SOCKET: Duration = Duration::from_millis(100);

/// Serve the API until `shutdown`. Then no connection is accepted any more; requests and streams that
/// are open may go on for [`ApiOptions::drain`], after which they are cut. Returns when all are over.
///
/// # Errors
/// Where the listener has no address.
pub async fn serve(
    host: Host,
    listener: TcpListener,
    options: ApiOptions,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let names = names_of(listener.local_addr()?);
    let closing = Closing { begun: shutdown.clone(), streams: CancellationToken::new() };
    let (drain, streams) = (options.drain, closing.streams.clone());
    let places = Arc::new(Semaphore::new(options.max_connections));
    let app = routes::router(Api::new(host, options, names, closing));
    let graceful = GracefulShutdown::new();
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => connect(stream, app.clone(), place, &graceful),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(NO_SOCKET).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown.cancelled() => {}
    }
    drop(listener);
    let all_over = graceful.shutdown();
    tokio::pin!(all_over);
    if tokio::time::timeout(drain, &mut all_over).await.is_err() {
        streams.cancel();
        // What is left are clients that do not read, or have sent half a request.
        let _ = tokio::time::timeout(Duration::from_secs(1), all_over).await;
    }
    streams.cancel();
    Ok(())
}

fn connect(
    stream: TcpStream,
    app: Router,
    place: OwnedSemaphorePermit,
    graceful: &GracefulShutdown,
) {
    // Events of a stream go out as they come.
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEAD_TIMEOUT));
    let service = TowerToHyperService::new(app);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let connection = graceful.watch(connection.into_owned());
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error, "a connection has broken");
        }
        drop(place);
    });
}

/// What a server with this address goes by: the names of the loopback, and the address.
pub(super) fn names_of(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let loopback = ["localhost", "127.0.0.1", "[::1]"];
    let mut names: Vec<String> =
        loopback.into_iter().map(|name| format!("{name}:{port}")).collect();
    if port == 80 {
        names.extend(loopback.map(str::to_owned));
    }
    if !address.ip().is_unspecified() {
        names.push(address.to_string());
    }
    names
}
