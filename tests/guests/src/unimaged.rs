//! Guests whose component is changed for a test.

use crate::TestGuest;

/// A core module with a table that it could change while it runs: no image of it can be taken.
const CHANGES_A_TABLE: [u8; 36] = [
    0, b'a', b's', b'm', 1, 0, 0, 0, // a module
    1, 4, 1, 0x60, 0, 0, // (type (func))
    3, 2, 1, 0, // (func (type 0)
    4, 4, 1, 0x70, 0, 1, // (table 1 funcref)
    10, 10, 1, 8, 0, // …
    0x41, 0, 0xd0, 0x70, 0x26, 0, 0x0b, // (table.set (i32.const 0) (ref.null func)))
];

/// The same guest, of which no image can be taken: its state is what it saves itself, if it does.
///
/// # Panics
/// The guest is no component.
#[must_use]
pub fn unimaged(guest: &TestGuest) -> TestGuest {
    let mut bytes = guest.bytes.to_vec();
    let module = core_modules(&bytes);
    section(&mut bytes, 1, &CHANGES_A_TABLE);
    // One core instance, of that module, without arguments.
    section(&mut bytes, 2, &[1, 0, module, 0]);
    TestGuest { bytes: bytes.leak(), ..*guest }
}

fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    bytes.push(u8::try_from(content.len()).expect("the section is short"));
    bytes.extend_from_slice(content);
}

/// How many core modules the component defines itself.
fn core_modules(bytes: &[u8]) -> u8 {
    let (mut at, mut count) = (8, 0);
    while at < bytes.len() {
        count += u8::from(bytes[at] == 1);
        at += 1;
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = bytes[at];
            at += 1;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        at += length;
    }
    assert!(count < 0x80, "the index of the module is one byte");
    count
}
