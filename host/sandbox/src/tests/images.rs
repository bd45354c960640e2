//! Images: agents of odd shapes that know nothing of sleeping sleep after each turn, and answer as one
//! that never does.

use std::collections::HashMap;

use bytes::Bytes;

use super::agent::{self, Parts, assemble, component};
use super::{call, code, grant, options, sandbox, world};
use crate::engine;
use crate::memory::OVERHEAD;
use crate::snapshot::instrument;
use crate::{Code, Fault, Grant, Instance, Sandbox, Saved};
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::agent::{Digest, StartRandomness, Statefulness};
use dormouse_domain::snapshot::{Chunk, GuestState};
use dormouse_domain::turn::Part;

const FUEL: u64 = 100_000_000;
const TURNS: usize = 6;

/// Replies with a number of 64 bits, as a text of sixteen letters.
const TELL: &str = r#"
    (func $tell (param $n i64) (local $at i32)
      (loop
        (i32.store8 offset=512 (local.get $at)
          (i32.add (i32.const 65) (i32.and (i32.wrap_i64 (local.get $n)) (i32.const 15))))
        (local.set $n (i64.shr_u (local.get $n) (i64.const 4)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if 0 (i32.lt_u (local.get $at) (i32.const 16))))
      (i32.store (i32.const 604) (i32.const 512))
      (i32.store (i32.const 608) (i32.const 16))
      (i32.store (i32.const 12) (i32.const 600))
      (i32.store (i32.const 16) (i32.const 1)))"#;

/// An agent that answers with what this expression is.
fn telling(parts: Parts<'_>, expression: &str) -> Vec<u8> {
    assemble(&telling_text(parts, expression))
}

fn telling_text(parts: Parts<'_>, expression: &str) -> String {
    let inner = format!("{TELL} {}", parts.inner);
    let body = format!("(call $tell {expression})");
    agent::text(Parts { inner: &inner, body: &body, ..parts })
}

/// An agent that answers with what the function `bump` of the instance `$o` returns, which stands outside.
fn bumping(outer: &str) -> Vec<u8> {
    let parts = Parts {
        outer,
        with: r#"(with "o" (instance $o))"#,
        imports: r#"(import "o" "bump" (func $bump (result i64)))"#,
        ..Parts::default()
    };
    telling(parts, "(call $bump)")
}

async fn turn(instance: &mut Instance) -> (String, u64) {
    let report = instance.run(call(FUEL), world()).await;
    let answer = report.answer.expect("it answers");
    let [Part::Text(text)] = answer.content.as_slice() else { panic!("{answer:?}") };
    (text.clone(), report.trace.fuel)
}

async fn state(instance: &mut Instance) -> GuestState {
    match instance.save().await.expect("it is saved") {
        Saved::State(state) => state,
        other => panic!("{other:?}"),
    }
}

async fn woken(code: &Code, state: &GuestState) -> Instance {
    let mut instance = code.try_out(grant()).await.expect("it starts");
    instance.restore(state, FUEL).await.expect("it is restored");
    instance
}

/// What an image consists of.
fn image(state: GuestState) -> (Bytes, Vec<Chunk>) {
    match state {
        GuestState::Image { data, chunks } => (data, chunks),
        GuestState::Portable { .. } | GuestState::Nothing => panic!("no image"),
    }
}

async fn is_not_given_to_a_guest(code: &Code, state: GuestState) {
    let mut fresh = code.try_out(grant()).await.expect("it starts");
    let restored = fresh.restore(&state, FUEL).await;
    let refused = matches!(restored, Err(Fault::SnapshotUnusable(_) | Fault::SnapshotDamaged(_)));
    assert!(refused, "{restored:?}");
    let report = fresh.run(call(FUEL), world()).await;
    assert!(matches!(report.answer, Err(Fault::Host(_))), "it is poisoned: {report:?}");
    assert!(matches!(fresh.save().await, Err(Fault::Host(_))), "it is poisoned");
}

/// Both ways through some turns: answers, fuel and the last image are the same.
async fn sleeps_like_it_stays_awake(component: Vec<u8>) {
    let code = code(component).await;
    assert_eq!(code.statefulness(), Statefulness::Image);
    let mut awake = code.try_out(grant()).await.expect("it starts");
    let mut asleep: Option<GuestState> = None;
    let mut told = Vec::new();
    for number in 0..TURNS {
        let expected = turn(&mut awake).await;
        let mut instance = match &asleep {
            None => code.try_out(grant()).await.expect("it starts"),
            Some(state) => woken(&code, state).await,
        };
        assert_eq!(turn(&mut instance).await, expected, "turn {number}");
        asleep = Some(state(&mut instance).await);
        told.push(expected.0);
    }
    assert_eq!(asleep, Some(state(&mut awake).await));
    told.dedup();
    assert_eq!(told.len(), TURNS, "it has no state to speak of: {told:?}");
}

#[tokio::test]
async fn an_agent_with_memory_and_a_global_of_64_bits() {
    let inner = r#"
        (global $g (mut i64) (i64.const 5))
        (func $step (result i64)
          (global.set $g (i64.mul (global.get $g) (i64.const 0x100000001b3)))
          (i64.store (i32.const 40000) (i64.add (i64.load (i32.const 40000)) (global.get $g)))
          (i64.load (i32.const 40000)))"#;
    let component = telling(Parts { inner, ..Parts::default() }, "(call $step)");
    sleeps_like_it_stays_awake(component).await;
}

#[tokio::test]
async fn an_agent_that_uses_the_first_bytes_of_its_memory() {
    let inner = r#"
        (func $step (result i64)
          (i64.store (i32.const 0) (i64.add (i64.load (i32.const 0)) (i64.const 3)))
          (i64.load (i32.const 0)))"#;
    let component = telling(Parts { inner, ..Parts::default() }, "(call $step)");
    sleeps_like_it_stays_awake(component).await;
}

/// A module with state of all kinds, and a memory of this many pages.
fn other_module(pages: u32) -> String {
    format!(
        r#"(core module $other
          (memory {pages} 20)
          (global $f (mut f32) (f32.const 1.5))
          (global $d (mut f64) (f64.const 1.25))
          (global $i (mut i32) (i32.const -7))
          (global $constant i32 (i32.const 9))
          (func (export "bump") (result i64)
            (if (i32.eqz (i32.rem_s (global.get $i) (i32.const 3)))
              (then (drop (memory.grow (i32.const 2)))))
            (if (memory.size) (then
              (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 8))
                (global.get $i))))
            (global.set $f (f32.mul (global.get $f) (f32.const 1.1)))
            (global.set $d (f64.mul (global.get $d) (f64.const -1.2)))
            (global.set $i (i32.add (global.get $i) (i32.const 1)))
            (i64.add
              (i64.xor (i64.reinterpret_f64 (global.get $d))
                (i64.extend_i32_u (i32.reinterpret_f32 (global.get $f))))
              (i64.extend_i32_u (i32.mul (memory.size) (global.get $i))))))"#
    )
}

