/// What the relay of an application is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RelayState {
    /// There is none in this process: `processor_enabled` is off, or the mode is direct.
    Off,
    /// It waits for [`OutboxHandle::start`](super::OutboxHandle::start), because `auto_start` is off.
    Waiting,
    /// It runs.
    Running,
    /// It was shut down, or has ended by itself after a defect: [`OutboxHandle::ended`](super::OutboxHandle::ended).
    Ended,
}
