//! Builds the bundled agents as components.

use dormouse_guest_build::Guests;

fn main() {
    Guests::of_packages([
        "agent-assistant",
        "agent-counter",
        "agent-echo",
        "agent-fib",
        "agent-monitor",
        "agent-notepad",
    ])
    .emit("BundledAgent");
}
