use outbox_core::{Finding, Severity, Topic};
use outbox_relay::RelayConfig;

use super::Config;
use crate::{ConnectError, connect_transport};

/// Rows of each table in which topics are looked for.
const LOOK: u64 = 1_000;

/// What was found in one part of an outbox: its store, or one of its transports.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// `store`, `transport`, or the name of a route.
    pub part: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// The worst of the findings.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }
}

impl Config {
    /// Looks at everything that this configuration names: the database, each broker, and whether the topics have where
    /// to go. These are the given ones, those that a route names, and those of messages that wait. Publishes and changes
    /// nothing.
    ///
    /// Nothing is an error here: what can't be reached, or is configured wrongly, is a finding.
    ///
    /// # Cancel safety
    ///
    /// Yes.
    pub async fn diagnose(&self, topics: &[Topic]) -> Vec<Diagnosis> {
        let mut topics = topics.to_vec();
        let exact = self.routes.iter().flat_map(|route| &route.topics).map(ToString::to_string);
        topics.extend(exact.filter(|topic| !topic.ends_with('*')).filter_map(|topic| Topic::new(topic).ok()));
        let mut diagnoses =
            vec![Diagnosis { part: "store".to_owned(), findings: self.store_findings(&mut topics).await }];
        topics.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        topics.dedup();

        let (mut routed, mut parts) = (Vec::new(), Vec::new());
        for route in &self.routes {
            let (here, rest): (Vec<_>, _) = topics
                .into_iter()
                .partition(|topic| route.topics.iter().any(|pattern| pattern.matches(topic.as_str())));
            topics = rest;
            parts.push((route.name.clone(), Some(route.url.as_str())));
            routed.push(here);
        }
        parts.push(("transport".to_owned(), self.transport.url.as_deref()));
        routed.push(topics);
        for ((part, url), topics) in parts.into_iter().zip(routed) {
            diagnoses.push(Diagnosis { part, findings: transport_findings(url, &topics, &self.relay).await });
        }
        diagnoses
    }

    async fn store_findings(&self, topics: &mut Vec<Topic>) -> Vec<Finding> {
        let store = match self.connect_store().await {
            Ok(store) => store,
            Err(error) => return vec![misconfigured(&error)],
        };
        let mut findings = store.diagnose().await;
        // What keeps the database from answering has been said.
        if findings.iter().all(|finding| finding.severity < Severity::Error) {
            findings.extend(self.notifications().await);
        }
        // What keeps them from being read is among the findings.
        for topic in store.waiting_topics(LOOK).await.unwrap_or_default() {
            topics.extend(Topic::new(topic).ok());
        }
        findings
    }

    /// Whether those of PostgreSQL arrive, where a relay would listen for them.
    #[cfg(feature = "sqlx-postgres")]
    async fn notifications(&self) -> Option<Finding> {
        let url = self.store.url.as_deref().filter(|_| self.wakeups.listen)?;
        crate::wakeup::diagnose(url, &self.table_names().ok()?).await
    }

    #[cfg(not(feature = "sqlx-postgres"))]
    fn notifications(&self) -> std::future::Ready<Option<Finding>> {
        std::future::ready(None)
    }
}

async fn transport_findings(url: Option<&str>, topics: &[Topic], relay: &RelayConfig) -> Vec<Finding> {
    let Some(url) = url else {
        let error =
            ConnectError::NoUrl { role: "transport", key: "transport.url", variable: "OUTBOX_TRANSPORT_URL" };
        return vec![misconfigured(&error)];
    };
    let transport = match connect_transport(url).await {
        Ok(transport) => transport,
        Err(error) => return vec![misconfigured(&error)],
    };
    let mut findings = transport.diagnose(topics).await;
    findings.push(match relay.validate([&transport.capabilities()]) {
        Ok(()) => {
            Finding::ok("time-outs", "the client gives up before the relay, and the relay before its lease")
        }
        Err(error) => {
            Finding::error("time-outs", error.to_string(), "correct them: the relay refuses to start")
        }
    });
    // Nothing was published, so nothing can be lost.
    let _ = transport.close(std::time::Duration::from_secs(2)).await;
    findings
}

fn misconfigured(error: &ConnectError) -> Finding {
    Finding::error("configuration", error.to_string(), "correct the configuration")
}
