//! The suites that every store, every inbox, every transport and every subscription must pass.
//!
//! An adapter says in a fixture how to make an empty outbox and how to write to it; the rest of its test file is one line:
//!
//! ```ignore
//! mod postgres {
//!     outbox_conformance::store_suite!(crate::PostgresFixture);
//! }
//! ```
//!
//! The line becomes one named test per case. Databases and brokers differ by their capabilities only; no case knows a
//! name.

#![forbid(unsafe_code)]

mod fixture;
pub mod inbox_suite;
pub mod store_suite;
pub mod subscription_suite;
pub mod transaction_suite;
pub mod transport_suite;

mod pooler;
mod program;
mod proxy;
pub mod servers;
pub mod tls;

pub use fixture::{FixtureTransaction, RawRow, StoreFixture, compiler_is, run_case, started};
pub use pooler::Pooler;
pub use program::program;
pub use proxy::Proxy;

use fixture::{case_runtime, offered, run_to_end};

/// Expands to one test per case, in a module per topic.
#[doc(hidden)]
#[macro_export]
macro_rules! suite_cases {
    ($fixture:ty, $suite:ident, $run:ident: $($group:ident { $($case:ident)+ })+) => {
        $( $crate::suite_cases! { @group $fixture, $suite, $run; $group { $($case)+ } } )+
    };
    (@group $fixture:ty, $suite:ident, $run:ident; $group:ident { $($case:ident)+ }) => {
        mod $group {
            #[allow(unused_imports, reason = "the fixture may be named by its full path")]
            use super::*;

            $(
                #[test]
                fn $case() {
                    $crate::$suite::$run::<$fixture, _, _>($crate::$suite::$group::$case);
                }
            )+
        }
    };
}
