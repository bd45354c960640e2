//! The engines: how guests are compiled, and where their memories lie.
//!
//! Two engines share one set of compile settings. Most agents run on the pool, where an instance
//! costs microseconds; those that the pool has no room for (many memories, huge tables) get memory
//! of their own, on demand. Everything a guest could use to notice one run from the next is fixed:
//! NaN bits and relaxed SIMD are canonical, and no limit that replays depends on time.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OperatorCost, OptLevel,
    PoolingAllocationConfig, VariableOperatorCost, WasmBacktraceDetails,
};

use super::SandboxError;

/// Stack of a guest's fiber. Host functions have what [`WASM_STACK`] leaves of it.
const ASYNC_STACK: usize = 1 << 20;
/// Stack that the guest itself may use: beyond it, it traps.
const WASM_STACK: usize = 512 << 10;
/// Address space kept for each memory: all that 32 bits can name, so that code need not check its
/// bounds. What a memory may grow to is a matter of limits. Two thousand of them are a sixteenth of
/// what a 64-bit processor has.
const MEMORY_RESERVATION: u64 = 4 << 30;
/// Address space behind each memory, for the constant offsets of loads and stores.
const MEMORY_GUARD: u64 = 32 << 20;

/// Pages of a memory that stay in place between two instances, in bytes.
const KEEP_RESIDENT: usize = 2 << 20;
/// The same for a table.
const TABLE_KEEP_RESIDENT: usize = 16 << 10;
/// Used slots that are kept for the next instance of the same agent.
const WARM_SLOTS: u32 = 64;
/// What one component may take of the pool. Components that need more get memory on demand.
const MEMORIES: u32 = 4;
const TABLES: u32 = 20;
const TABLE_ELEMENTS: usize = 60_000;
const CORE_INSTANCES: u32 = 200;
const INSTANCE_SIZE: usize = 4 << 20;
/// Tables and core instances in the pool for each instance: what ordinary components need.
const TABLES_EACH: u32 = 4;
const CORE_INSTANCES_EACH: u32 = 40;

/// The engines of one sandbox.
pub(super) struct Engines {
    /// For components that fit the pool.
    pub(super) pooled: Engine,
    /// For all others.
    pub(super) on_demand: Engine,
}

impl Engines {
    /// Engines for this many instances, none with more memory than this.
    pub(super) fn new(max_instances: u32, max_memory_bytes: u64) -> Result<Engines, SandboxError> {
        let mut pooled = config();
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(
            max_instances.max(1),
            max_memory_bytes,
        )));
        Ok(Engines { pooled: Engine::new(&pooled).map_err(engine_error)?, on_demand: compiler()? })
    }
}

/// An engine to compile with: its compiled forms load into both engines of a sandbox.
pub(super) fn compiler() -> Result<Engine, SandboxError> {
    Engine::new(&config()).map_err(engine_error)
}

/// A name for everything that a compiled form depends on besides the component: the version of
/// wasmtime, the settings above, and the processor.
pub(super) fn settings(engine: &Engine) -> blake3::Hash {
    use std::hash::Hash;

    struct Settings(blake3::Hasher);
    impl std::hash::Hasher for Settings {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0 // Not asked for: all 256 bits are taken below.
        }
    }

    let mut settings = Settings(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut settings);
    settings.0.finalize()
}

/// What both engines and the compiling child agree on.
fn config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .operator_cost(costs())
        .epoch_interruption(true)
        .concurrency_support(false)
        .memory_init_cow(true)
        .memory_reservation(MEMORY_RESERVATION)
        .memory_guard_size(MEMORY_GUARD)
        .async_stack_size(ASYNC_STACK)
        .max_wasm_stack(WASM_STACK)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        // Garbage collection is not built in, but wasmtime takes function types that are subtypes of others
        // all the same, and then aborts the process at the first indirect call that compares two.
        .wasm_gc(false)
        // Traps are told by their kind alone. Frames would have to be walked for each of them, and
        // the tables for it are as large as the code.
        .wasm_backtrace_max_frames(None)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        .debug_symbols(false)
        .native_unwind_info(false);
    config
}

/// What instructions cost: a unit each, but for those that are calls of the host in disguise, and for what
/// these do by the page and by the element.
fn costs() -> OperatorCost {
    OperatorCost {
        MemoryGrow: 250,
        TableGrow: 250,
        variable: VariableOperatorCost {
            // It may then touch all 16 pages of the system's, and each is a fault.
            memory_grow_per_page: u8::MAX,
            table_grow_per_element: 4,
            // An element may be a function that is not there yet.
            table_init_per_element: 20,
            ..VariableOperatorCost::default()
        },
        ..OperatorCost::default()
    }
}

fn pool(max_instances: u32, max_memory_bytes: u64) -> PoolingAllocationConfig {
    let each = |count: u32| max_instances.saturating_mul(count);
    let memory = max_memory_bytes.min(MEMORY_RESERVATION);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(max_instances)
        .total_core_instances(each(CORE_INSTANCES_EACH).max(CORE_INSTANCES))
        // An idle instance keeps the stack of its last call.
        .total_stacks(max_instances)
        // Nearly all components have one memory; a few compositions have more.
        .total_memories(max_instances.saturating_add(max_instances / 8).saturating_add(MEMORIES))
        .total_tables(each(TABLES_EACH).max(TABLES))
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_module(TABLES)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_core_instance_size(INSTANCE_SIZE)
        .max_component_instance_size(INSTANCE_SIZE)
        .max_memory_size(usize::try_from(memory).unwrap_or(usize::MAX))
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .max_unused_warm_slots(WARM_SLOTS)
        .pagemap_scan(Enabled::Auto);
    pool
}

fn engine_error(error: wasmtime::Error) -> SandboxError {
    SandboxError::Engine(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_engine_compiles_loads_into_the_other() {
        let engines = Engines::new(4, 16 << 20).expect("engines");
        assert_eq!(settings(&engines.pooled), settings(&engines.on_demand));
    }
}
