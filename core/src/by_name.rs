//! Names as strings: for serde's `with`.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Writes the name that people type.
///
/// # Errors
/// - what the serializer says
pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// Reads it.
///
/// # Errors
/// - the type's own, if there is no such name
pub fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let name = String::deserialize(from)?;
    name.parse().map_err(D::Error::custom)
}
