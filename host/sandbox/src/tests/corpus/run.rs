//! Runs components of any shape: each function that they export, with arguments of our making.

use std::sync::Arc;

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, Instance, Type, Val};
use wasmtime::{Engine, Store};

use super::Counts;
use crate::engine;
use crate::guest::{Guest, StartConditions};
use crate::snapshot::{Image, ImageKeeper, Saved, Unpinned};
use crate::tests::grant;
use crate::{fuel, imports};
use dormouse_base::clock::{Clock, ManualClock};
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::snapshot::GuestState;

/// Memory of one instance.
const MEMORY: u64 = 64 << 20;
/// Fuel of one call.
const FUEL: u64 = 1_000_000;
/// How often each function is called.
const ROUNDS: usize = 2;

/// The forms of a component, side by side.
pub(super) struct Forms {
    engine: Engine,
    clock: Clock,
    memory: MemoryBudget,
}

/// One form of a component, and an instance of it while one lives.
struct SnapshotForm<'a> {
    forms: &'a Forms,
    component: Component,
    image: Option<Arc<Image>>,
    live: Option<Live>,
}

struct Live {
    store: Store<Guest>,
    instance: Instance,
    keeper: Option<ImageKeeper>,
}

/// A function that is called, by the names that lead to it.
struct Function {
    instance: Option<String>,
    name: String,
    arguments: Vec<Val>,
    results: usize,
}

impl Forms {
    pub(super) fn new() -> Forms {
        Forms {
            engine: engine::compiler().expect("an engine"),
            clock: Clock::manual(&ManualClock::new()),
            memory: MemoryBudget::new(1 << 30),
        }
    }

    /// Call what the component exports in all forms. An error says where they differ.
    pub(super) async fn run(
        &self,
        plain: &[u8],
        instrumented: &[u8],
        counts: &mut Counts,
    ) -> Result<(), String> {
        let compile =
            |bytes| Component::new(&self.engine, bytes).map_err(|error| error.to_string());
        let (plain, instrumented) = match (compile(plain), compile(instrumented)) {
            (Ok(plain), Ok(instrumented)) => (plain, instrumented),
            // What the validator takes and the compiler does not, it takes in neither form.
            (Err(_), Err(_)) => return Ok(()),
            (Err(error), Ok(_)) => return Err(format!("it compiles once instrumented: {error}")),
            (Ok(_), Err(error)) => return Err(format!("it compiles no more: {error}")),
        };
        let image = Some(Arc::new(Image::of(&instrumented, Unpinned::default(), 7)));
        let form = |component, image| SnapshotForm { forms: self, component, image, live: None };
        let mut plain = form(plain, None);
        let mut awake = form(instrumented.clone(), image.clone());
        let mut asleep = form(instrumented, image);
        let functions = plain.functions();
        let calls = functions.iter().cycle().take(functions.len() * ROUNDS);
        for (number, function) in calls.enumerate() {
            let starts = [plain.start().await, awake.start().await, asleep.start().await];
            match starts {
                [true, true, true] => counts.instances += usize::from(number == 0),
                [false, false, false] => return Ok(()),
                _ => return Err(format!("it starts in some forms only: {starts:?}")),
            }
            let expected = plain.call(function).await;
            for (form, name) in [(&mut awake, "instrumented"), (&mut asleep, "asleep")] {
                let found = form.call(function).await;
                if found != expected {
                    let Function { instance, name: export, .. } = function;
                    return Err(format!(
                        "{instance:?} {export}, {name}: {found:?} instead of {expected:?}"
                    ));
                }
            }
            let Some((answer, _)) = expected else { continue };
            counts.calls += 1;
            counts.traps += usize::from(answer.is_err());
            counts.held += usize::from(!asleep.sleep().await);
        }
        Ok(())
    }
}

