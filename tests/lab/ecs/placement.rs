//! The part of the cluster query language that placement constraints use, and what it means for an instance's attributes.
//!
//! Source: ECS developer guide, "Create expressions to define container instances for Amazon ECS tasks". Subjects other than
//! `attribute:` and `agentConnected`, and pattern or number comparisons are refused: nobody in the lab uses them.

use std::collections::BTreeMap;

/// A subject that is no attribute.
pub const AGENT_CONNECTED: &str = "agentConnected";

/// An instance's attributes; capabilities have a name and no value.
pub type Attributes = BTreeMap<String, Option<String>>;

/// Why a text is not an expression that the lab can decide.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The text stops where more must come.
    #[error("the expression ends too soon")]
    Unfinished,
    /// A word or sign that can't stand where it stands.
    #[error("`{0}` is not expected there")]
    Unexpected(String),
    /// A subject that the lab hasn't.
    #[error("`{0}` is not an `attribute:NAME` or `agentConnected`; the lab decides about no other subject")]
    Subject(String),
}

/// A parsed `memberOf` expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// `attribute:NAME == V`, `!=` (negated), `in [V, ...]`, `!in [...]`.
    OneOf {
        /// The attribute's name.
        name: String,
        /// The values, any of which will do.
        values: Vec<String>,
    },
    /// `attribute:NAME exists`.
    Exists(String),
    /// `not E`, `!E`, and the negated operators.
    Not(Box<Expression>),
    /// `A and B`, `A && B`.
    And(Box<Expression>, Box<Expression>),
    /// `A or B`, `A || B`.
    Or(Box<Expression>, Box<Expression>),
}

impl Expression {
    /// Parses a whole expression.
    ///
    /// # Errors
    /// What the text has that the language, or the lab's part of it, hasn't.
    pub fn parse(text: &str) -> Result<Self, PlacementError> {
        let mut tokens = Tokens { left: tokenize(text) };
        let expression = tokens.either()?;
        match tokens.next() {
            None => Ok(expression),
            Some(more) => Err(PlacementError::Unexpected(more)),
        }
    }

    /// Whether an instance with these attributes is a member.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        match self {
            Self::OneOf { name, values } => {
                attributes.get(name).and_then(Option::as_ref).is_some_and(|value| values.contains(value))
            }
            Self::Exists(name) => attributes.contains_key(name),
            Self::Not(inner) => !inner.matches(attributes),
            Self::And(left, right) => left.matches(attributes) && right.matches(attributes),
            Self::Or(left, right) => left.matches(attributes) || right.matches(attributes),
        }
    }
}

fn tokenize(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let sign = match c {
            c if c.is_whitespace() => None,
            '(' | ')' | '[' | ']' | ',' => Some(c.to_string()),
            '!' | '=' | '&' | '|' | '<' | '>' => {
                let second = chars.next_if(|next| matches!(next, '=' | '~' | '&' | '|'));
                Some(std::iter::once(c).chain(second).collect())
            }
            c => {
                word.push(c);
                continue;
            }
        };
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        tokens.extend(sign);
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    tokens.reverse();
    tokens
}

/// What is left to read, last token first.
struct Tokens {
    left: Vec<String>,
}

impl Tokens {
    fn next(&mut self) -> Option<String> {
        self.left.pop()
    }

    fn need(&mut self) -> Result<String, PlacementError> {
        self.next().ok_or(PlacementError::Unfinished)
    }

    fn next_is(&mut self, words: &[&str]) -> bool {
        let is = self.left.last().is_some_and(|token| words.contains(&token.to_lowercase().as_str()));
        if is {
            self.left.pop();
        }
        is
    }

