use std::fmt;

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, and under some circumstances it loses, delays or doubles messages.
    Warning,
    /// It does not work.
    Error,
}

impl Severity {
    /// The name, as a report shows it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One line of a diagnosis: what was looked at, what was found, and what to do about it. Never contains credentials.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at: `stream ORDERS`, `isolation level`.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// What to do about it; always there for a warning and an error.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, subject: subject.into(), detail: detail.into(), remedy: None }
    }

    /// It works, and may lose, delay or double messages.
    #[must_use]
    pub fn warning(subject: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (subject, detail) = (subject.into(), detail.into());
        Self { severity: Severity::Warning, subject, detail, remedy: Some(remedy.into()) }
    }

    /// It does not work.
    #[must_use]
    pub fn error(subject: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (subject, detail) = (subject.into(), detail.into());
        Self { severity: Severity::Error, subject, detail, remedy: Some(remedy.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity.as_str(), self.subject, self.detail)?;
        match &self.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}
