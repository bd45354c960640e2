//! Where the time of a member-step goes: the spans of a world, added up by their names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use dormouse::Clock;

/// The parts of the work of a world, as its spans are called, and what they are.
const PARTS: [(&str, &str); 8] = [
    ("rows", "rows act"),
    ("publish", "rows publish"),
    ("turns", "sessions have turns"),
    ("merge", "effects are merged and put to those to whom they are done"),
    ("births", "members begin"),
    ("aggregates", "aggregates are computed"),
    ("show", "members are shown what others have published"),
    ("hash", "what has come of it is hashed"),
];

/// How long this process was in each span of worlds, over all threads.
#[derive(Clone)]
pub(super) struct Profile {
    clock: Clock,
    times: Arc<Mutex<BTreeMap<&'static str, Duration>>>,
}

/// When a span was entered last.
struct Entered(Duration);

impl Profile {
    /// Add up all spans of worlds of this process from now on.
    pub(super) fn install(clock: Clock) -> Profile {
        let profile = Profile { clock, times: Arc::default() };
        let of_worlds = |span: &Metadata<'_>| {
            span.is_span()
                && span.target().contains("simulation::world")
                && PARTS.iter().any(|(name, _)| *name == span.name())
        };
        let layer = profile.clone().with_filter(filter_fn(of_worlds));
        // An error says that there is a subscriber already: the table has the rest alone then.
        let _ = tracing::subscriber::set_global_default(Registry::default().with(layer));
        profile
    }

    /// The table for a world that has made so many member-steps in this time.
    pub(super) fn table(&self, steps: u64, took: Duration) -> String {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let whole = took.as_secs_f64() * threads as f64;
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |what: &str, seconds: f64| {
            let each = seconds * 1e9 / steps.max(1) as f64;
            let share = 100.0 * seconds / whole.max(1e-9);
            format!("| {what:58} | {each:14.2} | {share:5.1} % |\n")
        };
        let mut table = format!(
            "| {:58} | ns/member-step | share   |\n| {:-<58} | -------------: | ------: |\n",
            format!("where the time went, on {threads} thread(s)"),
            ""
        );
        let mut rest = whole;
        for (name, what) in PARTS {
            if let Some(time) = times.get(name) {
                rest -= time.as_secs_f64();
                table.push_str(&line(what, time.as_secs_f64()));
            }
        }
        table.push_str(&line("the rest, and threads that wait", rest.max(0.0)));
        table
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Profile {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Entered(Duration::ZERO));
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(entered) = span.extensions_mut().get_mut::<Entered>()
        {
            entered.0 = self.clock.monotonic();
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let now = self.clock.monotonic();
        if let Some(span) = context.span(id)
            && let Some(Entered(since)) = span.extensions_mut().get_mut::<Entered>()
        {
            let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
            *times.entry(span.name()).or_default() += now.saturating_sub(*since);
        }
    }
}
