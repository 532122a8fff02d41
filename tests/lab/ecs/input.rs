//! Reading a request's fields, and the paging that all lists share.

use super::ApiError;
use serde_json::{Map, Value};

/// A request, or an object in one.
#[derive(Clone, Copy)]
pub(super) struct Input<'a>(&'a Map<String, Value>);

impl<'a> Input<'a> {
    pub(super) fn new(value: &'a Value) -> Result<Self, ApiError> {
        value
            .as_object()
            .map(Self)
            .ok_or_else(|| ApiError::Serialization("an object was expected".to_owned()))
    }

    pub(super) fn fields(self) -> &'a Map<String, Value> {
        self.0
    }

    /// The field, where null counts as absent, as AWS's JSON protocols have it.
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn typed<T>(
        self,
        key: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let wrong = || ApiError::Serialization(format!("{key}: {what} was expected"));
        self.get(key).map(|value| read(value).ok_or_else(wrong)).transpose()
    }

    pub(super) fn text(self, key: &str) -> Result<Option<&'a str>, ApiError> {
        self.typed(key, "a string", Value::as_str)
    }

    pub(super) fn required(self, key: &str) -> Result<&'a str, ApiError> {
        self.text(key)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| ApiError::InvalidParameter(format!("{key} can not be blank.")))
    }

    pub(super) fn count(self, key: &str) -> Result<Option<usize>, ApiError> {
        self.typed(key, "a whole number", |value| value.as_u64().and_then(|n| usize::try_from(n).ok()))
    }

    pub(super) fn flag(self, key: &str) -> Result<bool, ApiError> {
        Ok(self.typed(key, "a boolean", Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn object(self, key: &str) -> Result<Option<Input<'a>>, ApiError> {
        self.get(key).map(Input::new).transpose()
    }

    /// The items of a list; none when it is absent.
    pub(super) fn list(self, key: &str) -> Result<&'a [Value], ApiError> {
        Ok(self.typed(key, "a list", Value::as_array)?.map_or(&[], Vec::as_slice))
    }

    pub(super) fn objects(self, key: &str) -> Result<Vec<Input<'a>>, ApiError> {
        self.list(key)?.iter().map(Input::new).collect()
    }

    pub(super) fn texts(self, key: &str) -> Result<Vec<&'a str>, ApiError> {
        let wrong = || ApiError::Serialization(format!("{key}: a list of strings was expected"));
        self.list(key)?.iter().map(|value| value.as_str().ok_or_else(wrong)).collect()
    }

    /// Whether `include` names `what`: `TAGS` is all that the lab keeps apart.
    pub(super) fn includes(self, what: &str) -> Result<bool, ApiError> {
        Ok(self.texts("include")?.contains(&what))
    }

    /// One page of `all` as the request's `maxResults` and `nextToken` ask for it, and the token of the next.
    ///
    /// The token is the position: a list that changes between two pages may repeat or miss an entry, as ECS's may.
    pub(super) fn page(
        self,
        all: Vec<Value>,
        default: usize,
        max: usize,
    ) -> Result<(Vec<Value>, Option<Value>), ApiError> {
        let size = self.count("maxResults")?.unwrap_or(default);
        if size == 0 || size > max {
            return Err(ApiError::InvalidParameter(format!("maxResults must be between 1 and {max}.")));
        }
        let start = match self.text("nextToken")? {
            None => 0,
            Some(token) => token
                .strip_prefix("lab-page-")
                .and_then(|at| at.parse().ok())
                .filter(|at| *at <= all.len())
                .ok_or_else(|| ApiError::InvalidParameter("Invalid token.".to_owned()))?,
        };
        let next = start + size;
        let token = (next < all.len()).then(|| Value::from(format!("lab-page-{next}")));
        Ok((all.into_iter().skip(start).take(size).collect(), token))
    }
}

/// `{key: page}` with `nextToken` where there is more.
pub(super) fn paged(key: &str, (page, token): (Vec<Value>, Option<Value>)) -> Value {
    let mut answer = Map::new();
    answer.insert(key.to_owned(), page.into());
    if let Some(token) = token {
        answer.insert("nextToken".to_owned(), token);
    }
    answer.into()
}

/// An entry of `failures[]`: how ECS's Describe operations answer for what isn't there.
pub(super) fn missing(arn: impl Into<String>) -> Value {
    serde_json::json!({ "arn": arn.into(), "reason": "MISSING" })
}
