//! What was committed below the cursor since the cursor passed.
//!
//! A producer commits a message of a key, and then the next one. The first got its number early and is below the cursor
//! by now; the second is what a read forward has just returned. Whoever can see the second can see the first, so a look
//! below the cursor after that read, and before anything of it is taken, finds it.

use outbox_core::{ClaimRequest, ClaimSource, Seq, StoreError, StoredMessage};

use super::work::ReadOrder;

/// What was found.
pub(super) enum Late {
    /// All of it, by `seq`.
    Rows(Vec<StoredMessage>),
    /// More than fits beside what was read, or more than one look can see: it is read forward, from this row on.
    Many { first: Seq },
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
