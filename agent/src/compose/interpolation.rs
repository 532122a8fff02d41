//! Variables in the values of a compose file: `$X`, `${X}`, and with an operand `:-` `-` `:?` `?` `:+` `+`, nested; `$$` is `$`.
//!
//! Source: compose-go, `template/template.go`; measured. An operand ends at the brace that closes it, as that program counts
//! braces, on the same line; a `$` before anything else is a `$`.

use crate::yaml::Place;
use std::collections::BTreeMap;

/// Deepest nesting of operands.
const DEEPEST: usize = 32;

/// Where a variable's value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The environment of the command.
    Environment,
    /// A line of an env file.
    EnvFile(Place),
    /// Docker Compose itself: the project's name.
    Compose,
}

/// A variable's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The value.
    pub value: String,
    /// Where it was set.
    pub from: From,
}

/// Variables by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, Variable>);

impl Variables {
    /// Those of the command's environment.
    pub fn of_environment(environment: &BTreeMap<String, String>) -> Self {
        let set = |value: &String| Variable { value: value.clone(), from: From::Environment };
        Self(environment.iter().map(|(name, value)| (name.clone(), set(value))).collect())
    }

    /// A variable.
    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.0.get(name)
    }

    /// Its value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(|variable| variable.value.as_str())
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str, from: From) {
        self.0.insert(name.to_owned(), Variable { value: value.to_owned(), from });
    }

    /// Adds those that are not set yet.
    pub fn add(&mut self, others: Self) {
        for (name, variable) in others.0 {
            self.0.entry(name).or_insert(variable);
        }
    }
}

/// Where variables are looked up: one set, then another.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The set that wins.
    pub first: &'a Variables,
    /// What it lacks.
    pub then: Option<&'a Variables>,
}

impl<'a> Scope<'a> {
    fn get(self, name: &str) -> Option<&'a Variable> {
        self.first.get(name).or_else(|| self.then?.get(name))
    }
}

impl<'a> std::convert::From<&'a Variables> for Scope<'a> {
    fn from(first: &'a Variables) -> Self {
        Self { first, then: None }
    }
}

/// What a variable came to in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Its name.
    pub name: String,
    /// What it came to.
    pub outcome: Outcome,
    /// Whether it stands in an operand that had no part in the text.
    pub is_in_vain: bool,
}

/// What a variable came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its value.
    Value(From),
    /// Its value, and that is empty.
    Empty(From),
    /// It is not set: nothing, with a warning of Docker Compose.
    Unset,
    /// The operand of `-`, `+`, or nothing because its author said so.
    Operand,
}

/// A text with its variables replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Substituted {
    /// The text.
    pub text: String,
    /// The variables, in their order.
    pub used: Vec<Use>,
}

/// Why variables can't be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    /// `${` that begins no variable.
    #[error("`{0}` is not how a variable is written")]
    Malformed(String),
    /// `${X:?message}`.
    #[error("the variable `{variable}` is required{}", match .message.is_empty() { true => " and has no value".to_owned(), false => format!(": {message}") })]
    Required {
        /// Its name.
        variable: String,
        /// What its author says.
        message: String,
    },
}

impl InterpolationError {
    /// The diagnostic's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "interpolation",
            Self::Required { .. } => "required-variable",
        }
    }

    /// What to do.
    pub fn help(&self) -> String {
        match self {
            Self::Malformed(_) => "write `${NAME}`, `${NAME:-default}`, or `$$` for a dollar sign".to_owned(),
            Self::Required { variable, .. } => format!("set `{variable}` in the environment or in `.env`"),
        }
    }
}

/// Replaces the variables of a text.
///
/// # Errors
/// The first thing that is wrong.
pub fn substitute<'a>(
    text: &str,
    variables: impl Into<Scope<'a>>,
) -> Result<Substituted, InterpolationError> {
    let mut substituted = Substituted::default();
    replace(text, variables.into(), &mut substituted, 0)?;
    Ok(substituted)
}