#[tokio::test]
async fn an_agent_of_several_core_modules_one_with_a_memory_of_no_pages_that_grows() {
    for pages in [0, 1] {
        let outer = format!("{} (core instance $o (instantiate $other))", other_module(pages));
        sleeps_like_it_stays_awake(bumping(&outer)).await;
    }
}

#[tokio::test]
async fn an_agent_whose_memory_stays_without_a_page() {
    let outer = r#"
        (core module $other (memory 0) (global $g (mut i64) (i64.const 0))
          (func (export "bump") (result i64)
            (global.set $g (i64.add (global.get $g) (i64.const 1))) (global.get $g)))
        (core instance $o (instantiate $other))"#;
    sleeps_like_it_stays_awake(bumping(outer)).await;
}

#[tokio::test]
async fn an_agent_of_nested_components_one_of_them_instantiated_twice() {
    let middle = format!(
        r#"(component $middle
          (component $inner
            {}
            (core instance $o (instantiate $other))
            (func $bump (result u64) (canon lift (core func $o "bump")))
            (export "bump" (func $bump)))
          (core module $own (global $g (mut i64) (i64.const 1))
            (func (export "bump") (result i64)
              (global.set $g (i64.mul (global.get $g) (i64.const 3))) (global.get $g)))
          (core instance $o (instantiate $own))
          (func $bump (result u64) (canon lift (core func $o "bump")))
          (instance $x (instantiate $inner))
          (instance $y (instantiate $inner))
          (alias export $x "bump" (func $x-bump))
          (alias export $y "bump" (func $y-bump))
          (export "own" (func $bump))
          (export "x" (func $x-bump))
          (export "y" (func $y-bump)))"#,
        other_module(1)
    );
    let parts = Parts {
        outer: r#"
            (import "own" (func $n-own (result u64)))
            (import "x" (func $n-x (result u64)))
            (import "y" (func $n-y (result u64)))
            (core func $own (canon lower (func $n-own)))
            (core func $x (canon lower (func $n-x)))
            (core func $y (canon lower (func $n-y)))"#,
        with: r#"(with "n" (instance
            (export "own" (func $own)) (export "x" (func $x)) (export "y" (func $y))))"#,
        imports: r#"(import "n" "own" (func $own (result i64)))
            (import "n" "x" (func $x (result i64)))
            (import "n" "y" (func $y (result i64)))"#,
        ..Parts::default()
    };
    let expression = "(i64.add (call $own) (i64.add (call $x)
        (i64.mul (call $y) (i64.add (call $y) (i64.const 11)))))";
    let agent = telling_text(parts, expression);
    // No component may call into those inside it, but one beside it.
    sleeps_like_it_stays_awake(assemble(&format!(
        r#"(component
          {middle}
          {agent}
          (instance $n (instantiate $middle))
          (alias export $n "own" (func $own))
          (alias export $n "x" (func $x))
          (alias export $n "y" (func $y))
          (instance $a (instantiate $agent
            (with "own" (func $own)) (with "x" (func $x)) (with "y" (func $y))))
          (alias export $a "dormouse:agent/handler@0.1.0" (instance $h))
          (export "dormouse:agent/handler@0.1.0" (instance $h)))"#
    )))
    .await;
}

