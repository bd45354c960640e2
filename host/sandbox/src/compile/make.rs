//! What is made of a component: all work that a stranger's bytes decide on, in one place.
//!
//! ```text
//! bytes ─▶ inspect ─▶ instrument ─▶ compile ─▶ compiled form
//! ```

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::Engine;

use dormouse_domain::agent::ComponentKind;

use crate::component;
use crate::fault::bounded;
use crate::refusal::Refusal;
use crate::snapshot;

/// A component that was inspected and compiled.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Compiled {
    /// The compiled form.
    pub(crate) code: Vec<u8>,
    /// Why no image can be taken of its instances. `None`: what is compiled is its instrumented form.
    pub(crate) unimaged: Option<String>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Compiled { code, unimaged } = self;
        f.debug_struct("Compiled").field("code", &code.len()).field("unimaged", unimaged).finish()
    }
}

/// The stack for [`make`], in bytes: parsers descend into types, as far as the inspection lets them.
pub(super) const STACK: usize = 64 << 20;

/// Inspect, instrument and compile. Needs [`STACK`].
///
/// # Errors
/// What is wrong with the component.
pub(super) fn make(component: &[u8], engine: &Engine) -> Result<Compiled, Refusal> {
    let exports = component::inspect(component, engine.get_wasm_features())?;
    let (form, unimaged) = if exports.kind() == Some(ComponentKind::Command) {
        (Cow::Borrowed(component), Some("it is a command".to_owned()))
    } else {
        instrument(component, engine)
    };
    let code = engine
        .precompile_component(&form)
        .map_err(|error| Refusal::CompileFailed(bounded(format!("{error:#}"))))?;
    Ok(Compiled { code, unimaged })
}

/// The form of a component that is compiled, and why no image can be taken of it, where that is so.
fn instrument<'a>(component: &'a [u8], engine: &Engine) -> (Cow<'a, [u8]>, Option<String>) {
    let features = engine.get_wasm_features();
    // A panic of ours is no reason to refuse the component.
    let instrumented = catch_unwind(AssertUnwindSafe(|| snapshot::instrument(component, features)));
    match instrumented {
        Ok(Ok(bytes)) => (Cow::Owned(bytes), None),
        Ok(Err(reason)) => (Cow::Borrowed(component), Some(bounded(reason))),
        Err(_) => {
            let reason = "it could not be instrumented".to_owned();
            (Cow::Borrowed(component), Some(reason))
        }
    }
}
