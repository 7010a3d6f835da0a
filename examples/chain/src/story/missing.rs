use std::fmt;

/// A service that the example needs does not answer.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(super) service: &'static str,
    pub(super) variable: &'static str,
    pub(super) error: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, variable, error } = self;
        write!(
            f,
            "{service} can't be reached: {error}\n\
             Start it (`docker compose up --detach --wait` in the root of the repository starts all that is needed), or say \
             where it is: {variable}=…"
        )
    }
}

impl std::error::Error for Missing {}
