//! The arithmetic of the accounts: one by one, and whatever happens in whatever order.

use proptest::prelude::*;

use super::*;
use dormouse_base::memory::MemoryBudget;

const PAGE: usize = 65_536;

fn limiter(limit: u64, budget: &MemoryBudget) -> Limiter {
    Limiter::new(limit, budget.account())
}

fn grow(limiter: &mut Limiter, from: usize, to: usize) -> bool {
    limiter.memory_growing(from, to, None).expect("no trap")
}

#[test]
fn all_memories_and_tables_count_together() {
    let budget = MemoryBudget::new(1 << 30);
    let mut limiter = limiter(200_000, &budget);
    assert!(grow(&mut limiter, 0, PAGE));
    assert!(grow(&mut limiter, 0, PAGE));
    assert!(limiter.table_growing(0, 1_000, None).expect("no trap"));
    assert_eq!(limiter.held(), 2 * 65_536 + 8_000);
    assert_eq!(budget.used(), limiter.held() + OVERHEAD);
    assert!(!grow(&mut limiter, PAGE, 2 * PAGE));
    assert!(matches!(limiter.fault(), Some(Fault::MemoryExceeded { limit: 200_000 })));
    drop(limiter);
    assert_eq!(budget.used(), 0);
}

#[test]
fn the_budget_of_the_host_denies_what_the_limit_allows() {
    let budget = MemoryBudget::new(100_000 + OVERHEAD);
    let mut limiter = limiter(1 << 30, &budget);
    assert!(grow(&mut limiter, 0, PAGE));
    let denied = limiter.memory_growing(PAGE, 2 * PAGE, None);
    assert!(denied.is_err(), "the guest never sees that the host is short of memory");
    let needed = 2 * 65_536 + OVERHEAD;
    assert_eq!(limiter.fault(), Some(Fault::HostOutOfMemory { needed }));
    limiter.forget_denials();
    assert!(limiter.fault().is_none());
}

#[test]
fn a_growth_that_failed_after_all_is_not_held_and_is_charged_once() {
    let budget = MemoryBudget::new(1 << 30);
    let mut limiter = limiter(1 << 30, &budget);
    assert!(grow(&mut limiter, 0, PAGE));
    let bound = wasmtime::Error::msg("Memory maximum size exceeded");
    limiter.memory_grow_failed(bound).expect("no trap");
    assert_eq!(limiter.held(), 0);
    assert!(grow(&mut limiter, 0, PAGE));
    assert_eq!(budget.used(), 65_536 + OVERHEAD);
}

#[test]
fn a_growth_for_which_the_system_has_no_memory_ends_the_call() {
    let budget = MemoryBudget::new(1 << 30);
    let mut limiter = limiter(1 << 30, &budget);
    assert!(grow(&mut limiter, 0, PAGE));
    let failed = limiter.memory_grow_failed(wasmtime::Error::msg("Cannot allocate memory"));
    assert!(failed.is_err());
    let needed = 65_536 + OVERHEAD;
    assert_eq!(limiter.fault(), Some(Fault::HostOutOfMemory { needed }));
}

#[test]
fn what_was_reserved_for_growths_stays_when_buffers_are_given_back() {
    let budget = MemoryBudget::new(1 << 20);
    let mut account = budget.account();
    account.charge(20 * 65_536 / 2).expect("it fits");
    let mut limiter = Limiter::new(1 << 30, account);
    assert!(grow(&mut limiter, 0, PAGE));
    limiter.hold(200_000).expect("it is reserved");
    limiter.keep(0);
    assert_eq!(budget.used(), 10 * 65_536);
    limiter.rest();
    assert_eq!(budget.used(), 65_536 + OVERHEAD);
}

#[test]
fn one_instance_at_a_time_that_cannot_be_made_again_grows_over_the_budget() {
    let budget = MemoryBudget::new(2 * (65_536 + OVERHEAD));
    let (mut one, mut other) = (limiter(1 << 30, &budget), limiter(1 << 30, &budget));
    for limiter in [&mut one, &mut other] {
        assert!(grow(limiter, 0, PAGE));
        limiter.keep_at_any_price();
    }
    assert!(grow(&mut one, PAGE, 3 * PAGE));
    assert!(grow(&mut one, 3 * PAGE, 4 * PAGE));
    assert!(other.memory_growing(PAGE, 2 * PAGE, None).is_err());
    one.rest();
    drop(one);
    other.forget_denials();
    assert!(grow(&mut other, PAGE, 2 * PAGE));
}

