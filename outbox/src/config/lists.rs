use std::time::Duration;

use figment::value::Value;
use humantime::format_duration;
use outbox_core::TopicPattern;
use outbox_relay::OnDead;

use super::field::{Field, Refused, from_word, text_of, word_of};
use super::setting::SettingValue;

/// Separated by commas.
fn list(text: &str) -> Value {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Value::from(entries.collect::<Vec<_>>())
}

fn entries(value: &Value) -> Result<&[Value], Refused> {
    value.as_array().filter(|values| !values.is_empty()).ok_or(None)
}

impl Field for Vec<Duration> {
    fn allowed(&self) -> &'static str {
        "a list of durations, for example [\"5s\", \"1min\"]; in the environment separated by commas"
    }

    fn typed(&self, text: &str) -> Value {
        list(text)
    }

    fn read(&self) -> SettingValue {
        SettingValue::List(self.iter().map(|span| format_duration(*span).to_string()).collect())
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        let read = |value: &Value| {
            let mut span = Duration::ZERO;
            span.write(value).map(|()| span)
        };
        *self = entries(value)?.iter().map(read).collect::<Result<_, _>>()?;
        Ok(())
    }
}

impl Field for Vec<TopicPattern> {
    fn allowed(&self) -> &'static str {
        "a list of topics, for example [\"orders.placed\", \"audit.*\"]; in the environment separated by commas"
    }

    fn typed(&self, text: &str) -> Value {
        list(text)
    }

    fn read(&self) -> SettingValue {
        SettingValue::List(self.iter().map(ToString::to_string).collect())
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        *self = entries(value)?.iter().map(|entry| pattern(text_of(entry)?)).collect::<Result<_, _>>()?;
        Ok(())
    }
}

fn pattern(text: &str) -> Result<TopicPattern, Refused> {
    text.parse().map_err(|error: outbox_core::MessageError| Some(error.to_string()))
}

/// Rules in their order: `topics=policy` each, or, in a file, a table each.
impl Field for Vec<(TopicPattern, OnDead)> {
    fn allowed(&self) -> &'static str {
        "a list of topics and policies, for example [\"audit.*=skip\"], or tables with topics and policy; policies are \
         park, skip and block"
    }

    fn typed(&self, text: &str) -> Value {
        list(text)
    }

    fn read(&self) -> SettingValue {
        let rules = self.iter().map(|(topics, policy)| format!("{topics}={}", word_of(policy)));
        SettingValue::List(rules.collect())
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        *self = entries(value)?.iter().map(rule).collect::<Result<_, _>>()?;
        Ok(())
    }
}

fn rule(value: &Value) -> Result<(TopicPattern, OnDead), Refused> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        topics: String,
        policy: OnDead,
    }
    if let Some(text) = value.as_str() {
        let (topics, policy) = text.rsplit_once('=').ok_or(None)?;
        return Ok((pattern(topics.trim())?, from_word(policy)?));
    }
    let rule: Rule = value.deserialize().map_err(|_| None)?;
    Ok((pattern(&rule.topics)?, rule.policy))
}
