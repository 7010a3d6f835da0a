use std::io::{self, ErrorKind};
use std::process::ExitCode;

use anyhow::Error;
use outbox::relay::RelayError;
use outbox::{ConfigError, ConnectError, MessageError, StoreError, StoreErrorKind};

/// 2 for what whoever called this has to change, 1 for what may be better next time.
pub(crate) fn exit_code(error: &Error) -> ExitCode {
    let callers = match (error.downcast_ref::<RelayError>(), error.downcast_ref::<ConnectError>()) {
        (Some(RelayError::Config(_)), _) => true,
        (Some(RelayError::Store(error)), _) | (_, Some(ConnectError::Store(error))) => is_callers(error),
        (None, Some(_)) => true,
        _ => {
            error.is::<ConfigError>()
                || error.is::<MessageError>()
                || error.downcast_ref().is_some_and(is_callers)
        }
    };
    ExitCode::from(if callers { 2 } else { 1 })
}

fn is_callers(error: &StoreError) -> bool {
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
