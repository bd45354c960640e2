//! From the formats of earlier versions to the current one, a version at a time, on reading.
//!
//! | format | written by | what it changed | what reading it takes |
//! | --- | --- | --- | --- |
//! | 2 | the release of 21 November 2026 | – | [`agents_have_owners`] |
//! | 3 | this version | agents have owners, and so have references to them | – |
//!
//! A format is the form of one value. Which keys there are, and what they are, is the *layout* of the
//! directory (`embedded::tables`), which is brought to the present one when the directory is opened.
//! `docs/upgrades.md` tells operators of both.
//!
//! Nothing is rewritten on the disk for a new format: a value takes the current one when it is next
//! written. To change the format: raise [`VERSION`], and add a [`Step`] to the end of [`STEPS`],
//! which turns the payload of the version before into the new one. The type of the table makes
//! sure that it is not forgotten.

use std::borrow::Cow;

use super::{CodecError, RecordKind, VERSION};

/// The first version that a release has written.
const FIRST: u8 = 2;

/// Turns a payload of one version into one of the next. Kinds that did not change are borrowed.
type Step = for<'a> fn(RecordKind, &'a [u8]) -> Result<Cow<'a, [u8]>, CodecError>;

/// The step at `i` leads from version `FIRST + i` to the next.
const STEPS: [Step; (VERSION - FIRST) as usize] = [
    agents_have_owners, // 2 to 3
];

/// Format 2 knew agents by name and version alone. Its references lack an owner, which is read as the
/// host; `embedded::owners` gives those their owners that were uploaded, when the directory is opened.
/// An agent itself has always said who uploaded it. So no payload changes by itself; the version is
/// what keeps a host that would pass over the owners, and over other fields of this format, from
/// opening it.
fn agents_have_owners(_: RecordKind, payload: &[u8]) -> Result<Cow<'_, [u8]>, CodecError> {
    Ok(Cow::Borrowed(payload))
}

/// The payload in the current format.
pub(super) fn to_current(
    kind: RecordKind,
    version: u8,
    payload: &[u8],
) -> Result<Cow<'_, [u8]>, CodecError> {
    through(&STEPS, kind, version, payload)
}

fn through<'a>(
    steps: &[Step],
    kind: RecordKind,
    version: u8,
    payload: &'a [u8],
) -> Result<Cow<'a, [u8]>, CodecError> {
    let Some(done) = version.checked_sub(FIRST) else {
        return Err(CodecError::Malformed(format!("no release has written format {version}")));
    };
    let Some(steps) = steps.get(usize::from(done)..) else {
        return Err(CodecError::Newer(version));
    };
    steps.iter().try_fold(Cow::Borrowed(payload), |payload, step| match payload {
        Cow::Borrowed(payload) => step(kind, payload),
        Cow::Owned(payload) => Ok(Cow::Owned(step(kind, &payload)?.into_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appends_one(_: RecordKind, payload: &[u8]) -> Result<Cow<'static, [u8]>, CodecError> {
        Ok(Cow::Owned([payload, &[1]].concat()))
    }

    fn appends_two_to_turns(kind: RecordKind, payload: &[u8]) -> Result<Cow<'_, [u8]>, CodecError> {
        Ok(match kind {
            RecordKind::Turn => Cow::Owned([payload, &[2]].concat()),
            _ => Cow::Borrowed(payload),
        })
    }

    const THREE: [Step; 2] = [appends_one, appends_two_to_turns];

    #[test]
    fn an_old_value_takes_every_step_that_came_after_it() {
        let read = |kind, version| through(&THREE, kind, version, &[0]).map(Cow::into_owned);
        assert_eq!(read(RecordKind::Turn, 2), Ok(vec![0, 1, 2]));
        assert_eq!(read(RecordKind::Turn, 3), Ok(vec![0, 2]));
        assert_eq!(read(RecordKind::Turn, 4), Ok(vec![0]));
        assert_eq!(read(RecordKind::Agent, 2), Ok(vec![0, 1]));
    }

    #[test]
    fn a_value_of_a_newer_version_is_refused_and_one_before_the_first_release_too() {
        assert_eq!(through(&THREE, RecordKind::Turn, 5, &[0]), Err(CodecError::Newer(5)));
        assert!(matches!(
            through(&THREE, RecordKind::Turn, 1, &[0]),
            Err(CodecError::Malformed(_))
        ));
    }
}