/// What runs the function `_initialize` of the other module while the agent is instantiated.
const INITIALIZE: &str = r#"
    (core instance $o (instantiate $other (with "h" (instance (export "ask" (func $ask))))))
    (core module $starter (import "o" "_initialize" (func $f)) (start $f))
    (core instance (instantiate $starter (with "o" (instance $o))))"#;

#[tokio::test]
async fn an_agent_that_is_initialized() {
    let outer = r#"
        (core module $other (memory 1) (global $g (mut i64) (i64.const 0))
          (func (export "_initialize")
            (global.set $g (i64.const 1000))
            (memory.fill (i32.const 5000) (i32.const 7) (i32.const 30000)))
          (func (export "bump") (result i64)
            (i64.store (i32.const 20000) (i64.add (i64.load (i32.const 20000)) (global.get $g)))
            (i64.load (i32.const 20000))))
        (core instance $o (instantiate $other))
        (core module $starter (import "o" "_initialize" (func $f)) (start $f))
        (core instance (instantiate $starter (with "o" (instance $o))))"#;
    sleeps_like_it_stays_awake(bumping(outer)).await;
}

#[tokio::test]
async fn an_agent_that_asks_the_host_while_it_starts_starts_alike_everywhere() {
    let outer = format!(
        r#"(import "wasi:random/random@0.2.0"
             (instance $random (export "get-random-u64" (func (result u64)))))
        (core func $ask (canon lower (func $random "get-random-u64")))
        (core module $other (import "h" "ask" (func $ask (result i64)))
          (memory 1)
          (func (export "_initialize")
            (i64.store (i32.const 16) (call $ask))
            (i64.store (i32.const 24) (call $ask)))
          (func (export "first") (result i64) (i64.load (i32.const 16)))
          (func (export "bump") (result i64)
            (i64.store (i32.const 24) (i64.add (i64.load (i32.const 24)) (call $ask)))
            (i64.load (i32.const 24))))
        {INITIALIZE}"#
    );
    let parts = Parts {
        outer: &outer,
        with: r#"(with "o" (instance $o))"#,
        imports: r#"(import "o" "bump" (func $bump (result i64)))
            (import "o" "first" (func $first (result i64)))"#,
        ..Parts::default()
    };
    // In its turns it draws from the stream of the turn. What it drew at its start is the same in all
    // sessions.
    let code = code(telling(parts, "(i64.add (call $bump) (call $first))")).await;
    assert_eq!(code.statefulness(), Statefulness::Image);
    let first = code.try_out(grant()).await.expect("it starts");
    assert!(first.has_drawn_alike());
    assert_eq!(code.info().start_randomness, StartRandomness::Shared);
    let mut asked = Vec::new();
    for seed in [1, 1, 2] {
        let grant = Grant { seed: [seed; 32], ..grant() };
        let mut instance = code.try_out(grant).await.expect("it starts");
        asked.push(turn(&mut instance).await);
        let state = state(&mut instance).await;
        let grant = Grant { seed: [seed; 32], ..self::grant() };
        let mut again = code.try_out(grant).await.expect("it starts");
        again.restore(&state, FUEL).await.expect("it is restored");
        assert_eq!(turn(&mut again).await, turn(&mut instance).await);
    }
    assert_eq!(asked[0], asked[1]);
    assert_ne!(asked[0], asked[2]);
}

/// A module that answers for WASI in the component itself, and traps.
const STUB: &str = r#"
    (core module $stubs
      (func (export "get-stdout") (result i32) unreachable)
      (func (export "get-stderr") (result i32) unreachable))
    (core instance $stub (instantiate $stubs))"#;

#[tokio::test]
async fn an_agent_whose_streams_are_stubs_that_trap() {
    let parts = Parts {
        outer: STUB,
        with: r#"(with "wasi:cli/stdout@0.2.0" (instance $stub))
            (with "wasi:cli/stderr@0.2.0" (instance $stub))"#,
        imports: r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $out (result i32)))
            (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $err (result i32)))"#,
        inner: "(global $count (mut i64) (i64.const 0))",
        ..Parts::default()
    };
    let counts =
        "(global.set $count (i64.add (global.get $count) (i64.const 1))) (global.get $count)";
    sleeps_like_it_stays_awake(telling(parts, counts)).await;
}

