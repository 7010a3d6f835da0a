use std::time::SystemTime;

use outbox_relay::Trouble;
use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What: `relay`, `database`, `schema`, `leases`, `broker <name>`.
    pub name: String,
    /// How it is.
    pub state: CheckState,
    /// Whether it makes the process unready if it has failed.
    pub required: bool,
    /// What there is to say about it: `open`, `16 of 16 shards`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Since when it has failed, as RFC 3339 in UTC by this machine's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The last error. Without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Not known yet: it was not looked at since the start.
    Unknown,
    /// Not as it should be.
    Failed,
}

impl Check {
    pub(super) fn new(name: impl Into<String>, state: CheckState) -> Self {
        Self { name: name.into(), state, required: true, detail: None, since: None, error: None }
    }

    pub(super) fn ok(name: impl Into<String>) -> Self {
        Self::new(name, CheckState::Ok)
    }

    pub(super) fn ok_if(name: impl Into<String>, ok: bool) -> Self {
        Self::new(name, if ok { CheckState::Ok } else { CheckState::Failed })
    }

    pub(super) fn required(mut self, required: bool) -> Self {
        self.required = required;
        self
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(super) fn since(mut self, time: Option<SystemTime>) -> Self {
        self.since = time.map(written);
        self
    }

    pub(super) fn trouble(self, trouble: &Trouble) -> Self {
        let error = Some(trouble.error.clone());
        Self { error, ..self.since(Some(trouble.since)) }
    }

    pub(super) fn is_ok(&self) -> bool {
        self.state == CheckState::Ok
    }
}

pub(super) fn written(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
