//! Defects that the library has when it is built with `--cfg outbox_sabotage` and told to have one of them: the proof
//! that the harness in `chaos` would find it. No other build has any of this.

use std::sync::OnceLock;

/// The variable that names the defect.
const VARIABLE: &str = "OUTBOX_SABOTAGE";

/// Whether this process is to have the defect of that name.
#[must_use]
pub fn is(name: &str) -> bool {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var(VARIABLE).ok()).as_deref() == Some(name)
}
