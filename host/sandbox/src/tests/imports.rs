//! What a guest calls of the host: it is paid for, it makes room for others, and what is too large is
//! refused before it is read.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::agent::{self, Parts};
use super::{call, code, grant, options, world};
use crate::{Fault, GuestResult, Sandbox};
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::turn::LogLine;

/// Bytes of the memory that the functions of the host read from and write to: all of them are zero.
const SHARED: u64 = 40 * 65_536;

const RANDOM: Function<'_> = Function {
    interface: "wasi:random/random@0.2.12",
    items: r#"(export "get-random-bytes" (func (param "len" u64) (result (list u8))))"#,
    name: "get-random-bytes",
    signature: "(param i64 i32)",
};
const SEED: Function<'_> = Function {
    interface: "wasi:random/insecure-seed@0.2.12",
    items: r#"(export "insecure-seed" (func (result (tuple u64 u64))))"#,
    name: "insecure-seed",
    signature: "(param i32)",
};
const LOG: Function<'_> = Function {
    interface: "dormouse:agent/log@0.1.0",
    items: r#"(type $l (enum "trace" "debug" "info" "warn" "error"))
        (export "level" (type $level (eq $l)))
        (export "log" (func (param "level" $level) (param "message" string)
          (param "fields" (list (tuple string string)))))"#,
    name: "log",
    signature: "(param i32 i32 i32 i32 i32)",
};
pub(super) const TEXT: Function<'_> = Function {
    interface: "dormouse:agent/output@0.1.0",
    items: r#"(type $e (variant (case "too-large" u64) (case "invalid" string)))
        (export "error" (type $error (eq $e)))
        (export "text" (func (param "delta" string) (result (result (error $error)))))"#,
    name: "text",
    signature: "(param i32 i32 i32)",
};

/// One function of an interface that has more by now, as a component from before the others has it.
const ID: Function<'_> = Function {
    interface: "dormouse:agent/session@0.1.0",
    items: r#"(export "get-id" (func (result string)))"#,
    name: "get-id",
    signature: "(param i32)",
};

/// A function of the host.
pub(super) struct Function<'a> {
    pub(super) interface: &'a str,
    pub(super) items: &'a str,
    pub(super) name: &'a str,
    pub(super) signature: &'a str,
}

