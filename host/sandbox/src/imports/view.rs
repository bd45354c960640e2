//! `dormouse:agent/view`: what a row sees of its world.
//!
//! It answers from what the world was at the end of the last tick, which stays the same while the world steps: so no
//! answer depends on who asks first.

use wasmtime::StoreContextMut;
use wasmtime::component::WasmList;

use super::interface::{HostWork, Interface};
use super::price;
use super::text::GuestText;
use crate::bindings::simulated::dormouse::agent::{
    simulation::ColumnResult as Column, view::Error,
};
use crate::fuel::charge;
use crate::guest::Guest;
use crate::view::{self, ViewError};
use dormouse_domain::simulation;

/// The longest name that is looked for, in bytes.
const MAX_NAME: usize = 64;

/// Who stands next to whom: offsets, and members.
type Neighbours = (Vec<u32>, Vec<u32>);

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.simple("size", 0, |guest, (role,): (u32,)| {
        Ok((guest.view()?.size(role).map_err(Error::from),))
    })?;
    interface.metered("neighbours", neighbours)?;
    interface.metered("near", near)?;
    interface.metered("read", read)?;
    interface.metered("aggregate", aggregate)
}

fn neighbours(
    mut store: StoreContextMut<'_, Guest>,
    (of,): (WasmList<u32>,),
) -> HostWork<'_, (Result<Neighbours, Error>,)> {
    Box::pin(async move {
        charge(&mut store, price::of(of.len(), price::LOOKED_UP)).await?;
        let members: Vec<u32> = of.as_le_slice(&store).to_vec();
        let view = store.data_mut().view()?;
        let mut offsets = Vec::with_capacity(members.len() + 1);
        let mut next = Vec::new();
        offsets.push(0);
        for member in members {
            let found = match view.neighbours(member) {
                Ok(found) => found,
                Err(error) => return Ok((Err(error.into()),)),
            };
            // Whoever asks for all neighbours of many pays before the list grows.
            charge(&mut store, price::of(found.len(), price::LOOKED_UP)).await?;
            if next.len() + found.len() > price::MAX_LISTED {
                return Err(wasmtime::Error::msg(
                    "more neighbours than one call can carry were asked for; ask for those of fewer members",
                ));
            }
            next.extend_from_slice(found);
            offsets.push(u32::try_from(next.len())?);
        }
        Ok((Ok((offsets, next)),))
    })
}

fn near(
    mut store: StoreContextMut<'_, Guest>,
    (role, of, radius): (u32, WasmList<u32>, f64),
) -> HostWork<'_, (Result<Neighbours, Error>,)> {
    Box::pin(async move {
        charge(&mut store, price::of(of.len(), price::LOOKED_UP)).await?;
        // Whoever is not within a number of anybody would be near to nobody, and never know why.
        if radius.is_nan() || radius < 0.0 {
            return Err(wasmtime::Error::msg("a radius is a number that is 0 or more"));
        }
        let members: Vec<u32> = of.as_le_slice(&store).to_vec();
        let view = store.data_mut().view()?;
        let mut offsets = Vec::with_capacity(members.len() + 1);
        let mut found = Vec::new();
        offsets.push(0);
        for member in members {
            let work = match view.work_of_near(role, member, radius) {
                Ok(work) => work,
                Err(error) => return Ok((Err(error.into()),)),
            };
            // It is paid before anybody is looked at.
            let work = usize::try_from(work).unwrap_or(usize::MAX);
            charge(&mut store, price::of(work, price::LOOKED_UP)).await?;
            let looked = view.near(role, member, radius, price::MAX_LISTED, &mut found);
            if let Err(error) = looked {
                return Ok((Err(error.into()),));
            }
            if found.len() > price::MAX_LISTED {
                return Err(wasmtime::Error::msg(
                    "more members than one call can carry are near those that were asked for; ask for those of fewer members",
                ));
            }
            offsets.push(u32::try_from(found.len())?);
        }
        Ok((Ok((offsets, found)),))
    })
}

fn read(
    mut store: StoreContextMut<'_, Guest>,
    (role, name, of): (u32, GuestText, WasmList<u32>),
) -> HostWork<'_, (Result<Column, Error>,)> {
    Box::pin(async move {
        charge(&mut store, price::of(of.len(), price::LOOKED_UP)).await?;
        let name = name_of(&store, &name)?;
        let members: Vec<u32> = of.as_le_slice(&store).to_vec();
        let view = store.data_mut().view()?;
        let read = view::read(view.as_ref(), role, &name, &members);
        Ok((read.map(Column::from).map_err(Error::from),))
    })
}

fn aggregate(
    mut store: StoreContextMut<'_, Guest>,
    (name,): (GuestText,),
) -> HostWork<'_, (Result<f64, Error>,)> {
    Box::pin(async move {
        let name = name_of(&store, &name)?;
        Ok((store.data_mut().view()?.aggregate(&name).map_err(Error::from),))
    })
}

/// A name that a guest asks for. One that is longer than names are is none.
fn name_of(store: &StoreContextMut<'_, Guest>, name: &GuestText) -> wasmtime::Result<String> {
    if name.len() > MAX_NAME {
        return Ok("…".to_owned());
    }
    Ok(name.read(store)?.into_owned())
}

impl From<ViewError> for Error {
    fn from(error: ViewError) -> Error {
        match error {
            ViewError::Unknown(what) => Error::Unknown(what),
            ViewError::Gone(member) => Error::Gone(member),
        }
    }
}

impl From<simulation::Column> for Column {
    fn from(column: simulation::Column) -> Column {
        match column {
            simulation::Column::Integers(values) => Column::Integers(values),
            simulation::Column::Numbers(values) => Column::Numbers(values),
            simulation::Column::Bytes(values) => Column::Bytes(values),
        }
    }
}
