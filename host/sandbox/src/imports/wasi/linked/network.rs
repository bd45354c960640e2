//! `wasi:sockets`: there is no network. What asks for one is refused here, before anything is read of
//! it.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::instance_network::Host;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::ResolveAddressStream;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::TcpSocket;
use wasmtime_wasi::p2::bindings::sockets::udp::UdpSocket;
use wasmtime_wasi::sockets::WasiSocketsView;

use super::super::super::interface::Interface;
use super::super::super::price;
use super::super::super::text::GuestText;

pub(super) fn instance(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("instance-network", price::HANDLE, |guest, (): ()| {
        Ok((Host::instance_network(&mut guest.sockets())?,))
    })
}

pub(super) fn network(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.resource::<Network>("network", |guest, network| {
        guest.resources().delete(network)?;
        Ok(())
    })
}

pub(super) fn ip_name_lookup(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    type Found = Result<Resource<ResolveAddressStream>, ErrorCode>;

    interface.simple("resolve-addresses", 0, |_, _: (Resource<Network>, GuestText)| {
        let refused: Found = Err(ErrorCode::PermanentResolverFailure);
        Ok((refused,))
    })
}

pub(super) fn tcp_create_socket(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("create-tcp-socket", 0, |_, _: (IpAddressFamily,)| {
        let refused: Result<Resource<TcpSocket>, ErrorCode> = Err(ErrorCode::AccessDenied);
        Ok((refused,))
    })
}

pub(super) fn udp_create_socket(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("create-udp-socket", 0, |_, _: (IpAddressFamily,)| {
        let refused: Result<Resource<UdpSocket>, ErrorCode> = Err(ErrorCode::AccessDenied);
        Ok((refused,))
    })
}
