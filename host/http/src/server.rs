//! The socket: accepts, bounds what a slow client may hold, and comes to its end in order.
//!
//! Of each connection `link` knows what it waits for and for how long it may, `frames` what it sends that no
//! request accounts for, and `places` whose turn it is to leave when there are too many. `answer` is what a connection serves.

mod answer;
mod frames;
mod link;
mod places;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{BoxError, Router};
use futures::future::join_all;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::answer::Served;
use self::link::{ClientTimeouts, Connection};
use self::places::{ConnectionSlot, ConnectionSlots};
use self::socket::Socket;
use super::options::ApiOptions;
use super::{Api, Closing, routes};
use dormouse::{Clock, Host};

/// Connections for whoever operates the server, besides the others.
const RESERVED: usize = 32;

/// How long such a connection may take to send its request.
const RESERVED_HEAD: Duration = Duration::from_secs(2);

/// How long to wait when the machine has no more sockets.
const NO_SOCKET: Duration = Duration::from_millis(100);

/// How long connections may take to end that have been told to.
const LEAVING: Duration = Duration::from_secs(1);

/// The most bytes of the head of a request, and of what is written at once.
const BUFFER: usize = 32 << 10;

/// How many bytes of bodies a client may send by HTTP/2 before the host has read any: of one request,
/// and of all of a connection.
const WINDOWS: (u32, u32) = (128 << 10, 256 << 10);

/// Bytes of answers that the kernel takes for a client that does not read; it takes as much again for
/// itself.
const SEND_BUFFER: usize = 64 << 10;

/// The most requests that a connection has under way by HTTP/2.
const STREAMS: u32 = 128;

/// In the extensions of a request: it came by a connection that is reserved for whoever operates the
/// server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved;

/// Serve the API on all of these sockets until `shutdown`. Then no connection is accepted any more; requests and streams that
/// are open may go on for [`ApiOptions::drain`], after which they are cut. Returns when all are over.
///
/// # Errors
/// Where a listener has no address.
pub async fn serve(
    host: Host,
    listeners: Vec<TcpListener>,
    options: ApiOptions,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut names = Vec::new();
    for listener in &listeners {
        names.extend(names_of(listener.local_addr()?));
        // Connections have what the socket has that they come by.
        SockRef::from(listener).set_send_buffer_size(SEND_BUFFER)?;
    }
    names.sort_unstable();
    names.dedup();
    let closing = Closing { begun: shutdown.clone(), streams: CancellationToken::new() };
    let (drain, streams) = (options.drain, closing.streams.clone());
    let door = Door::new(host, options, names, closing);
    tokio::select! {
        _ = join_all(listeners.iter().map(|listener| door.accept(listener))) => {}
        () = shutdown.cancelled() => {}
    }
    drop(listeners);
    door.open.close();
    if tokio::time::timeout(drain, door.open.wait()).await.is_err() {
        streams.cancel();
        // What is left are clients that do not read, or have sent half a request.
        let _ = tokio::time::timeout(LEAVING, door.open.wait()).await;
    }
    streams.cancel();
    door.cut.cancel();
    door.open.wait().await;
    Ok(())
}

/// What all connections share.
struct Door {
    app: Router,
    builder: Builder<TokioExecutor>,
    limits: ClientTimeouts,
    clock: Clock,
    places: Arc<ConnectionSlots>,
    reserve: Arc<ConnectionSlots>,
    /// The connections that are open.
    open: TaskTracker,
    /// No connection is to begin with anything more.
    shutdown: CancellationToken,
    /// All connections end now.
    cut: CancellationToken,
}

impl Door {
    fn new(host: Host, options: ApiOptions, names: Vec<String>, closing: Closing) -> Door {
        let limits = ClientTimeouts {
            head: options.head_timeout,
            idle: options.keep_alive,
            stall: options.stall_timeout,
        };
        let (places, shutdown) =
            (ConnectionSlots::new(options.max_connections), closing.begun.clone());
        let mut builder = Builder::new(TokioExecutor::new());
        // The link has the times of heads and of what lies between requests.
        builder.http1().header_read_timeout(None).max_buf_size(BUFFER).half_close(true);
        let mut http2 = builder.http2();
        http2.timer(TokioTimer::new()).keep_alive_interval(Some(options.heartbeat));
        http2.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
        http2.max_concurrent_streams(STREAMS);
        Door {
            app: routes::router(Api::new(host, options, names, closing)),
            builder,
            limits,
            clock: Clock::real(),
            places,
            reserve: ConnectionSlots::new(RESERVED),
            open: TaskTracker::new(),
            shutdown,
            cut: CancellationToken::new(),
        }
    }

    async fn accept(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit(stream).await,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(NO_SOCKET).await;
                }
            }
        }
    }

    /// Give a connection a place, or let it go.
    async fn admit(&self, stream: TcpStream) {
        let link = Arc::new(Connection::new(self.clock.clone(), self.limits));
        if let Some(place) = self.places.take(&link).await {
            return self.connect(stream, link, place, None);
        }
        let limits = ClientTimeouts { head: self.limits.head.min(RESERVED_HEAD), ..self.limits };
        let link = Arc::new(Connection::new(self.clock.clone(), limits));
        match self.reserve.take(&link).await {
            Some(place) => self.connect(stream, link, place, Some(Reserved)),
            None => tracing::warn!("a connection was refused: max-connections are busy"),
        }
    }

    fn connect(
        &self,
        stream: TcpStream,
        link: Arc<Connection>,
        place: ConnectionSlot,
        reserved: Option<Reserved>,
    ) {
        // Events of a stream go out as they come.
        let _ = stream.set_nodelay(true);
        let service = Served::new(self.app.clone(), Arc::clone(&link), reserved);
        let socket = TokioIo::new(Socket::new(stream, Arc::clone(&link)));
        let serving = self.builder.serve_connection(socket, TowerToHyperService::new(service));
        let serving = serving.into_owned();
        let (shutdown, cut) = (self.shutdown.clone(), self.cut.clone());
        self.open.spawn(async move {
            let _place = place;
            tokio::pin!(serving);
            tokio::select! {
                // In this order: what has just happened counts for how long it may take.
                biased;
                ended = serving.as_mut() => return note(ended),
                () = link.dismissed() => return,
                () = cut.cancelled() => return,
                () = link.expired() => {}
                () = shutdown.cancelled() => {}
            }
            serving.as_mut().graceful_shutdown();
            let late = async {
                if shutdown.is_cancelled() {
                    link.expired().await;
                } else {
                    tokio::time::sleep(LEAVING).await;
                }
            };
            tokio::select! {
                biased;
                ended = serving.as_mut() => note(ended),
                () = cut.cancelled() => {}
                () = late => {}
            }
        });
    }
}

fn note(ended: Result<(), BoxError>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a connection has broken");
    }
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
