use std::path::{Path, PathBuf};

/// A page of `docs`.
pub(super) struct Page {
    pub(super) name: String,
    pub(super) text: String,
}

/// A fenced block: what stands behind its fence, and its lines.
pub(super) struct Block<'a> {
    pub(super) language: &'a str,
    pub(super) lines: Vec<&'a str>,
}

pub(super) fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

impl Page {
    pub(super) fn read(name: &str) -> Self {
        let text =
            std::fs::read_to_string(docs().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), text }
    }

    /// Those that people write; the reference of the configuration is made from the keys.
    pub(super) fn all() -> Vec<Self> {
        let names = std::fs::read_dir(docs()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let mut names: Vec<_> =
            names.filter(|name| name.ends_with(".md") && name != "configuration.md").collect();
        names.sort();
        assert!(names.iter().any(|name| name == "operations.md"), "{names:?}");
        names.iter().map(|name| Self::read(name)).collect()
    }

    pub(super) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        for line in self.text.lines().map(str::trim_start) {
            match (line.strip_prefix("```"), open.take()) {
                (Some(_), Some(block)) => blocks.push(block),
                (Some(language), None) => open = Some(Block { language: language.trim(), lines: Vec::new() }),
                (None, Some(mut block)) => {
                    block.lines.push(line);
                    open = Some(block);
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.name);
        blocks
    }

    /// The inline code of the page.
    pub(super) fn code(&self) -> Vec<&str> {
        let mut fenced = false;
        let mut found = Vec::new();
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if !fenced {
                found.extend(line.split('`').skip(1).step_by(2));
            }
        }
        found
    }
}

#[test]
fn blocks_and_code_are_told_apart() {
    let text = "a `b` c `d e`\n\n1. x\n\n   ```sh\n   outbox `f`\n   ```\n\n`g`\n".to_owned();
    let page = Page { name: "x.md".to_owned(), text };
    assert_eq!(page.code(), ["b", "d e", "g"]);
    let blocks = page.blocks();
    assert_eq!((blocks.len(), blocks[0].language, &blocks[0].lines[..]), (1, "sh", &["outbox `f`"][..]));
}