#[tokio::test]
async fn an_agent_one_module_of_which_has_stubs_and_another_the_streams_of_the_host() {
    let outer = format!(
        r#"{STUB}
        (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
        (alias export $error "error" (type $error))
        (import "wasi:io/streams@0.2.0" (instance $streams
          (alias outer 1 $error (type $e))
          (export "output-stream" (type (sub resource)))))
        (alias export $streams "output-stream" (type $stream))
        (import "wasi:cli/stdout@0.2.0" (instance $stdout
          (alias outer 1 $stream (type $s))
          (export "output-stream" (type $o (eq $s)))
          (export "get-stdout" (func (result (own $o))))))
        (core func $get (canon lower (func $stdout "get-stdout")))
        (core module $other (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $get (result i32)))
          (func (export "get") (result i64) (i64.extend_i32_u (call $get))))
        (core instance $o (instantiate $other
          (with "wasi:cli/stdout@0.2.0" (instance (export "get-stdout" (func $get))))))"#
    );
    let parts = Parts {
        outer: &outer,
        with: r#"(with "wasi:cli/stdout@0.2.0" (instance $stub)) (with "o" (instance $o))"#,
        imports: r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $out (result i32)))
            (import "o" "get" (func $get (result i64)))"#,
        inner: "(global $count (mut i64) (i64.const 0))",
        ..Parts::default()
    };
    // The handle is that of the start, in each turn and after each sleep.
    let asks = "(global.set $count (i64.add (global.get $count) (i64.const 1000)))
        (i64.add (call $get) (global.get $count))";
    sleeps_like_it_stays_awake(telling(parts, asks)).await;
}

const POLLABLE: &str = r#"
    (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
      (alias outer 1 $pollable (type $p))
      (export "pollable" (type $q (eq $p)))
      (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))
    (core func $subscribe (canon lower (func $clock "subscribe-duration")))
    (core func $drop (canon resource.drop $pollable))"#;

#[tokio::test]
async fn a_guest_that_holds_something_open_is_saved_once_it_is_closed() {
    let parts = Parts {
        outer: POLLABLE,
        with: r#"(with "h" (instance
            (export "subscribe" (func $subscribe)) (export "drop" (func $drop))))"#,
        imports: r#"(import "h" "subscribe" (func $subscribe (param i64) (result i32)))
            (import "h" "drop" (func $drop (param i32)))"#,
        inner: r#"(global $turn (mut i32) (i32.const 0)) (global $held (mut i32) (i32.const 0))
            (func $step (result i64)
              (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
              (if (i32.eq (global.get $turn) (i32.const 2))
                (then (global.set $held (call $subscribe (i64.const 1)))))
              (if (i32.eq (global.get $turn) (i32.const 4))
                (then (call $drop (global.get $held)) (global.set $held (i32.const 0))))
              (i64.extend_i32_u (global.get $turn)))"#,
        ..Parts::default()
    };
    let code = code(telling(parts, "(call $step)")).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    let held = Saved::Held("it holds open: a pollable".to_owned());
    turn(&mut instance).await;
    let first = state(&mut instance).await;
    for _ in 0..2 {
        turn(&mut instance).await;
        assert_eq!(instance.save().await, Ok(held.clone()));
    }
    turn(&mut instance).await;
    let last = state(&mut instance).await;
    assert_eq!(turn(&mut woken(&code, &first).await).await.0, "CAAAAAAAAAAAAAAA");
    assert_eq!(turn(&mut woken(&code, &last).await).await.0, "FAAAAAAAAAAAAAAA");
}

#[tokio::test]
async fn a_turn_that_spent_its_last_fuel_is_saved() {
    let inner = r#"(global $g (mut i64) (i64.const 5))
        (func $step (result i64)
          (global.set $g (i64.add (global.get $g) (i64.const 1))) (global.get $g))"#;
    let code = code(telling(Parts { inner, ..Parts::default() }, "(call $step)")).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    let (_, fuel) = turn(&mut instance).await;
    let report = instance.run(call(fuel), world()).await;
    assert!(report.answer.is_ok());
    assert_eq!(report.trace.fuel, fuel);
    let state = state(&mut instance).await;
    let mut again = woken(&code, &state).await;
    assert_eq!(turn(&mut again).await, turn(&mut instance).await);
}

#[tokio::test]
async fn what_was_changed_is_never_given_to_a_guest() {
    let inner = r#"(func $step (result i64)
          (i64.store (i32.const 40000) (i64.add (i64.load (i32.const 40000)) (i64.const 77)))
          (i64.load (i32.const 40000)))"#;
    let code = code(telling(Parts { inner, ..Parts::default() }, "(call $step)")).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    turn(&mut instance).await;
    let (data, chunks) = image(state(&mut instance).await);
    assert_eq!(chunks, []);
    for at in 0..data.len() {
        let mut changed = data.to_vec();
        changed[at] ^= 1 << (at % 8);
        for data in [changed, data[..at].to_vec()] {
            let data = Bytes::from(data);
            is_not_given_to_a_guest(&code, GuestState::Image { data, chunks: Vec::new() }).await;
        }
    }
}

