//! The cases of the store suite, by what they are about. Each doc comment is the behaviour that the case proves.

// A suite states what it expects.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

pub(crate) mod eventually;
mod message;
mod relay;

pub mod admin;
pub mod claims;
pub mod deferred;
pub mod fence;
pub mod foreign_rows;
pub mod holds;
pub mod late_commits;
pub mod leases;
pub mod load;
pub mod migrations;
pub mod outcomes;
pub mod parked;
pub mod requests;
pub mod round_trip;
pub mod settle;
pub mod shards;
pub mod topics;

pub use crate::fixture::run_case;

/// Expands to one test per case of the store suite, in a module per topic. Takes a type that implements
/// [`StoreFixture`](crate::StoreFixture); wrap it in a module of your own where one file tests several stores.
#[macro_export]
macro_rules! store_suite {
    ($fixture:ty) => {
        $crate::suite_cases! { $fixture, store_suite, run_case:
            claims {
                committed_rows_only
                rollback_leaves_nothing
                rows_come_by_seq_after_the_cursor
                reading_changes_nothing
                the_limit_ends_a_read
                the_byte_budget_ends_a_read
                an_exact_read_leaves_out_what_is_gone
                a_scan_returns_a_range
                a_late_committer_is_found_by_the_sweep
                the_same_id_twice_is_two_rows
                only_waiting_rows_count_as_not_empty
            }
            topics {
                filters_take_names_literally
                filters_hold_for_every_read
            }
            shards {
                shards_partition_the_rows
                shards_hold_for_every_read
                the_count_changes_without_leases_only
                an_impossible_count_is_refused
                a_fence_from_before_the_change_is_stale
            }
            round_trip {
                every_field_survives
                extreme_values_survive
                every_field_survives_every_move
                keys_are_compared_byte_by_byte
                any_error_text_can_be_stored
            }
            foreign_rows {
                a_plain_insert_has_defaults
                unreadable_headers_are_a_defect
                text_that_no_broker_carries_stays_invalid
            }
            settle {
                delivered_rows_are_gone
                rows_between_delivered_ones_stay
                a_late_row_between_delivered_ones_stays
                one_settle_mixes_outcomes
                a_repeated_settle_changes_nothing
                rows_that_are_gone_are_not_counted
                thousands_settle_at_once
                an_empty_settle_tests_the_fence
            }
            outcomes {
                a_retried_row_waits
                a_begun_row_is_counted_and_due
                a_held_row_waits_for_another
                a_delayed_row_waits_for_its_time
                a_dead_row_is_a_dead_letter
            }
            deferred {
                delayed_rows_fall_due
                a_past_time_is_due
                due_rows_come_by_due_time
                due_rows_are_read_in_pages
                a_second_retry_replaces_the_first
                held_rows_come_by_seq
                deferred_rows_change_what_they_wait_for
                followers_go_after_their_head
                the_next_due_time_is_the_earliest
            }
            holds {
                every_standing_key_is_listed_once
                holds_are_found_by_key
                parked_outweighs_what_waits
            }
            parked {
                a_parked_key_is_remembered
                a_skipped_message_holds_nothing
                a_replay_moves_the_whole_key
                a_replayed_head_holds_its_key
                a_replayed_follower_takes_its_key_along
                a_replay_leaves_what_stopped_elsewhere
                a_skipped_message_is_not_taken_along
                discarding_the_head_releases_its_followers
                discarding_a_follower_keeps_the_key_parked
                a_follower_is_discarded_while_its_key_is_replayed
            }
            requests {
                a_replay_without_parked_key_is_due_at_once
                a_replayed_blocked_head_is_due_at_once
                a_discarded_blocked_head_releases_its_followers
                only_what_stands_still_can_be_asked_for
                requests_come_the_oldest_first
            }
            fence {
                a_stale_fence_changes_nothing
                a_take_over_ends_the_fence
                a_release_ends_the_fence
                an_expired_lease_that_nobody_took_still_covers
                a_fence_is_as_wide_as_its_rows
                a_take_over_and_a_settle_never_both_win
            }
            leases {
                only_free_shards_are_given
                an_expired_shard_is_taken_over
                only_the_owner_absolves
                a_released_shard_is_free_and_clean
                a_wrong_release_is_ignored
                a_renewal_keeps_what_nobody_took
                a_renewal_takes_nothing_back
                a_retired_relay_leaves_everything
                live_relays_are_counted
                relays_that_ask_at_once_share_nothing
                a_lease_lasts_from_now
            }
            late_commits {
                a_mark_waits_for_a_commit
                a_mark_waits_for_a_rollback
                later_transactions_do_not_hold_a_mark
                a_mark_without_transactions_passes
            }
            load {
                cursor_and_sweep_lose_nothing
            }
            admin {
                dead_letters_are_listed
                dead_letters_show_requests
                figures_count_each_state
                counts_stop_at_their_limit
                owners_are_listed
                a_diagnosis_finds_what_is_wrong
                topics_of_what_waits_are_listed
            }
            migrations {
                a_store_without_tables_says_so
                migrations_are_applied_once
                two_migrate_at_once
            }
        }
    };
}
