use std::net::SocketAddr;
use std::time::Duration;

use figment::value::Value;
use humantime::{format_duration, parse_duration};
use outbox_relay::OnDead;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::setting::SettingValue;
use outbox_relay::OldMessages;

use super::{ConfigProfile, DeliveryMode};

/// Why a value can't be used, if there is more to say than what is allowed.
pub(super) type Refused = Option<String>;

/// A field of [`super::Config`] that a key sets.
pub(super) trait Field {
    /// What may be written, after "allowed: ".
    fn allowed(&self) -> &'static str;

    /// What a text stands for: the environment has nothing else. What can't be read stays a text, and is then refused.
    fn typed(&self, text: &str) -> Value {
        Value::from(text)
    }

    fn read(&self) -> SettingValue;

    fn write(&mut self, value: &Value) -> Result<(), Refused>;
}

pub(super) fn text_of(value: &Value) -> Result<&str, Refused> {
    value.as_str().ok_or(None)
}

impl Field for bool {
    fn allowed(&self) -> &'static str {
        "true or false"
    }

    fn typed(&self, text: &str) -> Value {
        text.trim().parse::<Self>().map_or_else(|_| Value::from(text), Value::from)
    }

    fn read(&self) -> SettingValue {
        SettingValue::Flag(*self)
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        *self = value.to_bool().ok_or(None)?;
        Ok(())
    }
}

/// Whole numbers; zero is refused where all settings of the relay are checked.
macro_rules! number {
    ($type:ty, $allowed:literal) => {
        impl Field for $type {
            fn allowed(&self) -> &'static str {
                $allowed
            }

            fn typed(&self, text: &str) -> Value {
                text.trim().parse::<u64>().map_or_else(|_| Value::from(text), Value::from)
            }

            fn read(&self) -> SettingValue {
                SettingValue::Number(u64::try_from(*self).unwrap_or(u64::MAX))
            }

            fn write(&mut self, value: &Value) -> Result<(), Refused> {
                *self = value.deserialize().map_err(|_| None)?;
                Ok(())
            }
        }
    };
}

number!(usize, "a whole number, 1 or more");
number!(u16, "a whole number, at most 65535");

impl Field for f64 {
    fn allowed(&self) -> &'static str {
        "a fraction from 0 to 1"
    }

    fn typed(&self, text: &str) -> Value {
        text.trim().parse::<Self>().map_or_else(|_| Value::from(text), Value::from)
    }

    fn read(&self) -> SettingValue {
        SettingValue::Fraction(*self)
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        *self = value.deserialize().map_err(|_| None)?;
        Ok(())
    }
}

impl Field for String {
    fn allowed(&self) -> &'static str {
        "a text"
    }

    fn read(&self) -> SettingValue {
        SettingValue::Text(self.clone())
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        text_of(value)?.clone_into(self);
        Ok(())
    }
}

impl Field for Duration {
    fn allowed(&self) -> &'static str {
        "a duration, for example \"30s\", \"500ms\" or \"7d\""
    }

    fn read(&self) -> SettingValue {
        SettingValue::Text(format_duration(*self).to_string())
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        *self = parse_duration(text_of(value)?.trim()).map_err(|_| None)?;
        Ok(())
    }
}

impl Field for SocketAddr {
    fn allowed(&self) -> &'static str {
        "an address and a port, for example \"127.0.0.1:9464\" or \"[::]:9464\""
    }

    fn read(&self) -> SettingValue {
        SettingValue::Text(self.to_string())
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        *self = text_of(value)?.trim().parse().map_err(|_| None)?;
        Ok(())
    }
}

impl Field for ConfigProfile {
    fn allowed(&self) -> &'static str {
        "testing (or test), development (dev), production (prod, staging)"
    }

    fn read(&self) -> SettingValue {
        SettingValue::Text(self.to_string())
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        *self = Self::from_word(text_of(value)?).ok_or(None)?;
        Ok(())
    }
}

/// Words that are the names of variants.
macro_rules! word {
    ($type:ty, $allowed:literal) => {
        impl Field for $type {
            fn allowed(&self) -> &'static str {
                $allowed
            }

            fn read(&self) -> SettingValue {
                SettingValue::Text(word_of(self))
            }

            fn write(&mut self, value: &Value) -> Result<(), Refused> {
                *self = from_word(text_of(value)?)?;
                Ok(())
            }
        }
    };
}

word!(DeliveryMode, "transactional, direct_first or direct");
word!(OldMessages, "park or process");
word!(OnDead, "park, skip or block");

pub(super) fn from_word<T: DeserializeOwned>(word: &str) -> Result<T, Refused> {
    Value::from(word.trim()).deserialize().map_err(|_| None)
}

pub(super) fn word_of(word: &impl Serialize) -> String {
    let value = Value::serialize(word).ok();
    value.and_then(Value::into_string).unwrap_or_default()
}

/// What may be left out. The value that stands in for it is only asked what is allowed.
impl<T: Field + Example> Field for Option<T> {
    fn allowed(&self) -> &'static str {
        T::EXAMPLE.allowed()
    }

    fn typed(&self, text: &str) -> Value {
        T::EXAMPLE.typed(text)
    }

    fn read(&self) -> SettingValue {
        self.as_ref().map_or(SettingValue::None, Field::read)
    }

    fn write(&mut self, value: &Value) -> Result<(), Refused> {
        let mut new = T::EXAMPLE;
        new.write(value)?;
        *self = Some(new);
        Ok(())
    }
}

pub(super) trait Example {
    const EXAMPLE: Self;
}

impl Example for String {
    const EXAMPLE: Self = Self::new();
}

impl Example for Duration {
    const EXAMPLE: Self = Self::ZERO;
}

impl Example for ConfigProfile {
    const EXAMPLE: Self = Self::Production;
}
