#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| outbox_fuzz::urls::broker_urls(input));
