use std::collections::BTreeMap;

use super::page::{Page, docs};

/// The name of each alert, and where its rule says that the runbook has it.
fn alerts() -> BTreeMap<String, Option<String>> {
    let rules = std::fs::read_to_string(docs().join("observability/alerts.yml")).unwrap();
    let mut alerts: Vec<(String, Option<String>)> = Vec::new();
    for line in rules.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            alerts.push((name.to_owned(), None));
        } else if let Some(url) = line.strip_prefix("runbook_url: ") {
            alerts.last_mut().unwrap().1 = Some(url.to_owned());
        }
    }
    alerts.into_iter().collect()
}

/// The anchor of the section in which each alert is named.
fn places(page: &Page) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    let mut section = String::new();
    for line in page.text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = anchor(title);
        }
        if line.starts_with("Alert: ") || line.starts_with("Alerts: ") {
            for name in line.split('`').skip(1).step_by(2) {
                let before = places.insert(name.to_owned(), section.clone());
                assert_eq!(before, None, "{name} has two places");
            }
        }
    }
    places
}

/// As Markdown makes it.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn every_alert_has_its_place_in_the_runbook_and_leads_there() {
    let (alerts, places) = (alerts(), places(&Page::read("operations.md")));
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(
        places.keys().collect::<Vec<_>>(),
        alerts.keys().collect::<Vec<_>>(),
        "the runbook has another list of alerts than alerts.yml"
    );
    for (name, url) in alerts {
        let end = format!("/docs/operations.md#{}", places[&name]);
        assert!(
            url.as_ref().is_some_and(|url| url.ends_with(&end)),
            "{name}: runbook_url is {url:?}, not …{end}"
        );
    }
}

/// The sections that a page of `docs` leads to exist.
#[test]
fn links_into_pages_lead_to_sections() {
    let mut count = 0;
    for page in Page::all() {
        for link in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((file, section)) = link.split_once('#').filter(|_| !link.contains("://")) else {
                continue;
            };
            let file = if file.is_empty() { page.name.as_str() } else { file };
            let target = Page::read(file);
            let titles = target.text.lines().filter(|line| line.starts_with('#'));
            let mut anchors = titles.map(|line| anchor(line.trim_start_matches('#').trim()));
            assert!(anchors.any(|anchor| anchor == section), "{}: no section {link}", page.name);
            count += 1;
        }
    }
    assert!(count > 10, "{count} links");
}
