//! The `airplanes` binary.

fn main() {}
