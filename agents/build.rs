//! Builds the bundled agents, and the members of worlds, as components.

use dormouse_guest_build::Guests;

fn main() {
    Guests::of_packages([
        "agent-assistant",
        "agent-counter",
        "agent-dilemma",
        "agent-echo",
        "agent-epidemic",
        "agent-exclusion",
        "agent-fib",
        "agent-flock",
        "agent-ising",
        "agent-monitor",
        "agent-moran",
        "agent-notepad",
        "agent-oscillators",
        "agent-persona",
        "agent-predators",
        "agent-schelling",
        "agent-wealth",
    ])
    .emit("BundledAgent");
}
