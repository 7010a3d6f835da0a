//! The cases of the transaction suite: what a transaction with messages promises, for every ORM that has one.

// A suite states what it expects.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod counted_hints;
mod fixture;
mod sql;
pub(crate) mod work;

pub mod attempts;
pub mod commits;
pub mod hints;
pub mod refusals;
pub mod storm;

pub use crate::fixture::run_case;
pub use counted_hints::CountedHints;
pub use fixture::{
    Body, FixtureError, FixtureErrorKind, FixtureScope, OpenScope, PlainConnection, TransactionFixture,
};
pub use sql::DatabaseSql;

/// Expands to one test per case of the transaction suite. Takes a type that implements
/// [`TransactionFixture`]; wrap it in a module of your own where one file tests several ORMs.
#[macro_export]
macro_rules! transaction_suite {
    ($fixture:ty) => {
        $crate::suite_cases! { $fixture, transaction_suite, run_case:
            commits {
                rows_and_messages_are_committed_together
                messages_come_in_the_order_they_were_added
                a_thousand_messages_are_one_commit
                a_rollback_leaves_nothing
                a_dropped_transaction_leaves_nothing_open
                messages_can_be_written_before_the_commit
                the_relay_is_woken_after_commits_with_messages
                a_connection_comes_back_as_it_was
            }
            hints {
                a_message_in_a_transaction_of_its_users_own_is_expected
                a_rolled_back_message_was_expected
                a_transaction_with_messages_says_when_they_are_committed
            }
            refusals {
                an_ignored_error_never_splits_rows_and_messages
                a_transaction_that_has_ended_is_not_committed
                one_without_messages_that_has_ended_is_not_committed
                a_failed_write_of_messages_is_never_committed
            }
            attempts {
                a_conflict_starts_afresh
                a_busy_database_is_tried_again
                attempts_end
                other_errors_are_not_tried_again
                a_dropped_body_leaves_nothing_open
            }
            storm {
                a_hot_key_loses_nothing
            }
        }
    };
}
