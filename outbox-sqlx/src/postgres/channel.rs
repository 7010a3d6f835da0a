use outbox_sql::{Dialect, Table, TableNames};

/// The channel of an outbox: the same for everyone who names the same table, and short enough for an identifier
/// however long the names are.
pub(super) fn channel(names: &TableNames) -> String {
    let table = names.table(Dialect::Postgres, Table::Messages);
    format!("outbox_{:016x}", fnv1a(table.as_bytes()))
}

/// FNV-1a: written down here because it must be the same in every version of every program.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outbox_has_its_channel() {
        let default = channel(&TableNames::default());
        assert_eq!(default, "outbox_9c1575aecf4033dd");
        assert_ne!(default, channel(&TableNames::new(Some("events"), "").unwrap()));
    }

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
