//! What a weight file says beside its tensors.

/// A value that a file gives a key; the kinds are GGUF's.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer.
    Int(i128),
    /// Any floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text; bytes that are no UTF-8 are replaced.
    Text(String),
    /// Several integers, or truth values as 0 and 1.
    Ints(Vec<i64>),
    /// Several numbers.
    Floats(Vec<f64>),
    /// Several texts.
    Texts(Vec<String>),
}
