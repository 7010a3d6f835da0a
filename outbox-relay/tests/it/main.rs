//! The relay against the memory store and a scripted broker, in paused time: hours of outages and retries in
//! milliseconds, the same every time.

mod cadence;
mod delivery;
mod faults;
mod gate;
mod harness;
mod interleavings;
mod policies;
mod simulation;