/// An agent with 2 MiB of memory. In its first turn it fills half of it with numbers that hardly
/// compress, and in each turn it changes one of them.
fn large() -> Vec<u8> {
    let outer = r#"(core module $other (memory 32)
        (global $turn (mut i32) (i32.const 0)) (global $n (mut i64) (i64.const 7))
        (func $next (result i64)
          (global.set $n (i64.add (i64.mul (global.get $n) (i64.const 6364136223846793005))
            (i64.const 1442695040888963407)))
          (i64.xor (global.get $n) (i64.shr_u (global.get $n) (i64.const 29))))
        (func (export "bump") (result i64) (local $at i32)
          (if (i32.eqz (global.get $turn)) (then (loop
            (i64.store offset=65536 (local.get $at) (call $next))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if 0 (i32.lt_u (local.get $at) (i32.const 1048576))))))
          (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
          (local.set $at (i32.mul (global.get $turn) (i32.const 70000)))
          (i64.store offset=65536 (local.get $at)
            (i64.add (i64.load offset=65536 (local.get $at)) (i64.const 1)))
          (i64.load offset=65536 (local.get $at))))
      (core instance $o (instantiate $other))"#;
    bumping(outer)
}

/// What a store hands out: the chunks of this image with their data, some of which it had before.
fn stored(state: GuestState, store: &mut HashMap<Digest, Bytes>) -> GuestState {
    let (data, mut chunks) = image(state);
    for chunk in &mut chunks {
        match &chunk.data {
            Some(data) => {
                assert_eq!(u32::try_from(data.len()), Ok(chunk.size));
                store.insert(chunk.digest, data.clone());
            }
            None => chunk.data = Some(store[&chunk.digest].clone()),
        }
    }
    GuestState::Image { data, chunks }
}

/// How many chunks there are, and how many of them are new.
fn counted(state: &GuestState) -> (usize, usize) {
    let (_, chunks) = image(state.clone());
    (chunks.len(), chunks.iter().filter(|chunk| chunk.data.is_some()).count())
}

#[tokio::test]
async fn a_large_image_is_cut_into_chunks_and_only_those_that_changed_are_saved_again() {
    let code = code(large()).await;
    let mut store = HashMap::new();
    let mut awake = code.try_out(grant()).await.expect("it starts");
    turn(&mut awake).await;
    let first = state(&mut awake).await;
    assert_eq!(counted(&first), (16, 16));
    let size = first.size();
    assert!(size > 1 << 20 && size < 17 << 16, "{size} bytes");
    let first = stored(first, &mut store);

    // While it stays awake, and nothing happened at all.
    assert_eq!(counted(&state(&mut awake).await), (16, 0));
    turn(&mut awake).await;
    let second = state(&mut awake).await;
    assert_eq!(counted(&second), (16, 1));
    assert!(second.size().abs_diff(size) < 100, "{} bytes", second.size());

    // After a wake.
    let mut woken = woken(&code, &first).await;
    assert_eq!(counted(&state(&mut woken).await), (16, 0));
    turn(&mut woken).await;
    let again = state(&mut woken).await;
    assert_eq!(counted(&again), (16, 1));
    let again = stored(again, &mut store);
    assert_eq!(again, stored(second, &mut store));
    assert_eq!(turn(&mut self::woken(&code, &again).await).await, turn(&mut awake).await);
    assert_eq!(store.len(), 17);
}

#[tokio::test]
async fn a_large_agent_sleeps_like_it_stays_awake() {
    let code = code(large()).await;
    let mut store = HashMap::new();
    let mut awake = code.try_out(grant()).await.expect("it starts");
    let mut asleep = None;
    for number in 0..TURNS {
        let expected = turn(&mut awake).await;
        let mut instance = match &asleep {
            None => code.try_out(grant()).await.expect("it starts"),
            Some(state) => woken(&code, state).await,
        };
        assert_eq!(turn(&mut instance).await, expected, "turn {number}");
        asleep = Some(stored(state(&mut instance).await, &mut store));
    }
    assert_eq!(asleep, Some(stored(state(&mut awake).await, &mut store)));
}

