//! How a function gets into the linker: never without a price.

use std::pin::Pin;

use wasmtime::StoreContextMut;
use wasmtime::component::{
    ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};

use super::price;
use crate::fuel::charge;
use crate::guest::Guest;

/// The work of a function, which may make room for others.
pub(super) type HostWork<'s, Return> =
    Pin<Box<dyn Future<Output = wasmtime::Result<Return>> + Send + 's>>;

/// An interface that is being linked. What it defines takes the place of what was there before.
pub(super) struct Interface<'l>(LinkerInstance<'l, Guest>);

impl<'l> Interface<'l> {
    /// The interface of this name.
    pub(super) fn new(
        linker: &'l mut Linker<Guest>,
        name: &str,
    ) -> wasmtime::Result<Interface<'l>> {
        Ok(Interface(linker.instance(name)?))
    }

    /// A function that carries no bytes and answers at once. It is called once [`price::CALL`] and what
    /// it costs `besides` are paid.
    pub(super) fn simple<Parameters, Return>(
        &mut self,
        name: &str,
        besides: u64,
        call: impl Fn(&mut Guest, Parameters) -> wasmtime::Result<Return> + Copy + Send + Sync + 'static,
    ) -> wasmtime::Result<()>
    where
        Parameters: ComponentNamedList + Lift + 'static,
        Return: ComponentNamedList + Lower + 'static,
    {
        self.0.func_wrap_async(name, move |mut store, parameters| {
            Box::new(async move {
                charge(&mut store, price::CALL + besides).await?;
                call(store.data_mut(), parameters)
            })
        })
    }

    /// A function that charges by itself for what it carries. It is called once [`price::CALL`] is paid.
    pub(super) fn metered<Parameters, Return>(
        &mut self,
        name: &str,
        call: impl for<'s> Fn(StoreContextMut<'s, Guest>, Parameters) -> HostWork<'s, Return>
        + Copy
        + Send
        + Sync
        + 'static,
    ) -> wasmtime::Result<()>
    where
        Parameters: ComponentNamedList + Lift + 'static,
        Return: ComponentNamedList + Lower + 'static,
    {
        self.0.func_wrap_async(name, move |mut store, parameters| {
            Box::new(async move {
                charge(&mut store, price::CALL).await?;
                call(store, parameters).await
            })
        })
    }

    /// A function that is there because its interface has it. A guest that calls it is ended, and told why.
    pub(super) fn absent(&mut self, name: &str, why: &'static str) -> wasmtime::Result<()> {
        self.0.func_new(name, move |_, _, _, _| Err(wasmtime::Error::msg(why)))
    }

    /// A resource whose handles do this when they are dropped.
    pub(super) fn resource<T: 'static>(
        &mut self,
        name: &str,
        drop: fn(&mut Guest, Resource<T>) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<()> {
        self.0.resource_async(name, ResourceType::host::<T>(), move |mut store, handle| {
            Box::new(async move {
                charge(&mut store, price::CALL + price::HANDLE).await?;
                drop(store.data_mut(), Resource::new_own(handle))
            })
        })
    }
}
