//! The cases of the transport suite, by what they are about. Each doc comment is the behaviour that the case proves.

// A suite states what it expects.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod fixture;
mod publishing;

pub mod encryption;
pub mod lifecycle;
pub mod outages;
pub mod refusals;
pub mod results;
pub mod round_trip;

pub use fixture::{BrokerProcess, Received, TransportFixture, run_outage_case, run_transport_case};

/// Expands to one test per case of the transport suite, in a module per topic. Takes a type that implements
/// [`TransportFixture`]; wrap it in a module of your own where one file tests several transports.
#[macro_export]
macro_rules! transport_suite {
    ($fixture:ty) => {
        $crate::suite_cases! { $fixture, transport_suite, run_transport_case:
            round_trip {
                confirmed_messages_are_read_back_in_key_order
                every_field_travels_unchanged
                a_megabyte_travels_unchanged
            }
            results {
                an_empty_batch_publishes_nothing
                a_full_batch_is_confirmed
                calls_may_run_at_the_same_time
                each_message_gets_its_own_result
                a_failed_message_stops_its_key
                a_second_copy_is_dropped_and_confirmed
                a_dropped_call_harms_nobody
                a_reset_costs_other_calls_at_most_certainty
            }
            refusals {
                missing_topology_is_retryable_and_heals
                an_oversized_message_is_rejected_alone
                a_stored_message_cannot_inject
            }
            lifecycle {
                a_healthy_broker_passes_the_check
                close_waits_for_what_is_under_way
                nothing_is_published_after_close
                secrets_are_never_shown
            }
            encryption {
                a_verified_server_is_used
                an_unknown_authority_is_refused
                another_host_is_refused
                plain_text_is_refused
                a_client_certificate_is_presented
            }
        }
        $crate::suite_cases! { $fixture, transport_suite, run_outage_case:
            outages {
                a_dead_broker_is_never_a_success
                publishing_resumes_after_a_restart
                what_failed_while_the_broker_was_dead_never_arrives
                a_reset_drops_what_a_frozen_broker_has_not_taken
                confirmed_messages_survive_a_kill
            }
        }
    };
}
