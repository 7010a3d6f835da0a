use std::path::Path;

use anyhow::Result;
use pulldown_cmark::{Event, Parser, Tag};
use xshell::Shell;

use super::none_of;
use crate::workspace::{root, text_files};

/// Every link from a Markdown file to a file leads somewhere.
pub(crate) fn links(sh: &Shell) -> Result<()> {
    let mut findings = Vec::new();
    let mut count = 0;
    for (path, text) in text_files(sh)? {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let folder = root().join(&path);
        let folder = folder.parent().unwrap_or(&folder);
        for target in targets(&text) {
            count += 1;
            if !leads_somewhere(folder, &target) {
                findings.push(format!("{}: {target} does not exist", path.display()));
            }
        }
    }
    none_of(&findings)?;
    eprintln!("{count} links to files");
    Ok(())
}

/// The links and pictures of a text that are files.
fn targets(text: &str) -> Vec<String> {
    let destination = |event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.into_string())
        }
        _ => None,
    };
    // Rust paths are links in pages that are also the documentation of a crate; rustdoc checks those.
    let is_file = |target: &String| {
        let elsewhere = ["://", "mailto:", "::"].iter().any(|mark| target.contains(mark));
        !elsewhere && !target.starts_with('#')
    };
    Parser::new(text).filter_map(destination).filter(is_file).collect()
}

fn leads_somewhere(folder: &Path, target: &str) -> bool {
    let file = target.split('#').next().unwrap_or(target);
    folder.join(file).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found_and_code_is_not() {
        let text = "[a](docs/a.md#part), ![b](b.svg), [c], [d](https://docs.rs), [e](crate::E), [f](#f)\n\n\
            ```\n[no](no.md)\n```\n\n[c]: c.md\n";
        assert_eq!(targets(text), ["docs/a.md#part", "b.svg", "c.md"]);
    }

    #[test]
    fn a_link_to_nothing_is_noticed() {
        assert!(leads_somewhere(&root(), "xtask/src/main.rs#L1"));
        assert!(!leads_somewhere(&root(), "xtask/src/no-such-file.rs"));
    }
}
