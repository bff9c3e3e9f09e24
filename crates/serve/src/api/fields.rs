//! A request's JSON object, read field by field, so that an error names the field as OpenAI's do.

use crate::api::error::ApiError;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Fields that nobody reads are ignored, as OpenAI ignores what it does not know; `null` is "not given".
pub struct Fields(Map<String, Value>);

impl Fields {
    /// # Errors
    /// The body is no JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|e| ApiError::bad(format!("The body is not valid JSON: {e}.")).code("invalid_json"))?;
        match value {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(ApiError::bad("The body must be a JSON object.").code("invalid_json")),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let read = |v: &'_ Value| v.as_str().is_none();
        match self.get(name) {
            Some(value) if read(value) => Err(wrong(name, "a string", value)),
            value => Ok(value.and_then(Value::as_str)),
        }
    }

    pub fn required_text(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name)?.ok_or_else(|| missing(name))
    }

    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        self.get(name).map_or(Ok(false), |v| v.as_bool().ok_or_else(|| wrong(name, "true or false", v)))
    }

    pub fn number(&self, name: &str, bounds: RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let expected = || format!("a number from {} to {}", bounds.start(), bounds.end());
        match value.as_f64().filter(|n| bounds.contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, &expected(), value)),
        }
    }

    pub fn whole(&self, name: &str, bounds: RangeInclusive<usize>) -> Result<Option<usize>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let expected = || match *bounds.end() {
            usize::MAX => format!("a whole number of at least {}", bounds.start()),
            end => format!("a whole number from {} to {end}", bounds.start()),
        };
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
        match number.filter(|n| bounds.contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, &expected(), value)),
        }
    }

    /// Any integer; negative ones wrap around, as seeds may.
    pub fn seed(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
        number.map(Some).ok_or_else(|| wrong(name, "a whole number", value))
    }

    /// A string or a list of up to `most` of them.
    pub fn texts(&self, name: &str, most: usize) -> Result<Vec<String>, ApiError> {
        let expected = format!("a string or a list of up to {most} strings, none empty");
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let list = match value {
            Value::Array(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        let texts: Option<Vec<String>> =
            list.iter().map(|v| v.as_str().filter(|t| !t.is_empty()).map(str::to_string)).collect();
        texts.filter(|t| t.len() <= most).ok_or_else(|| wrong(name, &expected, value))
    }

    /// Refuse a field that would change the reply and is not computed here, unless it says `neutral`.
    pub fn refuse(&self, name: &str, is_neutral: impl Fn(&Value) -> bool) -> Result<(), ApiError> {
        match self.get(name) {
            Some(value) if !is_neutral(value) => {
                let message = format!("`{name}` is not supported by this server; leave it out.");
                Err(ApiError::bad(message).param(name).code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }
}

pub fn missing(name: &str) -> ApiError {
    let message = format!("You must provide the parameter `{name}`.");
    ApiError::bad(message).param(name).code("missing_required_parameter")
}

pub fn wrong(name: &str, expected: &str, found: &Value) -> ApiError {
    let mut shown = found.to_string();
    if shown.chars().count() > 40 {
        shown = shown.chars().take(40).chain(['…']).collect();
    }
    ApiError::bad(format!("`{name}`: expected {expected}, found {shown}.")).param(name).code("invalid_value")
}
