/// Which way a message takes to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliveryMode {
    /// Through the table, in the transaction of the data; the relay publishes. The default.
    #[default]
    Transactional,
    /// At once, and through the table only while the broker can't be reached.
    DirectFirst,
    /// At once and never through the table: what the broker does not take is an error of the caller.
    Direct,
}
