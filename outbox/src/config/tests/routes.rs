use super::{Toml, from_code, from_environment, from_file, shown, variables};
use crate::config::Config;

fn routes(config: &Config) -> Vec<String> {
    let text = |route: &crate::RouteConfig| {
        let topics: Vec<_> = route.topics.iter().map(ToString::to_string).collect();
        format!("{}: {} -> {}", route.name, topics.join(" "), route.url)
    };
    config.routes.iter().map(text).collect()
}

const TWO: &str = "[[route]]\ntopics = ['z.*', 'log']\ntransport = 'memory:'\n\
                   [[route]]\nname = 'Audit-Log'\ntopics = ['*']\nurl = 'nats://u:c4nary@h'\n";

#[test]
fn routes_are_read_in_their_order() {
    let file = Toml::new(TWO);
    let config = file.sources().load().unwrap();
    assert_eq!(routes(&config), ["route-1: z.* log -> memory:", "Audit-Log: * -> nats://u:c4nary@h"]);
    assert!(!format!("{config:?}").contains("c4nary"));
    assert_eq!(shown(&config, "routes.route_1.topics"), format!("z.*, log from {}", file.path().display()));
    assert_eq!(
        shown(&config, "routes.audit_log.url"),
        format!("nats://u:***@h from {}", file.path().display())
    );
}

#[test]
fn the_environment_makes_routes() {
    let config = from_environment(&[
        ("OUTBOX_ROUTES_B_URL", "memory:"),
        ("OUTBOX_ROUTES_B_TOPICS", "b.*"),
        ("OUTBOX_ROUTES_AUDIT_LOG_TOPICS", "audit.*, log"),
        ("OUTBOX_ROUTES_AUDIT_LOG_URL", "stdout:"),
    ])
    .unwrap();
    assert_eq!(routes(&config), ["audit_log: audit.* log -> stdout:", "b: b.* -> memory:"]);
    assert_eq!(shown(&config, "routes.b.topics"), "b.* from OUTBOX_ROUTES_B_TOPICS");
}

#[test]
fn the_environment_and_code_replace_a_part_of_a_route_and_not_its_place() {
    let file = Toml::new(TWO);
    let over = [
        ("OUTBOX_ROUTES_AUDIT_LOG_URL", "stdout:"),
        ("OUTBOX_ROUTES_A_TOPICS", "a"),
        ("OUTBOX_ROUTES_A_URL", "memory:"),
    ];
    let config = file.sources().variables(variables(&over)).set("routes.route_1.topics", "y").load().unwrap();
    assert_eq!(routes(&config), ["route-1: y -> memory:", "Audit-Log: * -> stdout:", "a: a -> memory:"]);
    assert_eq!(shown(&config, "routes.audit_log.url"), "stdout: from OUTBOX_ROUTES_AUDIT_LOG_URL");
    assert_eq!(shown(&config, "routes.route_1.topics"), "y from code");
}

#[test]
fn a_password_may_come_from_the_environment_alone() {
    let file = Toml::new("[[route]]\nname = 'audit'\ntopics = ['audit']\n");
    assert_eq!(
        file.load(file.sources()).unwrap_err(),
        "FILE: routes.audit.url is missing: route.1.topics needs it"
    );
    let url = variables(&[("OUTBOX_ROUTES_AUDIT_URL", "nats://u:c4nary@h")]);
    let config = file.sources().variables(url).load().unwrap();
    assert_eq!(routes(&config), ["audit: audit -> nats://u:c4nary@h"]);
    assert_eq!(
        from_environment(&[("OUTBOX_ROUTES_AUDIT_URL", "memory:")]).unwrap_err(),
        "OUTBOX_ROUTES_AUDIT_URL: routes.audit.topics is missing: routes.audit.url needs it"
    );
}

#[test]
fn a_table_makes_a_route_too() {
    let config = from_file(
        "[routes.Audit]\ntopics = ['a']\nurl = 'memory:'\n[[route]]\ntopics = ['z']\nurl = 'stdout:'",
    );
    assert_eq!(routes(&config.unwrap()), ["route-1: z -> stdout:", "Audit: a -> memory:"]);
}

#[test]
fn a_wrong_route_says_which_and_why() {
    let topics = "allowed: a list of topics, for example [\"orders.placed\", \"audit.*\"]; in the environment separated by commas";
    for (toml, expected) in [
        ("[[route]]\nurl = 'memory:'", "routes.route_1.topics is missing: route.1.url needs it".to_owned()),
        ("[[route]]\ntopics = 'a'\nurl = 'memory:'", format!("route.1.topics is \"a\"; {topics}")),
        ("[[route]]\ntopics = []\nurl = 'memory:'", format!("route.1.topics is []; {topics}")),
        (
            "[[route]]\ntopics = ['a*b']\ntransport = 'memory:'\n",
            format!(
                "route.1.topics is [\"a*b\"]; {topics} (topic has the character '*' at byte 1; allowed: visible ASCII \
                 without * > \" ' ` \\)"
            ),
        ),
        (
            "[[route]]\ntopic = ['a']\nurl = 'memory:'",
            "unknown key route.1.topic; allowed are name, topics, transport".to_owned(),
        ),
        (
            "[[route]]\ntopics = ['a']\nurl = 'memory:'\ntransport = 'stdout:'",
            "route.1.url is set twice, also as route.1.transport; write it once".to_owned(),
        ),
        (
            "[[route]]\nname = 'a-b'\ntopics = ['a']\n[[route]]\nname = 'A_B'\ntopics = ['a']",
            "route.2.name is \"A_B\"; allowed: a name that no other route has".to_owned(),
        ),
        ("[[route]]\nname = ''", "route.1.name is \"\"; allowed: a name".to_owned()),
        ("route = 7", "route is 7; allowed: tables, [[route]]".to_owned()),
        (
            "[routes.a]\ntopic = ['x']",
            "unknown key routes.a.topic; allowed are <name>.topics, <name>.url".to_owned(),
        ),
        ("routes = 7", "unknown key routes; allowed are profile, ".to_owned()),
    ] {
        let error = from_file(toml).unwrap_err();
        assert!(error.starts_with(&format!("FILE: {expected}")), "{error}");
    }
    assert_eq!(
        from_environment(&[("OUTBOX_ROUTES_AUDIT_TOPIC", "a")]).unwrap_err(),
        "unknown variable OUTBOX_ROUTES_AUDIT_TOPIC; allowed are OUTBOX_ROUTES_<NAME>_TOPICS, OUTBOX_ROUTES_<NAME>_URL"
    );
    assert!(from_code("routes.a.topic", "x").unwrap_err().starts_with("code: unknown key routes.a.topic; "));
}
