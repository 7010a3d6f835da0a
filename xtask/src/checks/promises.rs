use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use xshell::Shell;

use super::none_of;
use crate::workspace::text_files;

/// The page whose every promise has a test behind it.
const SHEET: &str = "docs/guarantees.md";

/// A test that a page names as `path/to/file.rs::name` is there, and is a test. Each promise of the sheet names at least
/// one: a list item that begins in bold is a promise.
pub(crate) fn promises(sh: &Shell) -> Result<()> {
    let files: BTreeMap<PathBuf, String> = text_files(sh)?.into_iter().collect();
    let mut findings = Vec::new();
    let mut count = 0;
    for (path, text) in &files {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let named: Vec<String> = code(text).filter(|code| named(code).is_some()).collect();
        count += named.len();
        let missing = named.iter().filter(|name| !is_test(name, &files));
        findings.extend(missing.map(|name| format!("{}: there is no test {name}", path.display())));
    }
    let sheet = files.get(Path::new(SHEET)).with_context(|| format!("there is no {SHEET}"))?;
    let promises = sheet_of(sheet);
    let bare = promises.iter().filter(|(_, tests)| *tests == 0);
    findings.extend(bare.map(|(promise, _)| format!("{SHEET}: no test stands behind {promise:?}")));
    none_of(&findings)?;
    eprintln!("{} promises; pages name {count} tests", promises.len());
    Ok(())
}

/// The inline code of a page.
fn code(text: &str) -> impl Iterator<Item = String> {
    Parser::new(text).filter_map(|event| match event {
        Event::Code(code) => Some(code.into_string()),
        _ => None,
    })
}

/// File and function of `path/to/file.rs::name`.
fn named(code: &str) -> Option<(&str, &str)> {
    let (file, name) = code.split_once(".rs::")?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let file = &code[..file.len() + ".rs".len()];
    (is_name && file.contains('/') && !file.contains(char::is_whitespace)).then_some((file, name))
}

/// Whether the file has this function, and somebody runs it: by its attribute, or because a macro in the same
/// crate makes tests of it: its name stands alone on a line of a list, or is all that the macro is given.
fn is_test(code: &str, files: &BTreeMap<PathBuf, String>) -> bool {
    let Some((file, name)) = named(code) else {
        return false;
    };
    let Some(text) = files.get(Path::new(file)) else {
        return false;
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let starts = [format!("fn {name}("), format!("fn {name}<")];
    let defines = |line: &&str| starts.iter().any(|start| line.contains(start.as_str()));
    let Some(at) = lines.iter().position(defines) else {
        return false;
    };
    // Attributes and doc comments stand between the attribute of the test and its function.
    let mut above =
        lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    let marked = above.any(|line| {
        let attribute = line.strip_prefix("#[").and_then(|line| line.split(['(', ']']).next());
        attribute.is_some_and(|attribute| attribute == "test" || attribute.ends_with("::test"))
    });
    let owner = Path::new(file).components().next();
    let called = format!("!({name});");
    let listed = |(path, text): (&PathBuf, &String)| {
        path.components().next() == owner
            && path.extension().is_some_and(|extension| extension == "rs")
            && text.lines().any(|line| line.trim() == name || line.trim().ends_with(&called))
    };
    marked || files.iter().any(listed)
}

/// The promises of the sheet, in their own words, and how many tests each names.
fn sheet_of(text: &str) -> Vec<(String, usize)> {
    let mut promises: Vec<(String, usize)> = Vec::new();
    let mut item_begins = false;
    let mut in_promise = false;
    let mut in_bold = false;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Item) => (item_begins, in_promise) = (true, false),
            Event::End(TagEnd::Item) => in_promise = false,
            Event::Start(Tag::Strong) if item_begins => {
                (item_begins, in_promise, in_bold) = (false, true, true);
                promises.push((String::new(), 0));
            }
            Event::End(TagEnd::Strong) => in_bold = false,
            Event::Start(Tag::Paragraph) => {}
            Event::Code(code) if in_promise => {
                let Some((promise, tests)) = promises.last_mut() else { continue };
                if in_bold {
                    promise.push_str(&code);
                }
                *tests += usize::from(named(&code).is_some());
            }
            Event::Text(text) if in_bold => {
                if let Some((promise, _)) = promises.last_mut() {
                    promise.push_str(&text);
                }
            }
            _ => item_begins = false,
        }
    }
    promises
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> BTreeMap<PathBuf, String> {
        let file = |path: &str, text: &str| (PathBuf::from(path), text.to_owned());
        BTreeMap::from([
            file(
                "store/tests/it/a.rs",
                "#[test]\nfn one() {}\n\n/// Words.\n#[tokio::test(start_paused = true)]\n// Why.\nasync fn two() {}\n\n\
                 fn helper() {}\n",
            ),
            file("store/src/suite/cases.rs", "pub async fn three<F: Fixture>(fixture: F) {}\n"),
            file("store/src/suite/mod.rs", "cases! {\n    three\n}\n"),
            file("store/tests/it/b.rs", "on_each!(four);\nasync fn four() {}\nasync fn five() {}\n"),
            file("other/src/lib.rs", "x! {\n    helper\n}\n"),
        ])
    }

    #[test]
    fn a_test_is_known_by_its_attribute_or_its_list() {
        for name in [
            "store/tests/it/a.rs::one",
            "store/tests/it/a.rs::two",
            "store/src/suite/cases.rs::three",
            "store/tests/it/b.rs::four",
        ] {
            assert!(is_test(name, &files()), "{name}");
        }
    }

    #[test]
    fn what_was_renamed_moved_or_never_run_is_no_test() {
        for name in [
            "store/tests/it/a.rs::one_more",
            "store/tests/it/b.rs::one",
            "store/tests/it/b.rs::five",
            "store/tests/it/a.rs::helper",
            "store/src/suite/mod.rs::three",
        ] {
            assert!(!is_test(name, &files()), "{name}");
        }
    }

    #[test]
    fn only_tests_are_taken_for_tests() {
        assert_eq!(named("a/b.rs::c"), Some(("a/b.rs", "c")));
        for code in ["outbox::Config", "a/b.rs", "b.rs::", "a b/c.rs::d", "a/b.rs::c::d"] {
            assert_eq!(named(code), None, "{code}");
        }
    }

    #[test]
    fn a_promise_is_an_item_that_begins_in_bold() {
        let sheet = "* **Kept `so`.** Words. `a/b.rs::c`, `a/b.rs::d`\n* **Bare.** `Config`\n* *Not promised.* **Bold**\n\n\
                     text `a/b.rs::e`\n";
        assert_eq!(sheet_of(sheet), [("Kept so.".to_owned(), 2), ("Bare.".to_owned(), 0)]);
    }

    #[test]
    fn the_pages_of_this_tree_name_tests_that_there_are() {
        promises(&crate::workspace::shell().unwrap()).unwrap();
    }
}
