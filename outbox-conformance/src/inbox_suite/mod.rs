//! The cases of the inbox suite: what an inbox and the store's side of it promise, for every ORM that has them.

// A suite states what it expects.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod fixture;
mod work;

pub mod admissions;
pub mod consumers;
pub mod lists;
pub mod overlaps;
pub mod processing;
pub mod purges;
pub mod races;
pub mod refused;
pub mod tries;

pub use crate::fixture::run_case;
pub use fixture::{InboxFixture, OpenAdmission};

/// Expands to one test per case of the inbox suite. Takes a type that implements [`InboxFixture`]; wrap it in a module of
/// your own where one file tests several ORMs.
///
/// `OUTBOX_INBOX_ROUNDS` (50) makes the races longer; they print what happened.
#[macro_export]
macro_rules! inbox_suite {
    ($fixture:ty) => {
        $crate::suite_cases! { $fixture, inbox_suite, run_case:
            admissions {
                a_committed_message_is_a_duplicate
                a_rolled_back_message_is_fresh
                a_dropped_guard_leaves_nothing_open
                a_message_is_fresh_once_in_its_own_transaction
                what_is_done_for_a_duplicate_is_rolled_back
                messages_are_committed_with_the_effects
                a_connection_comes_back_from_an_inbox_as_it_was
            }
            consumers {
                two_consumers_handle_a_message_once_each
                names_are_compared_byte_by_byte
                a_name_has_up_to_255_bytes
            }
            overlaps {
                a_message_in_work_is_busy_and_then_a_duplicate
                a_message_in_work_is_busy_and_then_fresh
                another_message_does_not_wait
                whoever_is_busy_leaves_nothing
            }
            processing {
                a_message_is_processed_once
                messages_are_sent_with_the_effects_or_not_at_all
                an_error_of_the_body_leaves_the_message_fresh
                a_panic_of_the_body_leaves_the_message_fresh
                a_body_that_is_dropped_leaves_the_message_fresh
                a_conflict_of_the_body_is_tried_again
                attempts_have_an_end
                a_busy_message_is_no_conflict
            }
            refused {
                a_guard_whose_transaction_has_ended
                a_body_that_ignored_what_ended_its_transaction
                a_guard_whose_messages_were_not_written
            }
            races {
                four_at_read_committed
                four_at_read_committed_and_the_first_rolls_back
                four_at_repeatable_read
                four_at_repeatable_read_and_the_first_rolls_back
                four_at_serializable
                four_at_serializable_and_the_first_rolls_back
                four_with_lists_in_other_orders
            }
            lists {
                all_are_fresh_and_then_duplicates
                admissions_come_in_the_order_of_the_list
                the_second_of_a_list_is_a_duplicate
                lists_of_none_and_of_one
                thousands_are_one_list
                a_list_that_is_rolled_back_is_fresh
                one_that_is_busy_does_not_stop_the_rest
                many_that_are_busy_cost_the_time_of_one
            }
            tries {
                tries_are_counted
                no_try_is_counted_twice
                tries_are_forgotten
                a_try_outlives_its_transaction
                a_try_is_counted_while_the_message_is_in_work
                what_was_handled_is_not_counted
                a_try_that_was_none_is_taken_back
            }
            purges {
                nothing_younger_is_purged
                a_purge_is_limited_and_takes_the_oldest
                tries_are_purged
                a_purge_and_admissions_do_not_wait_for_each_other
            }
        }
    };
}
