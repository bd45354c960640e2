//! A core module, copied with more in it.
//!
//! The module is not decoded and encoded again. Its bytes are copied, our items are appended to the
//! sections that they belong to, and the index in a call of a pinned import is replaced.

use std::collections::BTreeMap;
use std::ops::Range;

use wasm_encoder::{Encode, Module as Encoded, RawSection};
use wasmparser::{FunctionBody, Operator, Parser, Payload};

use super::pins::{self, Pins};
use super::{InstrumentError, unreadable};

// How kinds of exports are written.
pub(super) const FUNCTION: u8 = 0;
pub(super) const MEMORY: u8 = 2;
pub(super) const GLOBAL: u8 = 3;

// Sections by their ids.
const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

/// The place of a section among the others. Custom sections stand anywhere.
fn rank(section: u8) -> u8 {
    match section {
        0 => 0,
        // The section of tags stands between memories and globals,
        13 => 11,
        // and that which counts data before the code.
        12 => 19,
        other => other * 2,
    }
}

/// Items to append, by the rank of their section: its id, how many there are, and their bytes.
pub(super) type Additions = BTreeMap<u8, (u8, u32, Vec<u8>)>;

/// What these exports and pins add to a module.
pub(super) fn additions(exports: &[(String, u8, u32)], pins: Option<&Pins>) -> Additions {
    let mut additions = Additions::new();
    let mut add = |section: u8, item: &mut dyn FnMut(&mut Vec<u8>)| {
        let (_, count, bytes) = additions.entry(rank(section)).or_insert((section, 0, Vec::new()));
        *count += 1;
        item(bytes);
    };
    for (name, kind, index) in exports {
        add(EXPORTS, &mut |bytes| {
            name.as_str().encode(bytes);
            bytes.push(*kind);
            index.encode(bytes);
        });
    }
    for (parameters, results) in pins.iter().flat_map(|pins| &pins.types) {
        add(TYPES, &mut |bytes| {
            bytes.push(0x60);
            for count in [*parameters, *results] {
                count.encode(bytes);
                pins::numbers(count).for_each(|ty| ty.encode(bytes));
            }
        });
    }
    for (ty, body) in pins.iter().flat_map(|pins| &pins.functions) {
        add(FUNCTIONS, &mut |bytes| ty.encode(bytes));
        add(CODE, &mut |bytes| body.encode(bytes));
    }
    for _ in 0..pins.map_or(0, |pins| pins.globals) {
        // A mutable `i32` that begins as `i32.const 0`.
        add(GLOBALS, &mut |bytes| bytes.extend([0x7f, 1, 0x41, 0, 0x0b]));
    }
    additions
}

/// Copy the module, with these items at the ends of their sections.
pub(super) fn rewrite(
    bytes: &[u8],
    mut additions: Additions,
    pins: Option<&Pins>,
) -> Result<Vec<u8>, InstrumentError> {
    let mut out = Encoded::new();
    // The code section, while its functions come: how many there are, how many are left.
    let mut code: Option<(u32, u32, Vec<u8>)> = None;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(unreadable)?;
        if let Payload::CodeSectionEntry(body) = &payload {
            if let Some((_, left, bodies)) = &mut code {
                write_body(body, pins, bodies)?;
                *left = left.saturating_sub(1);
            }
        } else if let Some((id, range)) = payload.as_section() {
            if id != 0 {
                write_missing(&mut out, &mut additions, rank(id));
            }
            if let Payload::CodeSectionStart { count, .. } = payload {
                code = Some((count, count, Vec::new()));
            } else {
                let content = slice(bytes, range)?;
                match additions.remove(&rank(id)).filter(|_| id != 0) {
                    Some((_, more, items)) => {
                        let (count, old) = counted(content)?;
                        let data = section(count.saturating_add(more), &[old, &items]);
                        out.section(&RawSection { id, data: &data });
                    }
                    None => {
                        out.section(&RawSection { id, data: content });
                    }
                }
            }
        }
        if let Some((count, 0, bodies)) = &code {
            let (more, items) = additions
                .remove(&rank(CODE))
                .map_or((0, Vec::new()), |(_, more, items)| (more, items));
            let data = section(count.saturating_add(more), &[bodies, &items]);
            out.section(&RawSection { id: CODE, data: &data });
            code = None;
        }
    }
    write_missing(&mut out, &mut additions, u8::MAX);
    Ok(out.finish())
}

/// Write the sections of ours that the module does not have, up to this rank.
fn write_missing(out: &mut Encoded, additions: &mut Additions, before: u8) {
    while let Some(entry) = additions.first_entry()
        && *entry.key() < before
    {
        let (id, count, items) = entry.remove();
        out.section(&RawSection { id, data: &section(count, &[&items]) });
    }
}

fn section(count: u32, parts: &[&[u8]]) -> Vec<u8> {
    let mut data = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 5);
    count.encode(&mut data);
    parts.iter().for_each(|part| data.extend_from_slice(part));
    data
}

/// The count at the beginning of a section, and what follows it.
fn counted(content: &[u8]) -> Result<(u32, &[u8]), InstrumentError> {
    let mut reader = wasmparser::BinaryReader::new(content, 0);
    let count = reader.read_var_u32().map_err(unreadable)?;
    Ok((count, slice(content, reader.original_position()..content.len())?))
}

/// Write a function, with calls of pinned imports turned to what stands for them.
fn write_body(
    body: &FunctionBody<'_>,
    pins: Option<&Pins>,
    out: &mut Vec<u8>,
) -> Result<(), InstrumentError> {
    let bytes = body.as_bytes();
    let Some(pins) = pins else {
        bytes.encode(out);
        return Ok(());
    };
    let start = body.range().start;
    let mut operators = body.get_operators_reader().map_err(unreadable)?;
    let (mut changed, mut copied) = (Vec::new(), 0);
    while !operators.eof() {
        let at = operators.original_position() - start;
        let (opcode, function) = match operators.read().map_err(unreadable)? {
            Operator::Call { function_index } => (0x10, function_index),
            Operator::ReturnCall { function_index } => (0x12, function_index),
            // No other instruction names a function: those whose address is taken are not pinned.
            _ => continue,
        };
        if let Some(pinned) = pins.calls.get(&function) {
            changed.extend_from_slice(slice(bytes, copied..at)?);
            changed.push(opcode);
            pinned.encode(&mut changed);
            copied = operators.original_position() - start;
        }
    }
    changed.extend_from_slice(slice(bytes, copied..bytes.len())?);
    changed.as_slice().encode(out);
    Ok(())
}

fn slice(bytes: &[u8], range: Range<usize>) -> Result<&[u8], InstrumentError> {
    bytes.get(range).ok_or_else(|| "it cannot be read: a section ends too early".to_owned())
}