fn replace(
    text: &str,
    variables: Scope<'_>,
    into: &mut Substituted,
    depth: usize,
) -> Result<(), InterpolationError> {
    let mut at = 0;
    // Where the line that is being read ends, and its last closing brace: operands reach that far at most.
    let mut line = Line { end: 0, last_brace: None };
    while let Some(next) = text[at..].find('$') {
        into.text.push_str(&text[at..at + next]);
        at += next;
        let rest = &text[at + 1..];
        match rest.as_bytes() {
            [b'$', ..] => {
                into.text.push('$');
                at += 2;
            }
            [b'{', ..] => {
                if at >= line.end {
                    line = Line::of(text, at);
                }
                let malformed = || InterpolationError::Malformed(excerpt(&text[at..]));
                let name = name(&rest[1..]).ok_or_else(malformed)?;
                let after = &rest[1 + name.len()..];
                if after.starts_with('}') {
                    into.look_up(name, variables);
                    at += 2 + name.len() + 1;
                    continue;
                }
                let (operator, operand_at) = operator(after).ok_or_else(malformed)?;
                let start = at + 2 + name.len() + operand_at;
                let last = line.last_brace.filter(|last| *last >= start).ok_or_else(malformed)?;
                let end = closing_brace(&text[at..=last]).map_or(last, |close| at + close);
                if depth >= DEEPEST || end < start {
                    return Err(malformed());
                }
                let mut operand = Substituted::default();
                replace(&text[start..end], variables, &mut operand, depth + 1)?;
                into.apply(name, operator, operand, variables)?;
                at = end + 1;
            }
            _ => match name(rest) {
                Some(name) => {
                    into.look_up(name, variables);
                    at += 1 + name.len();
                }
                None => {
                    into.text.push('$');
                    at += 1;
                }
            },
        }
    }
    into.text.push_str(&text[at..]);
    Ok(())
}

struct Line {
    end: usize,
    last_brace: Option<usize>,
}

impl Line {
    fn of(text: &str, at: usize) -> Self {
        let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
        Self { end, last_brace: text[at..end].rfind('}').map(|last| at + last) }
    }
}

/// The beginning of a text that is wrong, short enough for a message.
fn excerpt(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(40).collect()
}

fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let name = &text[..end];
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
}

#[derive(Clone, Copy)]
struct Operator {
    /// With a colon: an empty value counts as none.
    empty_is_unset: bool,
    means: Means,
}

/// What an operand is for.
#[derive(Clone, Copy)]
enum Means {
    Default,
    Required,
    Alternative,
}

/// The operator that a text begins with, and its length.
fn operator(text: &str) -> Option<(Operator, usize)> {
    let (empty_is_unset, sign) = match text.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let means = match sign.bytes().next()? {
        b'-' => Means::Default,
        b'?' => Means::Required,
        b'+' => Means::Alternative,
        _ => return None,
    };
    Some((Operator { empty_is_unset, means }, 1 + usize::from(empty_is_unset)))
}

/// The brace that closes the first one. As compose-go has it, the character after an opening brace is never looked at.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_i64;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            b'{' => {
                open += 1;
                bytes.next();
            }
            _ => {}
        }
    }
    None
}

impl Substituted {
    fn used(&mut self, name: &str, outcome: Outcome) {
        self.used.push(Use { name: name.to_owned(), outcome, is_in_vain: false });
    }

    fn take(&mut self, name: &str, variable: &Variable) {
        self.text.push_str(&variable.value);
        let from = variable.from.clone();
        self.used(name, if variable.value.is_empty() { Outcome::Empty(from) } else { Outcome::Value(from) });
    }

    fn look_up(&mut self, name: &str, variables: Scope<'_>) {
        match variables.get(name) {
            Some(variable) => self.take(name, variable),
            None => self.used(name, Outcome::Unset),
        }
    }

