//! What was committed below the cursor since the cursor passed.
//!
//! A producer commits a message of a key, and then the next one. The first got its number early and is below the cursor
//! by now; the second is what a read forward has just returned. Whoever can see the second can see the first, so a look
//! below the cursor after that read, and before anything of it is taken, finds it. So does the read itself, if it begins
//! below: all that a single statement sees is of one moment.

use outbox_core::{Claim, ClaimRequest, ClaimSource, Seq, StoreError, StoredMessage};

use super::work::ReadOrder;

/// What was found.
pub(super) enum Late {
    /// All of it, by `seq`.
    Rows(Vec<StoredMessage>),
    /// More than fits beside what was read, or more than one look can see: it is read forward, from this row on.
    Many { first: Seq },
}

/// Numbers between the low mark and the cursor that are read again each time, rather than with a statement of their own:
/// so many that with short transactions and some thousand messages a second it is still one statement.
const NEAR: Seq = 2_000;
/// Rows among them that are in memory, and so are read for nothing, and their bytes.
const FEW: usize = 32;
const SMALL: usize = 64 * 1024;

/// Forward from the low mark in one statement, instead of forward from the cursor and then once more between the two: half
/// of the time that a message waits when there are few. `None` if that would read too much, or has not read all.
pub(super) async fn at_once(order: &ReadOrder, low: Seq, cursor: Seq) -> Result<Option<Claim>, StoreError> {
    let ReadOrder { store, scope, known, bytes_in_memory, limit, max_bytes, .. } = order;
    if cursor - low > NEAR || known.len() > FEW || *bytes_in_memory > SMALL {
        return Ok(None);
    }
    let source = ClaimSource::Fresh { after: low };
    let (scope, limit, max_bytes) = (scope.clone(), limit + known.len(), *max_bytes);
    let mut claim = store.claim(&ClaimRequest { scope, source, limit, max_bytes }).await?;
    if claim.more {
        // What is known may fill it each time, and nothing new would ever be read.
        return Ok(None);
    }
    claim.rows.retain(|row| !known.contains(&row.seq));
    Ok(Some(claim))
}

pub(super) async fn committed(order: &ReadOrder, low: Seq, cursor: Seq) -> Result<Late, StoreError> {
    let ReadOrder { store, scope, known, page, limit, max_bytes, .. } = order;
    let mut after = low;
    loop {
        let seqs = store.scan(scope, after, cursor, *page).await?;
        let full = seqs.len() >= *page;
        let last = seqs.last().copied();
        let late: Vec<Seq> = seqs.into_iter().filter(|seq| !known.contains(seq)).collect();
        match (late.first().copied(), last) {
            (None, Some(last)) if full => after = last,
            (None, _) => return Ok(Late::Rows(Vec::new())),
            // Pages are seen at different times: between two of them an earlier message of the same key may have come.
            (Some(first), _) if full || after > low || late.len() >= *limit => {
                return Ok(Late::Many { first });
            }
            (Some(first), _) => {
                let source = ClaimSource::Exact { seqs: late };
                let (scope, limit, max_bytes) = (scope.clone(), *limit, *max_bytes);
                let claim = store.claim(&ClaimRequest { scope, source, limit, max_bytes }).await?;
                return Ok(if claim.more { Late::Many { first } } else { Late::Rows(claim.rows) });
            }
        }
    }
}