    fn either(&mut self) -> Result<Expression, PlacementError> {
        let mut left = self.both()?;
        while self.next_is(&["or", "||"]) {
            left = Expression::Or(Box::new(left), Box::new(self.both()?));
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Expression, PlacementError> {
        let mut left = self.one()?;
        while self.next_is(&["and", "&&"]) {
            left = Expression::And(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Expression, PlacementError> {
        if self.next_is(&["not", "!"]) {
            return Ok(Expression::Not(Box::new(self.one()?)));
        }
        if self.next_is(&["("]) {
            let inner = self.either()?;
            return match self.need()? {
                close if close == ")" => Ok(inner),
                other => Err(PlacementError::Unexpected(other)),
            };
        }
        let subject = self.need()?;
        let name = match subject.strip_prefix("attribute:") {
            Some(name) if !name.is_empty() => name.to_owned(),
            // Whoever asks about it gives it as one of the attributes.
            None if subject == AGENT_CONNECTED => subject,
            _ => return Err(PlacementError::Subject(subject)),
        };
        let negated = self.next_is(&["!"]); // `!in` and `!exists` come as two tokens
        let operator = self.need()?.to_lowercase();
        let positive = match operator.as_str() {
            "==" | "equals" => Expression::OneOf { name, values: vec![self.value()?] },
            "!=" | "not_equals" => negate(Expression::OneOf { name, values: vec![self.value()?] }),
            "in" => Expression::OneOf { name, values: self.values()? },
            "not_in" => negate(Expression::OneOf { name, values: self.values()? }),
            "exists" => Expression::Exists(name),
            "not_exists" => negate(Expression::Exists(name)),
            _ => return Err(PlacementError::Unexpected(operator)),
        };
        Ok(if negated { negate(positive) } else { positive })
    }

    fn value(&mut self) -> Result<String, PlacementError> {
        let value = self.need()?;
        if value.chars().any(|c| "()[],!=&|<>".contains(c)) {
            return Err(PlacementError::Unexpected(value));
        }
        Ok(value)
    }

    fn values(&mut self) -> Result<Vec<String>, PlacementError> {
        let open = self.need()?;
        if open != "[" {
            return Err(PlacementError::Unexpected(open));
        }
        let mut values = vec![self.value()?];
        loop {
            match self.need()? {
                close if close == "]" => return Ok(values),
                comma if comma == "," => values.push(self.value()?),
                other => return Err(PlacementError::Unexpected(other)),
            }
        }
    }
}

fn negate(expression: Expression) -> Expression {
    Expression::Not(Box::new(expression))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(text: &str, attributes: &[(&str, Option<&str>)]) -> Result<bool, PlacementError> {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        Expression::parse(text).map(|expression| expression.matches(&attributes))
    }

    #[test]
    fn expressions_decide_as_the_developer_guide_says() {
        let ready = [("convox.volumes", Some("ready")), ("ecs.capability.x", None)];
        for (text, expected) in [
            ("attribute:convox.volumes == ready", true),
            ("attribute:convox.volumes==ready", true),
            ("attribute:convox.volumes equals ready", true),
            ("attribute:convox.volumes == not-ready", false),
            ("attribute:convox.volumes != ready", false),
            ("attribute:convox.volumes.hold exists", false),
            ("attribute:convox.volumes.hold !exists", true),
            ("attribute:convox.volumes.hold not_exists", true),
            ("attribute:ecs.capability.x exists", true),
            ("attribute:ecs.capability.x == ready", false),
            ("attribute:convox.volumes in [lost, ready]", true),
            ("attribute:convox.volumes !in [lost, ready]", false),
            ("not (attribute:convox.volumes == ready)", false),
            ("attribute:a exists or attribute:convox.volumes == ready and attribute:a exists", false),
            ("(attribute:a exists || attribute:convox.volumes == ready) && !attribute:a exists", true),
        ] {
            assert_eq!(decide(text, &ready), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_expression_is_refused() {
        for text in [
            "",
            "attribute:a",
            "attribute:a ==",
            "attribute: == b",
            "attribute:a == ==",
            "attribute:a == b c",
            "attribute:a =~ b.*",
            "(attribute:a exists",
            "attribute:a in b",
            "attribute:a in [b",
            "task:group == x",
            "attribute:a is b",
        ] {
            assert!(decide(text, &[]).is_err(), "{text}");
        }
    }
}