#[tokio::test]
async fn a_large_image_with_anything_wrong_is_never_given_to_a_guest() {
    let code = code(large()).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    turn(&mut instance).await;
    let (data, chunks) = image(state(&mut instance).await);
    let changed = |change: &dyn Fn(&mut Vec<Chunk>)| {
        let mut chunks = chunks.clone();
        change(&mut chunks);
        GuestState::Image { data: data.clone(), chunks }
    };
    let change_data = |chunk: &mut Chunk, change: &dyn Fn(&mut Vec<u8>)| {
        let mut data = chunk.data.clone().expect("it is new").to_vec();
        change(&mut data);
        chunk.data = Some(data.into());
    };

    // The image itself,
    for at in (0..data.len()).step_by(7) {
        let mut other = data.to_vec();
        other[at] ^= 1 << (at % 8);
        for data in [other, data[..at].to_vec()] {
            let (data, chunks) = (Bytes::from(data), chunks.clone());
            is_not_given_to_a_guest(&code, GuestState::Image { data, chunks }).await;
        }
    }
    // its list,
    let mut wrong = vec![
        changed(&|chunks| chunks.clear()),
        changed(&|chunks| chunks.truncate(15)),
        changed(&|chunks| drop(chunks.remove(0))),
        changed(&|chunks| chunks[3].data = None),
        changed(&|chunks| chunks[3].digest.0[5] ^= 1),
        changed(&|chunks| {
            let (one, other) = (chunks[0].data.clone(), chunks[15].data.clone());
            (chunks[0].data, chunks[15].data) = (other, one);
        }),
        changed(&|chunks| chunks[9].data = chunks[10].data.clone()),
        changed(&|chunks| chunks[9].data = Some(Bytes::new())),
    ];
    // and its chunks.
    let length = chunks[4].data.as_ref().expect("it is new").len();
    for at in [0, 1, 2, 5, 6, 9, 10, 11, length / 2, length - 1] {
        wrong.push(changed(&|chunks| change_data(&mut chunks[4], &|data| data[at] ^= 0x40)));
        wrong.push(changed(&|chunks| change_data(&mut chunks[4], &|data| data.truncate(at))));
    }
    wrong.push(changed(&|chunks| change_data(&mut chunks[15], &|data| data.push(0))));
    for state in wrong {
        is_not_given_to_a_guest(&code, state).await;
    }
    // In which order they come does not matter, nor that there are others.
    let other = Chunk { digest: Digest([0; 32]), size: 0, data: None };
    let well = changed(&|chunks| {
        chunks.reverse();
        chunks.push(other.clone());
    });
    assert_eq!(turn(&mut woken(&code, &well).await).await, turn(&mut instance).await);
}

#[tokio::test]
async fn a_missing_chunk_is_damage_by_name() {
    let code = code(large()).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    turn(&mut instance).await;
    let (data, mut chunks) = image(state(&mut instance).await);
    chunks.pop();
    let mut fresh = code.try_out(grant()).await.expect("it starts");
    let restored = fresh.restore(&GuestState::Image { data, chunks }, FUEL).await;
    let Err(Fault::SnapshotDamaged(why)) = restored else { panic!("{restored:?}") };
    assert!(why.contains("a chunk of it is missing"), "{why}");
}

#[tokio::test]
async fn an_image_that_shrinks_is_one_piece_again() {
    let outer = r#"(core module $other (memory 32) (global $turn (mut i32) (i32.const 0))
        (func (export "bump") (result i64)
          (global.set $turn (i32.add (global.get $turn) (i32.const 1)))
          (memory.fill (i32.const 100000)
            (select (i32.const 5) (i32.const 0) (i32.eq (global.get $turn) (i32.const 1)))
            (i32.const 1000000))
          (i64.extend_i32_u (global.get $turn))))
      (core instance $o (instantiate $other))"#;
    let code = code(bumping(outer)).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    turn(&mut instance).await;
    let first = state(&mut instance).await;
    // The ranges in between are all alike.
    assert_eq!(counted(&first), (3, 3));
    turn(&mut instance).await;
    for _ in 0..2 {
        let state = state(&mut instance).await;
        assert_eq!(counted(&state), (0, 0));
        assert!(state.size() < 200, "{} bytes", state.size());
    }
    assert_eq!(turn(&mut woken(&code, &first).await).await.0, "CAAAAAAAAAAAAAAA");
}

#[tokio::test]
async fn what_a_large_image_takes_is_charged_until_it_is_stored() {
    let budget = MemoryBudget::new(1 << 30);
    let sandbox = Sandbox::new(options(&budget)).expect("a sandbox");
    let code = sandbox.prepare(large().into(), None).await.expect("it is taken").code;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    turn(&mut instance).await;
    let before = budget.used();
    let size = state(&mut instance).await.size() as u64;
    assert!(budget.used() >= before + size, "{size} bytes");
    instance.stored();
    assert_eq!(budget.used(), before);
}

