use outbox_core::{BoxError, StoreError};
use outbox_sql::NameError;

/// Why a URL opens nothing. No text repeats a URL: it may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration has no URL.
    #[error("no {role} URL: set {key} in the configuration or {variable} in the environment")]
    NoUrl {
        /// `store`, `transport` or `subscription`.
        role: &'static str,
        /// The key of the configuration.
        key: &'static str,
        /// The variable of the environment.
        variable: &'static str,
    },
    /// It is no URL.
    #[error("the {role} URL does not begin with a scheme; known are {known}")]
    NoScheme {
        /// `store`, `transport` or `subscription`.
        role: &'static str,
        /// The schemes that are known.
        known: String,
    },
    /// Nobody here speaks this protocol.
    #[error("the scheme `{scheme}` of the {role} URL is not known; known are {known}")]
    UnknownScheme {
        /// `store`, `transport` or `subscription`.
        role: &'static str,
        /// What the URL begins with.
        scheme: String,
        /// The schemes that are known.
        known: String,
    },
    /// The adapter was left out of this program.
    #[error("the scheme `{scheme}` needs the cargo feature `{feature}` of the crate `outbox`")]
    FeatureOff {
        /// The scheme.
        scheme: &'static str,
        /// The feature that turns its adapter on.
        feature: &'static str,
    },
    /// The schema or the table prefix is no identifier.
    #[error(transparent)]
    Names(#[from] NameError),
    /// The store refuses the URL.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The transport or the subscription refuses the URL.
    #[error(transparent)]
    Transport(BoxError),
}
