//! `airplanes demo`: everything on this machine, in a temporary folder, with nothing configured.
//!
//! It must never touch anything outside its folder, or listen on anything but loopback.

pub mod sshd;
