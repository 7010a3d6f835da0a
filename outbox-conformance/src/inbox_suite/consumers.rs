//! Whose inbox it is.

use std::sync::Arc;

use outbox_core::{Admission, MessageId};

use super::InboxFixture;
use super::work::{BILLING, handle, look_at};

/// Each consumer has an inbox of its own in the same table.
pub async fn two_consumers_handle_a_message_once_each<F: InboxFixture>(fixture: Arc<F>) {
    let id = MessageId::new();
    for consumer in [BILLING, "shipping"] {
        handle(&*fixture, consumer, &id).await;
        assert_eq!(look_at(&*fixture, consumer, &id).await, Admission::Duplicate, "{consumer}");
    }
    assert_eq!(look_at(&*fixture, BILLING, &id).await, Admission::Duplicate);
}

/// Whatever a collation would call equal is another name.
pub async fn names_are_compared_byte_by_byte<F: InboxFixture>(fixture: Arc<F>) {
    let names = [
        "billing",
        "Billing",
        "BILLING",
        "billing ",
        " billing",
        "billing  ",
        "b\u{ed}lling",
        // The same letter as a vowel and an accent.
        "bi\u{301}lling",
        // Letters of another width.
        "\u{ff42}illing",
        "stra\u{df}e",
        "strasse",
        // With a space that is not seen.
        "billing\u{200b}",
        "billing'; --",
        "billing\\",
    ];
    let id = MessageId::new();
    for name in names {
        handle(&*fixture, name, &id).await;
    }
    for name in names {
        assert_eq!(look_at(&*fixture, name, &id).await, Admission::Duplicate, "{name:?}");
    }
    assert_eq!(look_at(&*fixture, "billin", &id).await, Admission::Fresh);
}

/// Bytes, not characters; all of them count.
pub async fn a_name_has_up_to_255_bytes<F: InboxFixture>(fixture: Arc<F>) {
    let id = MessageId::new();
    let shared = "b".repeat(254);
    let names = [
        format!("{shared}b"),
        format!("{shared}c"),
        format!("{}b", "\u{e9}".repeat(127)),
        format!("{}abc", "\u{1f980}".repeat(63)),
        shared,
    ];
    for name in &names[..4] {
        assert_eq!(name.len(), 255);
    }
    for name in &names {
        handle(&*fixture, name, &id).await;
    }
    for name in &names {
        assert_eq!(look_at(&*fixture, name, &id).await, Admission::Duplicate, "{name:?}");
        let admissions = fixture.admit_all(name, &[MessageId::new(), id], true).await.unwrap();
        assert_eq!(admissions, [Admission::Fresh, Admission::Duplicate], "{name:?}");
    }
}
