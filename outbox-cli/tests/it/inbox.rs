use crate::shell::Shell;

fn handled(shell: &Shell, consumer: &str, number: u32, days: u32) {
    shell.sql(&format!(
        "INSERT INTO inbox_messages (consumer, message_id, processed_at) VALUES ('{consumer}', x'{number:032x}', \
         (unixepoch() - 86400 * {days}) * 1000000)"
    ));
}

#[test]
fn an_inbox_forgets_what_is_older_than_it_is_told() {
    let shell = Shell::migrated();
    for (number, days) in [(1, 40), (2, 8), (3, 6)] {
        handled(&shell, "billing", number, days);
    }
    handled(&shell, "shipping", 1, 40);
    let said = shell.on_store(&["inbox", "purge", "billing", "--keep", "30d"]).succeeds().stdout;
    assert_eq!(said, "billing forgot 1 entries older than 30days\n");
    // What the configuration says: 7 days.
    assert_eq!(shell.on_store(&["inbox", "purge", "billing", "--json"]).succeeds().json()["purged"], 1);
    assert_eq!(shell.count("inbox_messages"), 2, "the young one, and another consumer's");
}

#[test]
fn whose_inbox_must_be_said() {
    let shell = Shell::migrated();
    shell.on_store(&["inbox", "purge", ""]).fails(2, "consumer is empty");
}
