//! What a compiling child answers: a verdict, and behind it the compiled form where there is one.
//!
//! ```text
//! length of the verdict, u32 little-endian │ the verdict, CBOR │ the compiled form
//! ```
//!
//! What the host reads here was written by its own binary, but of bytes from strangers: every length is
//! checked, and every text is cut before it is told to anybody.

use minicbor::{Decode, Encode};

use super::Compiled;
use crate::fault::bounded;
use crate::refusal::Refusal;

/// The longest verdict, in bytes.
const MAX_VERDICT: usize = 256 << 10;
/// The length of what stands before the verdict.
const PREFIX: usize = 4;
/// The most missing imports that are told.
pub(crate) const MAX_NAMES: usize = 64;

/// What came of a component. The refusals are those that a child can know of.
#[derive(Encode, Decode)]
enum Verdict {
    #[n(0)]
    Compiled {
        #[n(0)]
        unimaged: Option<String>,
    },
    #[n(1)]
    NotWasm,
    #[n(2)]
    CoreModule,
    #[n(3)]
    Malformed(#[n(0)] String),
    #[n(4)]
    TooComplex {
        #[n(0)]
        what: String,
        #[n(1)]
        limit: u64,
    },
    #[n(5)]
    NoHandler,
    #[n(6)]
    OnlyPreviews,
    #[n(7)]
    MissingImports(#[n(0)] Vec<String>),
    #[n(8)]
    CompileFailed(#[n(0)] String),
    #[n(9)]
    Host(#[n(0)] String),
}

/// The answer, but for the compiled form, which follows it.
pub(super) fn head(made: &Result<Compiled, Refusal>) -> Result<Vec<u8>, String> {
    let verdict = minicbor::to_vec(Verdict::of(made)).map_err(|error| error.to_string())?;
    let length = u32::try_from(verdict.len()).map_err(|error| error.to_string())?;
    Ok([&length.to_le_bytes()[..], &verdict].concat())
}

/// What this answer says. `None`: it is none.
pub(super) fn read(mut answer: Vec<u8>) -> Option<Result<Compiled, Refusal>> {
    let (length, rest) = answer.split_first_chunk::<PREFIX>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let verdict = rest.get(..length).filter(|_| length <= MAX_VERDICT)?;
    let verdict: Verdict = minicbor::decode(verdict).ok()?;
    answer.drain(..PREFIX + length);
    Some(verdict.result(answer))
}

impl Verdict {
    fn of(made: &Result<Compiled, Refusal>) -> Verdict {
        match made {
            Ok(Compiled { unimaged, .. }) => Verdict::Compiled { unimaged: unimaged.clone() },
            Err(Refusal::NotWasm) => Verdict::NotWasm,
            Err(Refusal::CoreModule) => Verdict::CoreModule,
            Err(Refusal::Malformed(why)) => Verdict::Malformed(why.clone()),
            Err(Refusal::TooComplex { what, limit }) => {
                Verdict::TooComplex { what: what.to_string(), limit: *limit }
            }
            Err(Refusal::NoHandler) => Verdict::NoHandler,
            Err(Refusal::OnlyPreviews) => Verdict::OnlyPreviews,
            Err(Refusal::MissingImports(names)) => Verdict::MissingImports(names.clone()),
            Err(Refusal::CompileFailed(why)) => Verdict::CompileFailed(why.clone()),
            Err(Refusal::Host(why)) => Verdict::Host(why.clone()),
            Err(
                other @ (Refusal::TooLarge { .. }
                | Refusal::WrongSignature(_)
                | Refusal::CompileTimeout { .. }
                | Refusal::CompileMemory { .. }
                | Refusal::DoesNotStart(_)
                | Refusal::StartTooLong { .. }
                | Refusal::QueueFull { .. }
                | Refusal::Busy
                | Refusal::ShuttingDown),
            ) => Verdict::Host(other.to_string()),
        }
    }

    fn result(self, code: Vec<u8>) -> Result<Compiled, Refusal> {
        Err(match self {
            Verdict::Compiled { unimaged } => {
                return Ok(Compiled { code, unimaged: unimaged.map(bounded) });
            }
            Verdict::NotWasm => Refusal::NotWasm,
            Verdict::CoreModule => Refusal::CoreModule,
            Verdict::Malformed(why) => Refusal::Malformed(bounded(why)),
            Verdict::TooComplex { what, limit } => {
                Refusal::TooComplex { what: bounded(what).into(), limit }
            }
            Verdict::NoHandler => Refusal::NoHandler,
            Verdict::OnlyPreviews => Refusal::OnlyPreviews,
            Verdict::MissingImports(names) => {
                let names = names.into_iter().take(MAX_NAMES);
                Refusal::MissingImports(names.map(bounded).collect())
            }
            Verdict::CompileFailed(why) => Refusal::CompileFailed(bounded(why)),
            Verdict::Host(why) => Refusal::Host(bounded(why)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(made: Result<Compiled, Refusal>) -> Option<Result<Compiled, Refusal>> {
        let mut answer = head(&made).expect("it is written");
        if let Ok(compiled) = &made {
            answer.extend(&compiled.code);
        }
        read(answer)
    }

    #[test]
    fn what_a_child_says_comes_out_as_it_went_in() {
        let reason = || Some("it is a command".to_owned());
        let made = [
            Ok(Compiled { code: vec![1, 2, 3], unimaged: reason() }),
            Ok(Compiled { code: Vec::new(), unimaged: None }),
            Err(Refusal::NotWasm),
            Err(Refusal::CoreModule),
            Err(Refusal::Malformed("why".to_owned())),
            Err(Refusal::TooComplex { what: "modules".into(), limit: 512 }),
            Err(Refusal::NoHandler),
            Err(Refusal::OnlyPreviews),
            Err(Refusal::MissingImports(vec!["a:b/c".to_owned()])),
            Err(Refusal::CompileFailed("why".to_owned())),
            Err(Refusal::Host("why".to_owned())),
        ];
        for made in made {
            assert_eq!(there_and_back(made.clone()), Some(made));
        }
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for answer in [&b""[..], b"abc", b"\xff\xff\xff\xff", b"\x01\0\0\0", b"\x01\0\0\0\xff"] {
            assert_eq!(read(answer.to_vec()), None, "{answer:?}");
        }
        let whole = head(&Err(Refusal::Malformed("why".to_owned()))).expect("it is written");
        for end in 0..whole.len() {
            assert_eq!(read(whole[..end].to_vec()), None, "{end} bytes");
        }
        let mut long = u32::MAX.to_le_bytes().to_vec();
        long.resize(1 << 20, 0);
        assert_eq!(read(long), None);
    }

    #[test]
    fn what_a_child_says_is_cut_before_it_is_told() {
        let long = vec!["x".repeat(2_000); 100];
        let read = there_and_back(Err(Refusal::MissingImports(long)));
        let Some(Err(Refusal::MissingImports(names))) = read else { panic!("{read:?}") };
        assert_eq!(names.len(), MAX_NAMES);
        assert!(names.iter().all(|name| name.len() <= 1024));
    }
}
