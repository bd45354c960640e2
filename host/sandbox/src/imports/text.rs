//! A string of a guest whose size is known before it is read.

use std::borrow::Cow;

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift, WasmStr};
use wasmtime::{StoreContext, ValRaw};

use crate::guest::Guest;

/// Marks a length of the encoding that is Latin-1 or UTF-16 as one of the latter.
const UTF16: u32 = 1 << 31;

/// A string that lies in the memory of a guest. Nothing of it is read, checked or copied before
/// [`GuestText::read`].
pub(super) struct GuestText {
    text: WasmStr,
    length: usize,
}

impl GuestText {
    /// How many units of its encoding it has: bytes, or pairs of bytes where the guest has UTF-16.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Read it.
    ///
    /// # Errors
    /// It is no text.
    pub(super) fn read<'s>(
        &self,
        store: impl Into<StoreContext<'s, Guest>>,
    ) -> wasmtime::Result<Cow<'s, str>> {
        self.text.to_str(store)
    }

    fn new(text: WasmStr, length: u32) -> GuestText {
        GuestText { text, length: usize::try_from(length & !UTF16).unwrap_or(usize::MAX) }
    }
}

#[expect(unsafe_code, reason = "wasmtime tells the length of a string to its own type alone")]
// SAFETY: everything is as `WasmStr` has it, whose type in a component this is.
unsafe impl ComponentType for GuestText {
    type Lower = <WasmStr as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = WasmStr::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        WasmStr::typecheck(ty, types)
    }
}

#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above. The length is read besides, where the canonical ABI has it: after the address, in
// the second value or in the second four bytes, of which there are as many as `ABI` says.
unsafe impl Lift for GuestText {
    fn linear_lift_from_flat(
        context: &mut LiftContext<'_>,
        ty: InterfaceType,
        source: &Self::Lower,
    ) -> wasmtime::Result<GuestText> {
        let [_, length]: &[ValRaw; 2] = source;
        let length = length.get_u32();
        Ok(GuestText::new(WasmStr::linear_lift_from_flat(context, ty, source)?, length))
    }

    fn linear_lift_from_memory(
        context: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<GuestText> {
        let [_, _, _, _, a, b, c, d] = *bytes else {
            return Err(wasmtime::Error::msg("a string has an address and a length"));
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        Ok(GuestText::new(WasmStr::linear_lift_from_memory(context, ty, bytes)?, length))
    }
}
