//! What plain text means: the rules of the YAML library that Docker Compose uses, which knows YAML 1.1 and 1.2 both.
//!
//! `yes` and `on` are strings there (they become booleans only where one is asked for), `0777` and `0o777` both are octal,
//! `22:22` is a string, `2001-01-01` a date. Source: go-yaml v3, `resolve.go`.

use serde_json::{Number, Value as Json};

/// What a scalar is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Text.
    String,
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A date, or a date with a time.
    Timestamp,
    /// `<<`.
    Merge,
}

impl Kind {
    /// What plain text means.
    pub fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Bool(true),
            "false" | "False" | "FALSE" => return Self::Bool(false),
            ".nan" | ".NaN" | ".NAN" => return Self::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Self::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Self::Float(f64::NEG_INFINITY),
            "<<" => return Self::Merge,
            _ => {}
        }
        match text.as_bytes() {
            [b'.', ..] => float(text).map_or(Self::String, Self::Float),
            [b'+' | b'-' | b'0'..=b'9', ..] => {
                if is_timestamp(text) {
                    return Self::Timestamp;
                }
                let plain = text.replace('_', "");
                match (int(&plain), float(&plain)) {
                    (Some(number), _) => Self::Int(number),
                    (None, Some(number)) => Self::Float(number),
                    (None, None) => Self::String,
                }
            }
            _ => Self::String,
        }
    }

    /// What text with a tag of YAML itself is, if the two agree.
    pub fn tagged(text: &str, tag: &str) -> Option<Self> {
        match (tag, Self::of(text)) {
            ("null", kind @ Self::Null)
            | ("bool", kind @ Self::Bool(_))
            | ("int", kind @ Self::Int(_))
            | ("float", kind @ Self::Float(_))
            | ("timestamp", kind @ Self::Timestamp) => Some(kind),
            ("float", Self::Int(number)) => Some(Self::Float(number as f64)),
            _ => None,
        }
    }

    /// What it is, for a message.
    pub fn words(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Timestamp => "a date",
            Self::Merge => "a merge key",
        }
    }

    pub(super) fn as_json(self, text: &str) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(bool) => Json::Bool(bool),
            Self::Int(number) => {
                Number::from_i128(number).map_or_else(|| Json::String(text.to_owned()), Json::Number)
            }
            Self::Float(number) => Number::from_f64(number).map_or(Json::Null, Json::Number),
            Self::String | Self::Timestamp | Self::Merge => Json::String(text.to_owned()),
        }
    }
}

/// A whole number as Go reads it with base 0, and `0b`, `0o` after it.
fn int(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(digits, base).ok()?;
    let number = if negative { -number } else { number };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let is_number = unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && mantissa.bytes().any(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// `2001-1-2`, and with a time after `T`, `t` or a space.
fn is_timestamp(text: &str) -> bool {
    let number = |text: &str, longest: usize, most: u32| {
        !text.is_empty()
            && text.len() <= longest
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse::<u32>().is_ok_and(|number| number <= most)
    };
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (parts.next(), parts.next(), parts.next());
    let is_date = year.is_some_and(|year| year.len() == 4 && number(year, 4, 9999))
        && month.is_some_and(|month| number(month, 2, 12) && !month.trim_matches('0').is_empty())
        && day.is_some_and(|day| number(day, 2, 31) && !day.trim_matches('0').is_empty());
    let is_time = |time: &str| {
        // The zone is checked only as far as a time of day goes: `Z` or `+01:00`.
        let (clock, zone) = match time.find(['Z', '+', '-']) {
            Some(at) => (&time[..at], Some(&time[at..])),
            None => (time, None),
        };
        let (clock, fraction) = match clock.split_once('.') {
            Some((clock, fraction)) => (clock, Some(fraction)),
            None => (clock, None),
        };
        let parts: Vec<&str> = clock.split(':').collect();
        let is_zone =
            zone.is_none_or(|zone| zone == "Z" || zone.len() == 6 && zone.as_bytes().get(3) == Some(&b':'));
        matches!(parts.as_slice(), [h, m, s] if number(h, 2, 23) && number(m, 2, 59) && number(s, 2, 59))
            && fraction.is_none_or(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
            && is_zone
            // With a `T` the zone is a must, after a space it must not be there.
            && zone.is_some() != text.contains(' ')
    };
    is_date && time.is_none_or(is_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_what_docker_compose_takes_it_for() {
        use Kind::{Bool, Float, Int, Null, String, Timestamp};
        for (text, kind) in [
            ("", Null),
            ("~", Null),
            ("nULL", String),
            ("True", Bool(true)),
            ("tRUE", String),
            ("yes", String),
            ("on", String),
            ("1", Int(1)),
            ("-1", Int(-1)),
            ("+1", Int(1)),
            ("1_000", Int(1000)),
            ("0777", Int(0o777)),
            ("0o777", Int(0o777)),
            ("0x1F", Int(31)),
            ("0b11", Int(3)),
            ("-0x1", Int(-1)),
            ("08", Float(8.0)),
            ("1.5", Float(1.5)),
            ("1e3", Float(1000.0)),
            (".5", Float(0.5)),
            ("1.", Float(1.0)),
            (".", String),
            ("..", String),
            ("./x", String),
            (".e", String),
            ("-", String),
            ("1.2.3", String),
            ("22:22", String),
            ("1e", String),
            ("0x", String),
            ("2001-01-01", Timestamp),
            ("2001-1-1", Timestamp),
            ("2001-13-01", String),
            ("2001-01-01T00:00:00Z", Timestamp),
            ("2001-01-01 10:20:30", Timestamp),
            ("2001-01-01x", String),
            ("/a", String),
        ] {
            assert_eq!(Kind::of(text), kind, "{text:?}");
        }
    }

    #[test]
    fn a_tag_of_yaml_itself_must_fit() {
        assert_eq!(Kind::tagged("1", "float"), Some(Kind::Float(1.0)));
        assert_eq!(Kind::tagged("x", "int"), None);
        assert_eq!(Kind::tagged("true", "bool"), Some(Kind::Bool(true)));
    }
}