    fn apply(
        &mut self,
        name: &str,
        operator: Operator,
        operand: Self,
        variables: Scope<'_>,
    ) -> Result<(), InterpolationError> {
        let set =
            variables.get(name).filter(|variable| !(operator.empty_is_unset && variable.value.is_empty()));
        match (operator.means, set) {
            (Means::Required, None) => {
                return Err(InterpolationError::Required {
                    variable: name.to_owned(),
                    message: operand.text,
                });
            }
            (Means::Default, None) | (Means::Alternative, Some(_)) => {
                self.text.push_str(&operand.text);
                self.used(name, Outcome::Operand);
                self.used.extend(operand.used);
                return Ok(());
            }
            (Means::Alternative, None) => self.used(name, Outcome::Operand),
            (Means::Default | Means::Required, Some(variable)) => self.take(name, variable),
        }
        // Docker Compose replaces the operand's variables, and warns of them, whether it is used or not.
        self.used.extend(operand.used.into_iter().map(|used| Use { is_in_vain: true, ..used }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        for (name, value) in [("A", "a"), ("E", ""), ("_b1", "b")] {
            variables.set(name, value, From::Environment);
        }
        variables
    }

    fn replaced(text: &str) -> String {
        substitute(text, &variables()).map_or_else(|error| format!("!{}", error.code()), |done| done.text)
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("$A/x", "a/x"),
            ("${A}x", "ax"),
            ("$_b1-", "b-"),
            ("$$A", "$A"),
            ("$$$A", "$a"),
            ("a$", "a$"),
            ("$1 $ $- $}", "$1 $ $- $}"),
            ("$U!", "!"),
            ("${U}", ""),
            ("${A:-d}${E:-d}${U:-d}", "add"),
            ("${A-d}${E-d}${U-d}", "ad"),
            ("${A:+d}${E:+d}${U:+d}", "d"),
            ("${A+d}${E+d}${U+d}", "dd"),
            ("${A:?no}${A?no}${E?no}", "aa"),
            ("${E:?no}", "!required-variable"),
            ("${U?no}", "!required-variable"),
            ("${U:-${V:-/n}}/x", "/n/x"),
            ("${U:-${A}}", "a"),
            ("${U:-a:b}", "a:b"),
            ("${U:-}", ""),
            ("${U:-{x}}", "{x}"),
            ("${U:-{\"a\":1}}", "{\"a\":1}"),
            ("${U:-x}/${A}", "x/a"),
            ("${U:-x}}", "x}"),
            ("${U:-x", "!interpolation"),
            ("${U:-x\n}", "!interpolation"),
            ("${U:-x}\n${A}", "x\na"),
            ("${1X}", "!interpolation"),
            ("${}", "!interpolation"),
            ("${A/a/b}", "!interpolation"),
            ("${A!}", "!interpolation"),
            ("${A:b}", "!interpolation"),
            ("${ A }", "!interpolation"),
            ("${U:-$$x}", "$x"),
        ] {
            assert_eq!(replaced(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_each_variable_came_to() {
        let used = |text: &str| substitute(text, &variables()).unwrap().used;
        let named = |name: &str, outcome| vec![Use { name: name.to_owned(), outcome, is_in_vain: false }];
        assert_eq!(used("$A"), named("A", Outcome::Value(From::Environment)));
        assert_eq!(used("$E"), named("E", Outcome::Empty(From::Environment)));
        assert_eq!(used("$U"), named("U", Outcome::Unset));
        assert_eq!(used("${U:-x}"), named("U", Outcome::Operand));
        let warned: Vec<_> = used("${A:-$U}").into_iter().map(|used| (used.name, used.outcome)).collect();
        assert_eq!(warned[1], ("U".to_owned(), Outcome::Unset), "warned of, though its operand isn't used");
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("{}x{}", "${U:-".repeat(10_000), "}".repeat(10_000));
        assert_eq!(replaced(&deep), "!interpolation");
        assert_eq!(replaced(&"${U:-x}".repeat(20_000)).len(), 20_000, "side by side is not nested");
    }

    proptest! {
        #[test]
        fn without_a_dollar_sign_nothing_changes(text in "[^$]*") {
            prop_assert_eq!(replaced(&text), text);
        }

        #[test]
        fn doubled_dollar_signs_are_the_text(text in "[a-z${}:-]*") {
            prop_assert_eq!(replaced(&text.replace('$', "$$")), text);
        }

        #[test]
        fn nothing_is_too_odd(text in "[A-Ea-c${}:?+\n-]*") {
            drop(substitute(&text, &variables()));
        }
    }
}
