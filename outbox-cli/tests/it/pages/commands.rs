use std::collections::BTreeSet;
use std::process::Command;

use super::page::Page;
use crate::shell::{Ran, Running, Shell};

/// The message that the pages replay, discard and show.
const ID: &str = "0198c0de-0000-7000-8000-000000000001";

/// A call of `outbox` on a page.
#[derive(Debug)]
struct Call {
    /// Page and line.
    place: String,
    words: Vec<String>,
}

/// Those in blocks of a shell, each part of a pipe by itself.
fn calls(page: &Page) -> Vec<Call> {
    let blocks = page.blocks();
    let shell = blocks.iter().filter(|block| block.language == "sh").flat_map(|block| &block.lines);
    let mut calls = Vec::new();
    for &line in shell {
        for part in line.split(" | ") {
            let mut words = words(part);
            // What is piped in are ids.
            if words.first().is_some_and(|word| word == "xargs") {
                words.remove(0);
                words.push(ID.to_owned());
            }
            if words.len() > 1 && words[0] == "outbox" {
                let place = format!("{}: {line}", page.name);
                calls.push(Call { place, words: words.split_off(1) });
            }
        }
    }
    calls
}

/// As a shell splits them: what is in quotes is one word, and a comment is none.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '#') if word.is_empty() => break,
            (None, ' ') if word.is_empty() => {}
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (_, c) => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// An outbox with a dead letter, and one message that waits.
fn outbox() -> Shell {
    let shell = Shell::migrated();
    let id = ID.replace('-', "");
    shell.sql(&format!(
        "INSERT INTO outbox_messages (id, topic, payload, headers) \
         VALUES (x'{id}', 'orders.placed', x'00', '{{\"no text\": 1}}')"
    ));
    shell.on_store(&["relay", "--transport", "memory:", "--drain"]).succeeds();
    assert_eq!(shell.count("outbox_dead_letters"), 1);
    shell.insert(2, "orders.placed", "a");
    shell
}

fn command(shell: &Shell, words: &[String]) -> Command {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = shell.command(&words);
    command.env("OUTBOX_STORE_URL", shell.url()).env("OUTBOX_TRANSPORT_URL", "memory:");
    command
}

fn run(call: &Call) {
    let shell = outbox();
    let mut words = call.words.clone();
    // SQLite has one shard.
    if words[0] == "shards" {
        words[2] = "1".to_owned();
    }
    if words == ["relay"] {
        let relay = Running::start(command(&shell, &words));
        relay.logged("took shards over");
        relay.signal("-TERM");
        relay.end().succeeds();
        return;
    }
    let ran = Ran::of(command(&shell, &words));
    // Here is a dead letter, which is a warning, and those are errors for whoever asks for it.
    let expected = i32::from(words[0] == "doctor" && words.iter().any(|word| word == "--strict"));
    assert_eq!(ran.code, expected, "{}\n{}{}", call.place, ran.stdout, ran.stderr);
}

#[test]
fn every_command_in_a_block_works() {
    let calls: Vec<Call> = Page::all().iter().flat_map(calls).collect();
    let mut seen = BTreeSet::new();
    // Some of them stand in many places.
    for call in calls.iter().filter(|call| seen.insert(call.words.clone())) {
        run(call);
    }
    assert!(seen.len() >= 20, "{seen:#?}");
}

/// In the text a command may lack what everybody has a value of his own for.
#[test]
fn every_command_in_a_text_exists() {
    let shell = Shell::new();
    let mut count = 0;
    for page in Page::all() {
        for code in page.code().into_iter().filter_map(|code| code.strip_prefix("outbox ")) {
            let mut words = words(code);
            words.push("--help".to_owned());
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = shell.run(&words);
            assert_eq!(ran.code, 0, "{}: outbox {code}\n{}", page.name, ran.stderr);
            count += 1;
        }
    }
    assert!(count > 10, "{count} commands in texts");
}

/// The commands that the program has: `dead list` for one of a group.
fn commands_of(shell: &Shell, group: &[&str]) -> Vec<String> {
    let help = shell.run(&[group, &["--help"]].concat()).succeeds().stdout;
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
    let names = listed.lines().take_while(|line| !line.is_empty());
    let names =
        names.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_runbook_has_every_command_of_the_program() {
    let shell = Shell::new();
    let page = Page::read("operations.md");
    let used: BTreeSet<Vec<String>> = calls(&page).into_iter().map(|call| call.words).collect();
    let is_used = |command: &[&str]| used.iter().any(|words| words.iter().zip(command).all(|(a, b)| a == b));
    let top = commands_of(&shell, &[]);
    assert!(top.len() > 5, "{top:?}");
    for name in &top {
        let parts = commands_of(&shell, &[name]);
        if parts.is_empty() {
            assert!(is_used(&[name]), "operations.md does not use `outbox {name}`");
        }
        for part in parts.iter().filter(|part| *part != "reference") {
            assert!(is_used(&[name, part]), "operations.md does not use `outbox {name} {part}`");
        }
    }
}

#[test]
fn words_are_those_of_a_shell() {
    assert_eq!(words("outbox a 'b c' # d"), ["outbox", "a", "b c"]);
    assert_eq!(words("  x \"a#b\"  y"), ["x", "a#b", "y"]);
    assert!(words("# nothing").is_empty());
}