impl SnapshotForm<'_> {
    /// Make an instance where none lives. Answers whether there is one.
    async fn start(&mut self) -> bool {
        if self.live.is_none() {
            self.live = self.make().await;
        }
        self.live.is_some()
    }

    async fn make(&self) -> Option<Live> {
        let Forms { engine, clock, memory } = self.forms;
        let mut linker = imports::linker(engine).expect("it links");
        linker.define_unknown_imports_as_traps(&self.component).ok()?;
        let guest = Guest::new(&grant(), StartConditions::Session, MEMORY, memory.account(), clock);
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| &mut guest.memory);
        fuel::configure(&mut store).expect("it has fuel");
        let instance = linker.instantiate_async(&mut store, &self.component).await.ok()?;
        let keeper = match &self.image {
            Some(image) => Some(image.start(&mut store, instance).await.expect("it has a start")),
            None => None,
        };
        Some(Live { store, instance, keeper })
    }

    /// What comes of a call, and the fuel of it. After a trap no instance lives. `None`: the function
    /// is not the component's own, but one that it imports.
    async fn call(&mut self, function: &Function) -> Option<(Result<Vec<Val>, String>, u64)> {
        let Live { store, instance, .. } = self.live.as_mut().expect("it was started");
        let index = function.index(&self.component);
        let called = instance.get_func(&mut *store, index)?;
        fuel::fill(store, FUEL).expect("it has fuel");
        let mut results = vec![Val::Bool(false); function.results];
        let done = called.call_async(&mut *store, &function.arguments, &mut results).await;
        let used = fuel::used(store);
        if done.is_err() {
            self.live = None;
        }
        Some((done.map(|()| results).map_err(|error| format!("{error:#}")), used))
    }

    /// Put the instance to sleep, and wake another in its state. Answers whether it could sleep.
    async fn sleep(&mut self) -> bool {
        let Some(Live { mut store, instance, keeper }) = self.live.take() else { return true };
        let mut keeper = keeper.expect("it has an image");
        match keeper.save(&mut store).await.expect("it is saved") {
            Saved::State(GuestState::Image { data, chunks }) => {
                drop(store);
                let mut live = self.make().await.expect("it starts again");
                let keeper = live.keeper.as_mut().expect("it has an image");
                let restored = keeper.restore(&mut live.store, &data, &chunks).await;
                restored.expect("it is restored");
                self.live = Some(live);
                true
            }
            Saved::Held(_) => {
                self.live = Some(Live { store, instance, keeper: Some(keeper) });
                false
            }
            other => panic!("{other:?}"),
        }
    }

    /// The functions that can be called.
    fn functions(&self) -> Vec<Function> {
        let engine = &self.forms.engine;
        let mut found = Vec::new();
        for (name, item) in self.component.component_type().exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(ty) => found.extend(Function::of(None, name, &ty)),
                ComponentItem::ComponentInstance(instance) => {
                    for (inner, item) in instance.exports(engine) {
                        if let ComponentItem::ComponentFunc(ty) = item.ty {
                            found.extend(Function::of(Some(name), inner, &ty));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

impl Function {
    /// This function, if we can make up its arguments.
    fn of(instance: Option<&str>, name: &str, ty: &ComponentFunc) -> Option<Function> {
        let arguments = ty.params().map(|(_, ty)| sample(&ty)).collect::<Option<_>>()?;
        let (instance, name) = (instance.map(str::to_owned), name.to_owned());
        Some(Function { instance, name, arguments, results: ty.results().len() })
    }

    fn index(&self, component: &Component) -> ComponentExportIndex {
        let outer = self.instance.as_ref().and_then(|name| component.get_export_index(None, name));
        component.get_export_index(outer.as_ref(), &self.name).expect("it exports it")
    }
}

/// Some value of a type. `None`: it takes a handle, and we have none.
fn sample(ty: &Type) -> Option<Val> {
    let some = |ty: Option<Type>| match ty {
        Some(ty) => sample(&ty).map(|value| Some(Box::new(value))),
        None => Some(None),
    };
    Some(match ty {
        Type::Bool => Val::Bool(true),
        Type::S8 => Val::S8(-3),
        Type::U8 => Val::U8(3),
        Type::S16 => Val::S16(-3),
        Type::U16 => Val::U16(3),
        Type::S32 => Val::S32(-3),
        Type::U32 => Val::U32(3),
        Type::S64 => Val::S64(-3),
        Type::U64 => Val::U64(3),
        Type::Float32 => Val::Float32(1.5),
        Type::Float64 => Val::Float64(1.5),
        Type::Char => Val::Char('x'),
        Type::String => Val::String("dormouse".to_owned()),
        Type::List(list) => Val::List(vec![sample(&list.ty())?; 2]),
        Type::Record(record) => Val::Record(
            record
                .fields()
                .map(|field| Some((field.name.to_owned(), sample(&field.ty)?)))
                .collect::<Option<_>>()?,
        ),
        Type::Tuple(tuple) => {
            Val::Tuple(tuple.types().map(|ty| sample(&ty)).collect::<Option<_>>()?)
        }
        Type::Variant(variant) => {
            let case = variant.cases().next()?;
            Val::Variant(case.name.to_owned(), some(case.ty)?)
        }
        Type::Enum(names) => Val::Enum(names.names().next()?.to_owned()),
        Type::Option(option) => Val::Option(some(Some(option.ty()))?),
        Type::Result(result) => Val::Result(Ok(some(result.ok())?)),
        Type::Flags(flags) => Val::Flags(flags.names().take(1).map(str::to_owned).collect()),
        Type::Map(_)
        | Type::FixedLengthList(_)
        | Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext => return None,
    })
}
