//! The addresses that the server listens on: how they are written, and how it gets them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;

/// A process that was just killed may hold its port for a moment: how often, and after which pause,
/// to ask for it again.
const PORT_TRIES: u32 = 5;
const PORT_PAUSE: Duration = Duration::from_millis(200);

/// The most addresses that a server listens on.
const MAX_ADDRESSES: usize = 16;

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    /// `localhost` with this port: 127.0.0.1, and [::1] where the machine has it. Clients look up
    /// `localhost` and try one of the two first; which one, differs between them.
    Localhost(u16),
    /// This address.
    Exact(SocketAddr),
}

/// All addresses to listen on: one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses(Vec<Address>);

impl Default for Addresses {
    /// Port 3333 of `localhost`.
    fn default() -> Addresses {
        Addresses(vec![Address::Localhost(3333)])
    }
}

impl Addresses {
    /// The first address that other machines can reach.
    pub(super) fn beyond_loopback(&self) -> Option<SocketAddr> {
        self.0.iter().find_map(|address| match address {
            Address::Localhost(_) => None,
            Address::Exact(address) => Some(*address).filter(|it| !it.ip().is_loopback()),
        })
    }

    /// Listen on all of them.
    ///
    /// # Errors
    /// One of them is in use, or belongs to another machine. The message says what to do.
    pub(super) async fn bind(&self) -> anyhow::Result<Vec<TcpListener>> {
        let mut listeners = Vec::with_capacity(self.0.len() + 1);
        for address in &self.0 {
            match *address {
                Address::Exact(address) => listeners.push(bind(address).await?),
                Address::Localhost(port) => {
                    let first = bind((Ipv4Addr::LOCALHOST, port).into()).await?;
                    let port = first.local_addr()?.port();
                    listeners.push(first);
                    listeners.extend(bind_ipv6(port).await?);
                }
            }
        }
        Ok(listeners)
    }
}

/// The IPv6 loopback with this port. `None`: this machine has none.
async fn bind_ipv6(port: u16) -> anyhow::Result<Option<TcpListener>> {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    match bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => match error.downcast_ref::<io::Error>() {
            Some(cause) if has_no_ipv6(cause) => {
                tracing::debug!(%address, "this machine has no IPv6 loopback");
                Ok(None)
            }
            Some(_) | None => Err(error),
        },
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    let unsupported =
        matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported);
    unsupported || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let mut tries = 0..PORT_TRIES;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if tries.next().is_none() {
                    bail!("{}", in_use(address));
                }
                tokio::time::sleep(PORT_PAUSE).await;
            }
            Err(error) => return Err(error).with_context(|| format!("cannot listen on {address}")),
        }
    }
}

/// What to do about a port that somebody else has.
fn in_use(address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    let other = SocketAddr::new(ip, port.checked_add(1).unwrap_or(port - 1));
    format!(
        "port {port} of {ip} is in use: is another dormouse running? Choose another port: \
         `dormouse --listen {other}` (with cargo: `cargo run --release -- --listen {other}`)"
    )
}

/// The address under which a client of this machine reaches a server that listens on this one.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(loopback, address.port())
}

/// The text names no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be up to {MAX_ADDRESSES} addresses with a port and commas between them, such as \
     localhost:3333 or 127.0.0.1:3333,10.0.0.7:80"
)]
pub(super) struct InvalidAddresses;

impl FromStr for Addresses {
    type Err = InvalidAddresses;

    fn from_str(text: &str) -> Result<Addresses, InvalidAddresses> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let addresses = items.map(str::parse).collect::<Result<Vec<Address>, _>>()?;
        let is_good = (1..=MAX_ADDRESSES).contains(&addresses.len());
        if is_good { Ok(Addresses(addresses)) } else { Err(InvalidAddresses) }
    }
}

impl FromStr for Address {
    type Err = InvalidAddresses;

    fn from_str(text: &str) -> Result<Address, InvalidAddresses> {
        let address = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().map(Address::Localhost).map_err(|_| InvalidAddresses)?,
            None => Address::Exact(text.parse().map_err(|_| InvalidAddresses)?),
        };
        Ok(address)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, address) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match address {
                Address::Localhost(port) => write!(f, "{comma}localhost:{port}")?,
                Address::Exact(address) => write!(f, "{comma}{address}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_written() {
        for text in ["localhost:3333", "127.0.0.1:1", "[::1]:80,10.0.0.7:80,localhost:0"] {
            let read: Addresses = text.parse().expect("they are addresses");
            assert_eq!(read.to_string(), text);
        }
        assert_eq!("localhost:1, [::]:2".parse::<Addresses>().unwrap().0.len(), 2);
        for text in ["", ",", "localhost", "127.0.0.1", "example.org:80", "localhost:70000"] {
            assert_eq!(text.parse::<Addresses>(), Err(InvalidAddresses), "{text}");
        }
        let many = ["localhost:0"; MAX_ADDRESSES + 1];
        assert!(many[1..].join(",").parse::<Addresses>().is_ok());
        assert_eq!(many.join(",").parse::<Addresses>(), Err(InvalidAddresses));
    }

    #[test]
    fn only_what_other_machines_reach_is_beyond_the_loopback() {
        let beyond = |text: &str| text.parse::<Addresses>().unwrap().beyond_loopback();
        assert_eq!(beyond("localhost:1,127.0.0.9:2,[::1]:3"), None);
        assert_eq!(beyond("localhost:1,0.0.0.0:2"), Some("0.0.0.0:2".parse().unwrap()));
        assert_eq!(beyond("[::]:2"), Some("[::]:2".parse().unwrap()));
    }

    #[tokio::test]
    async fn localhost_is_both_loopbacks_with_one_port() {
        let listeners = "localhost:0".parse::<Addresses>().unwrap().bind().await.unwrap();
        let addresses: Vec<SocketAddr> =
            listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(addresses[0].ip().is_ipv4() && addresses[0].port() > 0);
        let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok();
        assert_eq!(addresses.len(), if has_ipv6 { 2 } else { 1 });
        assert!(addresses.iter().all(|address| address.port() == addresses[0].port()));
    }
}
