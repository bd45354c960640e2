//! Reads the host's own measurements: how long it took to save a state and to put it back, without
//! the turn and the store around it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// What has been measured since it was last taken, by the name of the metric: seconds.
#[derive(Default)]
struct Sums(Mutex<HashMap<String, f64>>);

static SUMS: OnceLock<Arc<Sums>> = OnceLock::new();

/// How long all that this metric names took since this was last asked, together.
pub fn taken(metric: &str) -> Duration {
    let sums = SUMS.get_or_init(|| {
        let sums = Arc::new(Sums::default());
        metrics::set_global_recorder(Meter(sums.clone())).expect("there is no other recorder");
        sums
    });
    let seconds = sums.0.lock().expect("not poisoned").remove(metric);
    Duration::from_secs_f64(seconds.unwrap_or_default())
}

struct Meter(Arc<Sums>);

struct Sum {
    sums: Arc<Sums>,
    name: String,
}

impl HistogramFn for Sum {
    fn record(&self, value: f64) {
        let mut sums = self.sums.0.lock().expect("not poisoned");
        match sums.get_mut(&self.name) {
            Some(sum) => *sum += value,
            None => {
                sums.insert(self.name.clone(), value);
            }
        }
    }
}

impl Recorder for Meter {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if !matches!(key.name(), "dormouse_save_seconds" | "dormouse_restore_seconds") {
            return Histogram::noop();
        }
        Histogram::from_arc(Arc::new(Sum { sums: self.0.clone(), name: key.name().to_owned() }))
    }
}
