use std::fmt;

use diesel::result::ConnectionError;

/// What a connection is opened with, and what may be said of it.
pub struct Origin {
    /// For the client library only: it has a password.
    pub(super) url: String,
    /// Where it leads to, without user and password.
    pub(super) address: String,
    pub(super) secrets: Vec<String>,
}

impl Origin {
    /// The error of a client library without what is secret. The libraries repeat a URL, or pieces of it, when they don't
    /// understand it.
    pub(super) fn without_secrets(&self, error: ConnectionError) -> ConnectionError {
        let text = error.to_string();
        if !self.secrets.iter().any(|secret| text.contains(secret)) {
            return error;
        }
        let text = self.secrets.iter().fold(text, |text, secret| text.replace(secret, "***"));
        match error {
            ConnectionError::InvalidConnectionUrl(_) => ConnectionError::InvalidConnectionUrl(text),
            _ => ConnectionError::BadConnection(text),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("address", &self.address).finish_non_exhaustive()
    }
}
