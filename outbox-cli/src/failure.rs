use std::io::{self, ErrorKind};
use std::process::ExitCode;

use anyhow::Error;
use outbox::relay::RelayError;
use outbox::{ConfigError, ConnectError, MessageError, StartError, StoreError, StoreErrorKind};

/// 2 for what whoever called this has to change, 1 for what may be better next time.
pub(crate) fn exit_code(error: &Error) -> ExitCode {
    let callers = error.is::<ConfigError>()
        || error.is::<MessageError>()
        || error.downcast_ref().is_some_and(of_start)
        || error.downcast_ref().is_some_and(of_connect)
        || error.downcast_ref().is_some_and(of_store);
    ExitCode::from(if callers { 2 } else { 1 })
}

fn of_start(error: &StartError) -> bool {
    match error {
        StartError::Connect(error) => of_connect(error),
        StartError::Relay(RelayError::Store(error)) => of_store(error),
        StartError::Relay(RelayError::Config(_)) => true,
        _ => false,
    }
}

fn of_connect(error: &ConnectError) -> bool {
    match error {
        ConnectError::Store(error) => of_store(error),
        _ => true,
    }
}

fn of_store(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        StoreErrorKind::NotMigrated | StoreErrorKind::SchemaVersion | StoreErrorKind::Invalid
    )
}

/// Whether standard output is a pipe that nobody reads any more.
pub(crate) fn reader_has_gone(error: &Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
