//! Templates: `t` length owner name, the value a [`TemplateCell`].
//!
//! The index keeps the keys, and which agent each refers to.

use std::sync::Arc;

use bytes::Bytes;

use super::super::OpenError;
use super::super::commit::{BlobPlacer, EncodedTemplate};
use super::super::disk::ReadExtent;
use super::super::frame::{frame, framed};
use super::super::keys::{length_of, split_owner, text};
use super::super::recovery::Recovery;
use super::super::upkeep::audit::Audit;
use super::snapshots::SnapshotCell;
use super::{Table, agents, blobs, sessions};
use crate::StoreError;
use crate::codec::{self, CodecError, RecordKind};
use dormouse_domain::id::Principal;
use dormouse_domain::template::Template;

/// The prefix of all templates.
pub(in super::super) const TEMPLATE: u8 = b't';

/// The most bytes that the owner and the name of a template take: they are in its key.
const TEMPLATE_NAME: usize = 512;

/// The templates.
pub(super) struct TemplateTable;

/// A template.
pub(in super::super) fn template(owner: &Principal, name: &str) -> Vec<u8> {
    [&templates(owner), name.as_bytes()].concat()
}

/// The prefix of the templates of an owner.
pub(in super::super) fn templates(owner: &Principal) -> Vec<u8> {
    [&[TEMPLATE], &length_of(owner)[..], owner.0.as_bytes()].concat()
}

/// The value of a template.
#[derive(Debug)]
pub(in super::super) struct TemplateCell<'a> {
    /// What it is apart from its snapshot.
    pub(in super::super) template: &'a [u8],
    /// Its snapshot.
    pub(in super::super) snapshot: SnapshotCell<'a>,
}

impl<'a> TemplateCell<'a> {
    /// Take a value apart.
    pub(in super::super) fn read(bytes: &'a [u8]) -> Result<TemplateCell<'a>, CodecError> {
        let (template, snapshot) = framed(bytes)?;
        Ok(TemplateCell { template, snapshot: SnapshotCell::read(snapshot)? })
    }

    /// Put a value together.
    pub(in super::super) fn write(&self, out: &mut Vec<u8>) {
        frame(out, |out| out.extend_from_slice(self.template));
        self.snapshot.write(out);
    }
}

/// A template, encoded.
pub(super) fn encode(
    placer: &mut BlobPlacer<'_>,
    template: Template,
) -> Result<EncodedTemplate, StoreError> {
    check(&template.owner, &template.name)?;
    let row = codec::encode_template(&template);
    if row.len() > sessions::FRONT {
        let what = "the description of a template in bytes";
        return Err(StoreError::TooLarge { what, limit: sessions::FRONT });
    }
    let key = self::template(&template.owner, &template.name);
    let mut value = Vec::new();
    placer.state(template.snapshot, |snapshot| {
        TemplateCell { template: &row, snapshot }.write(&mut value);
    });
    let value = codec::seal(&key, &[&value]);
    Ok(EncodedTemplate { key, value, agent: Arc::new(template.agent) })
}

/// What is longer than this cannot be a template.
pub(super) fn check(owner: &Principal, name: &str) -> Result<(), StoreError> {
    if owner.0.len() + name.len() <= TEMPLATE_NAME {
        return Ok(());
    }
    let what = "the owner and the name of a template in bytes";
    Err(StoreError::TooLarge { what, limit: TEMPLATE_NAME })
}

impl Table for TemplateTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&TEMPLATE)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        let (owner, name) = split_owner(key.strip_prefix(&[TEMPLATE])?)?;
        Some(format!("template/{}/{}", text(owner), text(name)))
    }

    fn is_missed(&self) -> bool {
        true
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        recovery.each(&[TEMPLATE], ReadExtent::Whole, |index, key, value| {
            let value = codec::unseal(RecordKind::Template, key, value)?;
            let template = decode(&TemplateCell::read(&value)?)?;
            index.put_template(key.to_vec(), Arc::new(template.agent));
            Ok(())
        })
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let value = codec::unseal(RecordKind::Template, key, value)?;
        let cell = TemplateCell::read(&value)?;
        let template = decode(&cell)?;
        if blobs::refer(audit, key, &cell.snapshot)? {
            audit.is_useless(key.to_vec());
        }
        audit.report().read.templates += 1;
        agents::refer(audit, None, key, &template.agent);
        Ok(())
    }
}

/// A template without its state.
fn decode(cell: &TemplateCell<'_>) -> Result<Template, CodecError> {
    let outline = codec::decode_snapshot(&Bytes::copy_from_slice(cell.snapshot.outline))?;
    codec::decode_template(cell.template, outline)
}
