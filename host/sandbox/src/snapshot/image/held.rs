//! What a guest holds open of the host: entries in the host's table of resources.
//!
//! A handle is a number in the guest's memory and an entry in tables of the engine, which no snapshot
//! holds. So a session sleeps only while it holds what an instance has from its start: the pinned
//! handles.
//!
//! One thing is not the same after a sleep: which free number the engine gives to the next handle. A
//! guest can see it, as it can see an address; nothing that is built from WIT looks at it.

use std::any::{Any, TypeId};

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};

use crate::files::{Descriptor, DirectoryEntries};

/// The types of what is held, in the order of the table.
pub(super) fn held(table: &mut ResourceTable) -> Vec<TypeId> {
    table.iter_mut().map(|entry| Any::type_id(&*entry)).collect()
}

/// What is held besides this, in words. `None`: it is the same.
pub(super) fn besides(held: &[TypeId], before: &[TypeId]) -> Option<String> {
    if held == before {
        return None;
    }
    let count = |all: &[TypeId], one: &TypeId| all.iter().filter(|other| *other == one).count();
    let mut words: Vec<String> = Vec::new();
    for ty in held {
        let more = count(held, ty).saturating_sub(count(before, ty));
        let word = match more {
            0 => continue,
            1 => name(*ty).to_owned(),
            more => format!("{} ({more})", name(*ty)),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    if words.len() > 1 {
        // What has no name belongs to what has one: a timer to its pollable.
        words.retain(|word| !word.starts_with(UNNAMED));
    }
    Some(if words.is_empty() {
        "it closed what it had open from its start".to_owned()
    } else {
        format!("it holds open: {}", words.join(", "))
    })
}

fn name(ty: TypeId) -> &'static str {
    let names = [
        (TypeId::of::<DynPollable>(), "a pollable"),
        (TypeId::of::<DynInputStream>(), "an input stream"),
        (TypeId::of::<DynOutputStream>(), "an output stream"),
        (TypeId::of::<Descriptor>(), "a file or directory"),
        (TypeId::of::<DirectoryEntries>(), "a directory that is being read"),
        (TypeId::of::<wasmtime_wasi::sockets::TcpSocket>(), "a TCP socket"),
        (TypeId::of::<wasmtime_wasi::sockets::UdpSocket>(), "a UDP socket"),
    ];
    names.iter().find(|(known, _)| *known == ty).map_or(UNNAMED, |(_, name)| name)
}

const UNNAMED: &str = "a resource of the host";
