use outbox::relay::trace::TraceParent;

/// What is read is written as it was, except for what a later version of the format adds.
pub fn traceparent(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(parent) = text.parse::<TraceParent>() else {
        return;
    };
    let written = parent.to_string();
    // Behind the version, which says no more than that there may be more.
    assert_eq!(written.get(2..), text.get(2..written.len()), "{text}");
    assert!(written.len() == text.len() || !text.starts_with("00"), "{text}");
    assert_eq!(written.parse(), Ok(parent), "{text}");
    assert!(parent.trace_id() != 0 && parent.span_id() != 0, "{text}");
    let again = TraceParent::new(parent.trace_id(), parent.span_id(), parent.is_sampled());
    assert!(again.is_some_and(|again| again.is_sampled() == parent.is_sampled()), "{text}");
}
