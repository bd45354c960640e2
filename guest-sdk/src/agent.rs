//! The one trait that an agent implements, and the macro that makes a component of it.

use crate::{
    Host,
    handler::{Error, Reply, Result, Turn},
    state,
};

/// An agent: a value that answers turns, one after another.
///
/// The host creates one value for each session, with [`Default`]. Its fields are the state of the
/// session. The host keeps them while the session sleeps and undoes what a failed turn did to them,
/// so an agent needs no clean-up of its own: it returns the error.
pub trait Agent: Default + 'static {
    /// The version of the saved state. Count it up when the type changes so that an older saved
    /// state no longer decodes, and read the older one in [`Agent::migrate`].
    ///
    /// Only agents exported as `portable` have a saved state.
    const STATE_VERSION: u32 = 1;

    /// Answers one turn.
    ///
    /// # Errors
    ///
    /// Any error fails the turn and undoes what it did. `?` works on every [`std::error::Error`];
    /// [`Error::invalid`] and [`Error::Declined`] say more precisely whose turn it is now.
    fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply>;

    /// Makes the state smaller, because the host asked for it. Declines unless it is overridden.
    ///
    /// # Errors
    ///
    /// As for [`Agent::handle`].
    fn compact(&mut self, host: &Host) -> Result<Reply> {
        let _ = host;
        Err(Error::Declined)
    }

    /// Makes an agent from the state that an earlier version of it saved.
    ///
    /// It is called when the saved state has another version than [`Agent::STATE_VERSION`]. Decode
    /// the older type with [`state::Saved::decode`] and convert it:
    ///
    /// ```
    /// use dormouse_sdk::{prelude::*, state};
    ///
    /// #[derive(Deserialize)]
    /// struct CounterV1 { count: u32 }
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Counter { turns: u64 }
    ///
    /// impl Agent for Counter {
    ///     const STATE_VERSION: u32 = 2;
    ///
    ///     fn handle(&mut self, _turn: &Turn, _host: &Host) -> Result<Reply> {
    ///         self.turns += 1;
    ///         Ok(Reply::text(self.turns.to_string()))
    ///     }
    ///
    ///     fn migrate(saved: &state::Saved) -> Result<Self, state::Error> {
    ///         match saved.version {
    ///             1 => Ok(Counter { turns: saved.decode::<CounterV1>()?.count.into() }),
    ///             other => Err(state::Error::UnsupportedVersion(other)),
    ///         }
    ///     }
    /// }
    /// # export_agent!(Counter, portable);
    /// ```
    ///
    /// # Errors
    ///
    /// [`state::Error::UnsupportedVersion`] for every version, unless it is overridden.
    fn migrate(saved: &state::Saved) -> Result<Self, state::Error> {
        Err(state::Error::UnsupportedVersion(saved.version))
    }

    /// Calls [`Agent::handle`] or, for a request of the host, the method that answers it.
    #[doc(hidden)]
    fn dispatch(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
        use crate::handler::{Request, Sender};
        crate::random::begin_turn();
        match turn.sender {
            Sender::Host(Request::Compact) => self.compact(host),
            Sender::User | Sender::Agent(_) | Sender::Timer(_) => self.handle(turn, host),
        }
    }
}

/// Makes a component of an agent. Named once in a crate of type `cdylib`.
///
/// `export_agent!(MyAgent)` needs nothing but [`Agent`]. The host keeps such an agent as an image of
/// its memory, which belongs to exactly this build.
///
/// `export_agent!(MyAgent, portable)` needs serde's `Serialize` and `Deserialize` besides. The agent
/// then exports its state, which a later version of it can take over.
///
/// For targets other than WebAssembly it only checks the type, so that unit tests link.
///
/// ```
/// use dormouse_sdk::prelude::*;
///
/// #[derive(Default)]
/// struct Parrot;
///
/// impl Agent for Parrot {
///     fn handle(&mut self, turn: &Turn, _host: &Host) -> Result<Reply> {
///         Ok(Reply::text(turn.text()))
///     }
/// }
///
/// export_agent!(Parrot);
/// ```
#[macro_export]
macro_rules! export_agent {
    ($agent:ty $(,)?) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::__private::check_agent::<$agent>();

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::export_agent!(@handler $agent);
        };
    };
    ($agent:ty, portable $(,)?) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::__private::check_portable::<$agent>();

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            $crate::export_agent!(@handler $agent);

            impl $crate::__private::ExportedState for Export {}

            $crate::__private::state::export!(Export with_types_in $crate::__private::state);
        };
    };
    (@handler $agent:ty) => {
        struct Export;

        impl $crate::__private::Exported for Export {
            type Agent = $agent;

            fn slot() -> &'static $crate::__private::Slot<$agent> {
                ::std::thread_local! {
                    static AGENT: ::std::cell::RefCell<::std::option::Option<$agent>> =
                        const { ::std::cell::RefCell::new(::std::option::Option::None) };
                }
                &AGENT
            }
        }

        $crate::__private::handler::export!(Export with_types_in $crate::__private::handler);
    };
}
