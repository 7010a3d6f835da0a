//! The cases of the subscription suite, by what they are about. Each doc comment is the behaviour that the case proves.

// A suite states what it expects.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod fixture;
mod receiving;

pub mod delivery;
pub mod groups;
pub mod outages;
pub mod settling;

pub use fixture::{GivenUp, SubscriptionFixture, run_subscription_case, run_subscription_outage_case};

/// Expands to one test per case of the subscription suite, in a module per topic. Takes a type that implements
/// [`SubscriptionFixture`]; wrap it in a module of its own beside `transport_suite!`.
#[macro_export]
macro_rules! subscription_suite {
    ($fixture:ty) => {
        $crate::suite_cases! { $fixture, subscription_suite, run_subscription_case:
            delivery {
                every_field_arrives_unchanged
                messages_of_a_key_arrive_in_order
                a_dropped_next_loses_nothing
                what_is_no_message_is_handed_out
                no_more_than_prefetch_is_handed_out
                a_missing_topic_is_named
                a_check_receives_nothing
            }
            settling {
                an_acknowledged_message_does_not_come_again
                an_unsettled_message_comes_again_after_close
                what_a_vanished_member_left_comes_again
                a_message_that_is_handed_back_comes_again_after_its_delay
                deliveries_are_counted
                a_dead_letter_leaves_with_its_reason
                what_is_no_message_can_be_given_up
                extended_work_is_not_handed_to_another
                nothing_is_received_after_close
                secrets_are_never_shown
            }
            groups {
                every_group_gets_every_message
                members_share_the_messages
                a_member_that_leaves_hands_over
            }
        }
        $crate::suite_cases! { $fixture, subscription_suite, run_subscription_outage_case:
            outages {
                receiving_resumes_after_a_restart
                a_dead_broker_is_an_error_and_no_silence
                a_receipt_from_before_a_restart_is_harmless
            }
        }
    };
}
