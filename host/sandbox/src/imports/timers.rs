//! `dormouse:agent/timers`: when the agent wants to be woken.
//!
//! The world of the call has the timers of the session; what is changed is committed with the turn. What time it is, the
//! guest's own wall clock says: so the same turn sets the same timers when it is run again.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift};

use super::contract::timers::{Error, Timer};
use super::interface::{HostWork, Interface};
use super::price;
use super::text::GuestText;
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::{
    self, MAX_MESSAGE, MAX_NAME, MAX_SCHEDULE, MAX_TIMERS, Schedule, TimerError, When,
};

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("set", set)?;
    interface.metered("cancel", cancel)?;
    interface.metered("list", list)
}

/// When a timer is due, of which no text is read yet.
#[derive(ComponentType, Lift)]
#[component(variant)]
enum WhenParam {
    #[component(name = "at")]
    At(u64),
    #[component(name = "after")]
    After(u64),
    #[component(name = "each")]
    Each(GuestText),
}

fn set(
    mut store: StoreContextMut<'_, Guest>,
    (name, when, message): (GuestText, WhenParam, GuestText),
) -> HostWork<'_, (Result<(), Error>,)> {
    Box::pin(async move {
        charge(&mut store, price::TIMER).await?;
        let name = match read(&mut store, &name, "name", MAX_NAME).await? {
            Ok(name) => name,
            Err(error) => return Ok((Err(error),)),
        };
        let message = match read(&mut store, &message, "message", MAX_MESSAGE).await? {
            Ok(message) => message,
            Err(error) => return Ok((Err(error),)),
        };
        let now = store.data_mut().turn()?.now();
        let when = match when {
            WhenParam::At(at) => When::At(Timestamp(i64::try_from(at).unwrap_or(i64::MAX))),
            WhenParam::After(delay) => When::After(Duration::from_millis(delay)),
            WhenParam::Each(text) => match schedule(&mut store, &text, now).await? {
                Ok(schedule) => When::Each(schedule),
                Err(error) => return Ok((Err(error),)),
            },
        };
        let turn = store.data_mut().turn()?;
        let number = turn.session().turn;
        Ok((turn.timers_mut().set(name, when, message, number, now).map_err(told),))
    })
}

fn cancel(mut store: StoreContextMut<'_, Guest>, (name,): (GuestText,)) -> HostWork<'_, (bool,)> {
    Box::pin(async move {
        charge(&mut store, price::TIMER).await?;
        let Ok(name) = read(&mut store, &name, "name", MAX_NAME).await? else {
            return Ok((false,));
        };
        Ok((store.data_mut().turn()?.timers_mut().cancel(&name),))
    })
}

fn list(mut store: StoreContextMut<'_, Guest>, (): ()) -> HostWork<'_, (Vec<Timer>,)> {
    Box::pin(async move {
        // What a session may have of them bounds what is made here.
        let timers = store.data_mut().turn()?.timers().all().iter().map(lower);
        let timers: Vec<Timer> = timers.collect();
        let bytes = timers.iter().map(|timer| timer.name.len() + timer.message.len()).sum();
        let each = price::of(timers.len(), price::TIMER + price::FIELD);
        charge(&mut store, each + price::of(bytes, price::BYTE)).await?;
        Ok((timers,))
    })
}

/// A text of at most so many bytes.
async fn read(
    store: &mut StoreContextMut<'_, Guest>,
    text: &GuestText,
    what: &str,
    most: usize,
) -> wasmtime::Result<Result<String, Error>> {
    if text.len() > most {
        return Ok(Err(Error::Invalid(format!("the {what} of a timer has at most {most} bytes"))));
    }
    charge(store, price::of(text.len(), price::BYTE)).await?;
    Ok(Ok(text.read(&*store)?.into_owned()))
}

/// A schedule. To find that it never comes takes so long that a thread does it that may block.
async fn schedule(
    store: &mut StoreContextMut<'_, Guest>,
    text: &GuestText,
    now: Timestamp,
) -> wasmtime::Result<Result<Schedule, Error>> {
    let text = match read(store, text, "schedule", MAX_SCHEDULE).await? {
        Ok(text) => text,
        Err(error) => return Ok(Err(error)),
    };
    charge(store, price::SCHEDULE).await?;
    let parsed = tokio::task::spawn_blocking(move || Schedule::parse(&text, now)).await?;
    Ok(parsed.map_err(told))
}

fn lower(timer: &timer::Timer) -> Timer {
    Timer {
        name: timer.name.clone(),
        due: u64::try_from(timer.due.0).unwrap_or(0),
        schedule: timer.schedule.as_ref().map(|schedule| schedule.as_str().to_owned()),
        message: timer.message.clone(),
    }
}

fn told(error: TimerError) -> Error {
    match error {
        TimerError::Invalid(why) => Error::Invalid(why),
        TimerError::TooMany => Error::TooMany(u32::try_from(MAX_TIMERS).unwrap_or(u32::MAX)),
    }
}