#[tokio::test]
async fn a_large_image_is_saved_over_the_budget_where_it_must_be_and_not_restored() {
    let budget = MemoryBudget::new(1 << 30);
    let sandbox = Sandbox::new(options(&budget)).expect("a sandbox");
    let code = sandbox.prepare(large().into(), None).await.expect("it is taken").code;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    turn(&mut instance).await;
    let state = state(&mut instance).await;
    instance.stored();
    turn(&mut instance).await;
    let mut others = budget.account();
    others.charge(budget.limit() - budget.used()).expect("it fits");
    assert_eq!(counted(&self::state(&mut instance).await), (16, 1));
    assert!(budget.used() > budget.limit());
    instance.stored();
    assert!(budget.used() <= budget.limit());
    drop(instance);
    let mut fresh = code.try_out(grant()).await.expect("it starts");
    others.charge(budget.limit() - budget.used()).expect("it fits");
    let denied = fresh.restore(&state, FUEL).await;
    assert!(matches!(denied, Err(Fault::HostOutOfMemory { .. })), "{denied:?}");
    drop((others, fresh));
    woken(&code, &state).await;
    // What is left is the first image of the agent.
    assert!((1..16_384).contains(&budget.used()), "{} bytes", budget.used());
    drop((code, sandbox));
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_save_finds_out_by_the_way_what_the_instance_really_holds() {
    let step = "(func $step (result i64) (i64.const 7))";
    let small = telling(Parts { inner: step, ..Parts::default() }, "(call $step)");
    for (component, most) in [(small, 64 << 10), (large(), 1200 << 10)] {
        let budget = MemoryBudget::new(1 << 30);
        let sandbox = Sandbox::new(options(&budget)).expect("a sandbox");
        let code = sandbox.prepare(component.into(), None).await.expect("it is taken").code;
        let mut instance = code.try_out(grant()).await.expect("it starts");
        turn(&mut instance).await;
        let awake = budget.used();
        // While it is cut, and when there is nothing that it would have to cut.
        for _ in 0..2 {
            instance.wake().expect("there is memory");
            state(&mut instance).await;
            instance.stored();
            assert_eq!(budget.used(), awake);
            instance.rest();
            let resting = budget.used();
            assert!(resting <= most + OVERHEAD || resting == awake, "{resting} of {awake}");
            instance.wake().expect("there is memory");
            instance.measure().await.expect("it is measured");
            instance.rest();
            assert_eq!(budget.used(), resting);
        }
    }
}

#[tokio::test]
async fn an_agent_with_more_globals_than_are_read_at_once() {
    // With and without a memory that they can be read with, and in a module beside another.
    for memory in ["(memory 1)", "(memory 0)", ""] {
        let count = 150;
        let globals: String = (0..count)
            .map(|number| format!("(global $g{number} (mut i64) (i64.const {number}))"))
            .collect();
        let bumps: String = (0..count)
            .map(|number| {
                let by = number * number + 1;
                format!(
                    "(global.set $g{number} (i64.add (global.get $g{number}) (i64.const {by})))
                    (local.set $sum (i64.mul (i64.xor (local.get $sum) (global.get $g{number}))
                      (i64.const 31)))"
                )
            })
            .collect();
        let outer = format!(
            r#"(component $middle
              (core module $other {memory} {globals}
                (func (export "bump") (result i64) (local $sum i64) {bumps} (local.get $sum)))
              (core instance $o (instantiate $other))
              (func $bump (result u64) (canon lift (core func $o "bump")))
              (export "bump" (func $bump)))"#
        );
        let parts = Parts {
            outer: r#"(import "bump" (func $n-bump (result u64)))
                (core func $bump (canon lower (func $n-bump)))"#,
            with: r#"(with "n" (instance (export "bump" (func $bump))))"#,
            imports: r#"(import "n" "bump" (func $bump (result i64)))"#,
            ..Parts::default()
        };
        let agent = telling_text(parts, "(call $bump)");
        sleeps_like_it_stays_awake(assemble(&format!(
            r#"(component
              {outer}
              {agent}
              (instance $n (instantiate $middle))
              (alias export $n "bump" (func $bump))
              (instance $a (instantiate $agent (with "bump" (func $bump))))
              (alias export $a "dormouse:agent/handler@0.1.0" (instance $h))
              (export "dormouse:agent/handler@0.1.0" (instance $h)))"#
        )))
        .await;
    }
}

#[tokio::test]
async fn an_image_does_not_fit_another_agent() {
    let agent = |step: u32| {
        let inner = format!(
            "(global $g (mut i64) (i64.const {step}))
             (func $step (result i64)
               (global.set $g (i64.add (global.get $g) (i64.const {step}))) (global.get $g))"
        );
        telling(Parts { inner: &inner, ..Parts::default() }, "(call $step)")
    };
    let (one, other) = (code(agent(1)).await, code(agent(2)).await);
    let mut instance = one.try_out(grant()).await.expect("it starts");
    turn(&mut instance).await;
    let state = state(&mut instance).await;
    let mut stranger = other.try_out(grant()).await.expect("it starts");
    let restored = stranger.restore(&state, FUEL).await;
    let Err(Fault::SnapshotUnusable(why)) = restored else { panic!("{restored:?}") };
    assert!(why.contains("does not start as it did"), "{why}");
}

#[tokio::test]
async fn an_image_that_needs_more_memory_than_is_granted_is_told_so() {
    let inner = "(func $step (result i64) (i64.extend_i32_u (memory.grow (i32.const 4))))";
    let code = code(telling(Parts { inner, ..Parts::default() }, "(call $step)")).await;
    let mut instance = code.try_out(grant()).await.expect("it starts");
    turn(&mut instance).await;
    let state = state(&mut instance).await;
    let small = Grant { max_memory_bytes: 2 * 65_536, ..grant() };
    let mut fresh = code.try_out(small).await.expect("it starts");
    let limit = 2 * 65_536;
    assert_eq!(fresh.restore(&state, FUEL).await, Err(Fault::MemoryExceeded { limit }));
}

