use outbox_core::{Admission, Processed};

/// What becomes of a message that is not fresh.
pub(crate) const fn outcome<T>(admission: Admission) -> Option<Processed<T>> {
    match admission {
        Admission::Fresh => None,
        Admission::Duplicate => Some(Processed::Duplicate),
        Admission::Busy => Some(Processed::Busy),
    }
}
