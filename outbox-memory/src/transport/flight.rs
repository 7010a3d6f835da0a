use outbox_core::OutboxMessage;

use super::MemoryTransport;

/// One call of `publish` under way. Notes where the caller breaks its side of the contract, so that a simulation can
/// assert that the relay never does.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    transport: &'a MemoryTransport,
    keys: Vec<String>,
    messages: usize,
}

impl<'a> Flight<'a> {
    pub(super) fn take_off(transport: &'a MemoryTransport, batch: &[OutboxMessage]) -> Self {
        let capabilities = &transport.capabilities;
        let mut keys: Vec<String> = Vec::new();
        let mut script = transport.script();
        script.publishes += 1;
        for key in batch.iter().filter_map(OutboxMessage::ordering_key) {
            let key = key.as_str();
            if script.keys_in_flight.contains(key) {
                script.violations.push(format!("key {key:?} is in two calls at once"));
            }
            if keys.iter().any(|known| known == key) {
                if !capabilities.pipelined_order {
                    script
                        .violations
                        .push(format!("key {key:?} is twice in a batch without pipelined order"));
                }
            } else {
                keys.push(key.to_owned());
            }
        }
        script.keys_in_flight.extend(keys.iter().cloned());
        script.in_flight += batch.len();
        let in_flight = script.in_flight;
        if batch.len() > capabilities.max_batch {
            script.violations.push(format!("a batch of {}", batch.len()));
        }
        if in_flight > capabilities.max_in_flight {
            script.violations.push(format!("{in_flight} messages in flight"));
        }
        drop(script);
        Self { transport, keys, messages: batch.len() }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut script = self.transport.script();
        for key in &self.keys {
            script.keys_in_flight.remove(key);
        }
        script.in_flight -= self.messages;
    }
}
