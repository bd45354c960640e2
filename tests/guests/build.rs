//! Builds the fixtures as components.

use dormouse_guest_build::Guests;

fn main() {
    Guests::of_examples("test-guest-fixtures").emit("TestGuest");
}