/// An agent that calls a function of the host as `$f`. What it hands over lies in a memory of its own.
pub(super) fn calling(function: &Function<'_>, body: &str) -> Vec<u8> {
    let Function { interface, items, name, signature } = function;
    let outer = format!(
        r#"(import "{interface}" (instance $host {items}))
           (core module $shared
             (memory (export "memory") 40)
             (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
           (core instance $shared (instantiate $shared))
           (core func $f (canon lower (func $host "{name}") (memory (core memory $shared "memory"))
             (realloc (core func $shared "realloc"))))"#
    );
    let with = r#"(with "host" (instance (export "f" (func $f))))"#;
    let imports = format!(r#"(import "host" "f" (func $f {signature}))"#);
    agent::component(Parts { outer: &outer, with, imports: &imports, body, ..Parts::default() })
}

async fn report(function: &Function<'_>, body: &str, fuel: u64) -> GuestResult {
    let code = code(calling(function, body)).await;
    code.try_out(grant()).await.expect("it starts").run(call(fuel), world()).await
}

#[tokio::test]
async fn random_bytes_cost_their_number_and_too_many_are_refused_unmade() {
    const FUEL: u64 = 100_000_000;
    let some = |count: u64| format!("(call $f (i64.const {count}) (i32.const 8))");
    let one = report(&RANDOM, &some(1), FUEL).await;
    let many = report(&RANDOM, &some(1 << 20), FUEL).await;
    assert_eq!((&one.answer.is_ok(), &many.answer.is_ok()), (&true, &true));
    assert!(
        many.trace.fuel - one.trace.fuel >= (1 << 20) - 1,
        "{} {}",
        one.trace.fuel,
        many.trace.fuel
    );

    let short = report(&RANDOM, &some(1 << 20), 1 << 20).await;
    assert_eq!((short.answer, short.trace.fuel), (Err(Fault::FuelExhausted), 1 << 20));
    for count in [(1 << 20) + 1, u64::MAX >> 1] {
        let refused = report(&RANDOM, &some(count), FUEL).await;
        let Err(Fault::Trapped(why)) = refused.answer else { panic!("{refused:?}") };
        assert!(why.contains("random bytes at once; 1048576 may be"), "{why}");
        assert!(refused.trace.fuel < 10_000, "{}", refused.trace.fuel);
    }
}

#[tokio::test]
async fn a_component_from_before_a_function_was_added_to_an_interface_runs_as_it_did() {
    let before = report(&ID, "(call $f (i32.const 8))", 1_000_000).await;
    assert!(before.answer.is_ok(), "{:?}", before.answer);
}

#[tokio::test]
async fn a_loop_around_a_call_of_the_host_makes_room_for_others_as_often_as_any_other() {
    const FUEL: u64 = 50_000_000;
    let seed = calling(&SEED, "(loop (call $f (i32.const 8)) br 0)");
    let random = calling(&RANDOM, "(loop (call $f (i64.const 1048576) (i32.const 8)) br 0)");
    for (component, least) in [(agent::doing("(loop br 0)"), 45), (seed, 22), (random, 22)] {
        let code = code(component).await;
        let mut instance = code.try_out(grant()).await.expect("it starts");
        let mut run = pin!(instance.run(call(FUEL), world()));
        let mut context = Context::from_waker(Waker::noop());
        let mut yields = 0;
        let report = loop {
            match run.as_mut().poll(&mut context) {
                Poll::Pending => yields += 1,
                Poll::Ready(report) => break report,
            }
        };
        assert_eq!((report.answer, report.trace.fuel), (Err(Fault::FuelExhausted), FUEL));
        assert!(yields >= least, "{yields} times");
    }
}

#[tokio::test]
async fn of_a_line_of_the_log_only_what_may_be_kept_is_read_and_all_of_it_is_paid_for() {
    const FUEL: u64 = 100_000_000;
    let log = |message: u64, fields: u64| {
        format!(
            "(call $f (i32.const 2) (i32.const 0) (i32.const {message})
               (i32.const 0) (i32.const {fields}))"
        )
    };
    let lines = |log: &[LogLine]| {
        let sizes = log.iter().map(|line| (line.message.len(), line.fields.len()));
        sizes.collect::<Vec<_>>()
    };
    let short = report(&LOG, &log(100, 3), FUEL).await;
    assert_eq!((lines(&short.trace.log), short.trace.log_dropped), (vec![(100, 3)], 0));

    // Read to its bound, and cut.
    let long = report(&LOG, &log(1 << 20, 0), FUEL).await;
    assert_eq!(
        (lines(&long.trace.log), long.trace.log_dropped),
        (vec![(8_192, 0)], (1 << 20) - 8_192)
    );
    assert!(long.trace.fuel > 1 << 20, "{}", long.trace.fuel);

    // Not read at all.
    let longer = report(&LOG, &log((1 << 20) + 1, 0), FUEL).await;
    assert_eq!((lines(&longer.trace.log), longer.trace.log_dropped), (vec![(0, 0)], (1 << 20) + 1));
    assert!(longer.trace.fuel < 10_000, "{}", longer.trace.fuel);

    let fields = SHARED / 16;
    let many = report(&LOG, &log(0, fields), FUEL).await;
    let [(0, kept)] = lines(&many.trace.log)[..] else { panic!("{:?}", many.trace.log) };
    assert_eq!((kept, many.trace.log_dropped), (8_192 / 32, 0));
    assert!(many.trace.fuel > 50 * fields, "{}", many.trace.fuel);
}

#[tokio::test]
async fn what_a_turn_streams_is_paid_for_in_fuel_and_in_memory_and_refused_unread_where_it_is_too_much()
 {
    const FUEL: u64 = 100_000_000;
    let text = |count: u64| format!("(call $f (i32.const 0) (i32.const {count}) (i32.const 8))");
    // It keeps the instance, the first image of it and what is streamed, but not half of that again.
    let held = async |count: u64| {
        let budget = MemoryBudget::new(1 << 30);
        let sandbox = Sandbox::new(options(&budget)).expect("a sandbox");
        let component = Bytes::from(calling(&TEXT, &text(count)));
        let prepared = sandbox.prepare(component, None).await.expect("it is taken");
        let mut instance = prepared.code.try_out(grant()).await.expect("it starts");
        let before = budget.used();
        let report = instance.run(call(FUEL), world()).await;
        assert!(report.answer.is_ok(), "{:?}", report.answer);
        let held = budget.used() - before;
        instance.rest();
        assert!(budget.used() <= before, "it rests");
        (held, report.trace.fuel)
    };
    let (little, cheap) = held(1).await;
    let (much, dear) = held(1 << 19).await;
    assert!(little < 1_000 && much > 1 << 19, "{little} {much}");
    assert!(dear - cheap > 1 << 18, "{cheap} {dear}");
    let (refused, unread) = held(1 << 21).await;
    assert!(refused < 1_000 && unread < cheap, "{refused} {unread} {cheap}");
}

#[tokio::test]
async fn a_reply_is_paid_for_by_its_bytes() {
    const FUEL: u64 = 100_000_000;
    // One part of zeros at 2048: its kind, where it is and how long it is.
    let replying = |kind: u32, length: u32| {
        agent::doing(&format!(
            "(i32.store (i32.const 64) (i32.const {kind}))
             (i32.store (i32.const 68) (i32.const 2048))
             (i32.store (i32.const 72) (i32.const {length}))
             (i32.store (i32.const 12) (i32.const 64))
             (i32.store (i32.const 16) (i32.const 1))"
        ))
    };
    let mut used = Vec::new();
    for (kind, length) in [(0, 0), (0, 60_000), (1, 60_000)] {
        let code = code(replying(kind, length)).await;
        let mut instance = code.try_out(grant()).await.expect("it starts");
        let report = instance.run(call(FUEL), world()).await;
        assert_eq!(report.answer.is_ok(), kind == 0, "zeros are no JSON: {:?}", report.answer);
        used.push(report.trace.fuel);
        let mut instance = code.try_out(grant()).await.expect("it starts");
        let short = instance.run(call(report.trace.fuel - 1), world()).await;
        assert_eq!(short.answer, Err(Fault::FuelExhausted));
    }
    let [nothing, text, json] = used[..] else { unreachable!() };
    assert_eq!((text - nothing, json - nothing), (60_000, 8 * 60_000));
}