#[tokio::test]
async fn a_state_that_the_agent_saved_itself_before_there_were_images_is_still_restored() {
    let guest = &dormouse_test_guests::TRAPS_WHEN_TOLD;
    let before = code(dormouse_test_guests::unimaged(guest).bytes.to_vec()).await;
    let now = code(guest.bytes.to_vec()).await;
    assert_eq!(now.statefulness(), Statefulness::Portable);
    let mut instance = before.try_out(grant()).await.expect("it starts");
    assert_eq!(turn(&mut instance).await.0, "turn 1: hello");
    let old = state(&mut instance).await;
    assert!(matches!(old, GuestState::Portable { .. }));
    let mut instance = woken(&now, &old).await;
    assert_eq!(turn(&mut instance).await.0, "turn 2: hello");
    let new = state(&mut instance).await;
    assert!(matches!(new, GuestState::Image { .. }));
    assert_eq!(turn(&mut woken(&now, &new).await).await.0, "turn 3: hello");
    let restored = before.try_out(grant()).await.expect("it starts").restore(&new, FUEL).await;
    assert!(matches!(restored, Err(Fault::SnapshotUnusable(_))));
}

#[tokio::test]
async fn a_component_with_state_out_of_reach_is_taken_and_told_why_it_cannot_sleep() {
    let inside = |inner: &str| component(Parts { inner, ..Parts::default() });
    let outside = |outer: &str| component(Parts { outer, ..Parts::default() });
    let refused = [
        (
            inside("(table $t 2 funcref) (func (table.set $t (i32.const 0) (ref.null func)))"),
            "table.set",
        ),
        (
            inside(
                "(table $t 2 funcref) (func (drop (table.grow $t (ref.null func) (i32.const 1))))",
            ),
            "table.grow",
        ),
        (inside("(data $d \"x\") (func (data.drop $d))"), "data.drop"),
        (inside("(global (mut funcref) (ref.null func))"), "funcref"),
        (inside("(global (mut v128) (v128.const i64x2 0 0))"), "v128"),
        (inside("(func (export \"dormouse:snapshot/m0\"))"), "reserved"),
        (
            outside("(type $r (resource (rep i32))) (core func (canon resource.new $r))"),
            "resource.new",
        ),
        (
            outside(
                "(core module $shared) (component $foreign (alias outer 1 $shared (core module $s))
                   (core instance (instantiate $s))) (instance (instantiate $foreign))",
            ),
            "not its own",
        ),
    ];
    for (component, reason) in refused {
        let prepared = sandbox().prepare(component.into(), None).await.expect("it is taken");
        let Statefulness::Unsaved(why) = &prepared.component.statefulness else {
            panic!("{reason}: {:?}", prepared.component.statefulness);
        };
        assert!(why.contains(reason), "{reason}: {why}");
        let mut instance = prepared.code.try_out(grant()).await.expect("it starts");
        assert!(instance.run(call(FUEL), world()).await.answer.is_ok());
        assert_eq!(instance.save().await, Ok(Saved::Never));
    }
}

#[tokio::test]
async fn what_is_never_instantiated_is_no_reason_to_refuse_a_component() {
    let outer = "(core module $unused (table $t 2 funcref)
        (func (table.set $t (i32.const 0) (ref.null func))))";
    let code = code(component(Parts { outer, ..Parts::default() })).await;
    assert_eq!(code.statefulness(), Statefulness::Image);
}

#[test]
fn no_component_however_damaged_makes_the_instrumentation_panic() {
    let features = engine::compiler().expect("an engine").get_wasm_features();
    let sound = [
        dormouse_test_guests::COUNTS_WITHOUT_SAVING.bytes.to_vec(),
        telling(
            Parts {
                outer: &format!("{} (core instance $o (instantiate $other))", other_module(0)),
                ..Parts::default()
            },
            "(i64.const 1)",
        ),
    ];
    // A simple generator is random enough here, and the same each time.
    let mut random = 7_u64;
    let mut next = |below: usize| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("31 bits") % below
    };
    for (component, rounds) in sound.iter().zip([100, 2_000]) {
        let instrumented = instrument(component, features).expect("it is sound");
        // It is a component of which an image could be taken already.
        assert!(instrument(&instrumented, features).is_err_and(|why| why.contains("reserved")));
        for _ in 0..rounds {
            let mut bytes = component.clone();
            for _ in 0..=next(4) {
                let place = next(bytes.len());
                bytes[place] = u8::try_from(next(256)).expect("a byte");
            }
            // Whatever comes of it.
            let _ = instrument(&bytes, features);
            let _ = instrument(&bytes[..next(bytes.len())], features);
        }
    }
    assert!(instrument(&assemble("(module)"), features).is_err());
    assert!(instrument(b"", features).is_err());
    assert!(instrument(&agent::doing(""), features).is_ok());
}