#[test]
fn an_instance_that_rests_pays_for_what_it_holds_and_in_full_before_it_is_called() {
    let budget = MemoryBudget::new(1 << 20);
    let mut one = limiter(1 << 30, &budget);
    assert!(grow(&mut one, 0, 10 * PAGE));
    one.rest();
    assert_eq!(budget.used(), 10 * 65_536 + OVERHEAD, "nobody has measured it");
    one.note_present(8_192);
    one.rest();
    assert_eq!(budget.used(), 8_192 + OVERHEAD);
    assert!(!one.is_awake());

    let mut other = limiter(1 << 30, &budget);
    assert!(grow(&mut other, 0, 10 * PAGE));
    assert!(one.wake().is_err());
    assert_eq!(budget.used(), 8_192 + 10 * 65_536 + 2 * OVERHEAD, "it goes on paying");
    drop(other);
    one.wake().expect("there is memory again");
    assert!(one.is_awake() && !one.is_measured());
    assert_eq!(budget.used(), 10 * 65_536 + OVERHEAD);
}

#[derive(Clone, Debug)]
enum Step {
    Make,
    Grow(usize, usize),
    GrowthFails(usize),
    Hold(usize, u64),
    Overdraw(usize, u64),
    Keep(usize, u64),
    Detach(usize),
    Park(usize, u64),
    Take(usize),
    Drop(usize),
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0usize..6;
    prop_oneof![
        2 => Just(Step::Make),
        4 => (which.clone(), 0usize..12).prop_map(|(n, pages)| Step::Grow(n, pages)),
        1 => which.clone().prop_map(Step::GrowthFails),
        2 => (which.clone(), 0u64..400_000).prop_map(|(n, bytes)| Step::Hold(n, bytes)),
        1 => (which.clone(), 0u64..400_000).prop_map(|(n, bytes)| Step::Overdraw(n, bytes)),
        1 => (which.clone(), 0u64..400_000).prop_map(|(n, bytes)| Step::Keep(n, bytes)),
        1 => which.clone().prop_map(Step::Detach),
        3 => (which.clone(), 0u64..2_000_000).prop_map(|(n, bytes)| Step::Park(n, bytes)),
        3 => which.clone().prop_map(Step::Take),
        1 => which.clone().prop_map(Step::Drop),
        1 => which.prop_map(Step::Forget),
    ]
}

proptest! {
    #[test]
    fn the_budget_is_the_sum_of_all_accounts_whatever_happens(
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let budget = MemoryBudget::new(2 << 20);
        let mut all: Vec<Limiter> = Vec::new();
        let mut detached: Vec<Account> = Vec::new();
        let mut over = 0;
        for step in steps {
            match step {
                Step::Make => all.push(limiter(1 << 20, &budget)),
                // A guest runs only while its instance pays in full.
                Step::Grow(n, pages) => if let Some(one) = all.get_mut(n) && one.wake().is_ok() {
                    // An error ends the call, and changes nothing.
                    let _ = one.memory_growing(0, pages * PAGE, None);
                },
                Step::GrowthFails(n) => if let Some(one) = all.get_mut(n)
                    && one.wake().is_ok()
                    && matches!(one.memory_growing(0, PAGE, None), Ok(true))
                {
                    one.grow_failed();
                },
                Step::Hold(n, bytes) => if let Some(one) = all.get_mut(n) {
                    let before = one.buffers;
                    let held = one.hold(bytes).is_ok();
                    prop_assert_eq!(one.buffers, if held { before.max(bytes) } else { before });
                },
                Step::Overdraw(n, bytes) => if let Some(one) = all.get_mut(n) {
                    let before = budget.used();
                    one.set_overdraft(true);
                    prop_assert!(one.hold(bytes).is_ok());
                    one.set_overdraft(false);
                    over += budget.used() - before;
                },
                Step::Keep(n, bytes) => if let Some(one) = all.get_mut(n) {
                    one.keep(bytes);
                },
                Step::Detach(n) => if let Some(one) = all.get_mut(n) {
                    detached.push(one.detach());
                },
                Step::Park(n, bytes) => if let Some(one) = all.get_mut(n) {
                    one.note_present(bytes);
                    one.rest();
                    let least = bytes.min(one.grown.memories) + one.grown.tables;
                    prop_assert!(one.account.held() <= least + OVERHEAD);
                },
                Step::Take(n) => if let Some(one) = all.get_mut(n) {
                    prop_assert_eq!(one.wake().is_ok(), one.is_awake());
                },
                Step::Drop(n) if n < all.len() => drop(all.swap_remove(n)),
                Step::Forget(n) if n < detached.len() => drop(detached.swap_remove(n)),
                Step::Drop(_) | Step::Forget(_) => {}
            }
            let sum = all.iter().map(|one| one.account.held()).sum::<u64>()
                + detached.iter().map(Account::held).sum::<u64>();
            prop_assert_eq!(budget.used(), sum);
            prop_assert!(sum <= budget.limit() + over);
        }
        drop((all, detached));
        prop_assert_eq!(budget.used(), 0);
    }
}
