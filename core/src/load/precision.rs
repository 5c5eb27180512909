//! Number formats that weights are written and held in.

use burn::tensor::DType;
use half::{bf16, f16};

use super::Dtype;

/// A floating-point format that is no quantised one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits: 11 of them digits, values up to 65504.
    F16,
    /// 16 bits: 8 of them digits, values as large as those of 32 bits.
    BF16,
}

impl Precision {
    /// Every format, and the name that people type.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::F32, "f32"), (Self::F16, "f16"), (Self::BF16, "bf16")];

    /// The format with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        let row = Self::ALL.into_iter().find(|row| row.1 == name);
        row.map(|row| row.0)
    }

    /// The name that people type.
    pub fn name(self) -> &'static str {
        // The table has a row for each variant; the first is never taken for another.
        let row = Self::ALL.iter().find(|row| row.0 == self);
        row.unwrap_or(&Self::ALL[0]).1
    }

    /// The format that a tensor is stored in; `None` if it is quantised.
    pub fn of_stored(dtype: Dtype) -> Option<Self> {
        let mut all = Self::ALL.into_iter().map(|row| row.0);
        all.find(|precision| precision.dtype() == dtype)
    }

    /// As a format of stored tensors.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
        }
    }

    /// As a format of tensors on a device.
    pub fn on_device(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }

    /// Its name in torch and in Hugging Face's configs.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }

    /// Bytes of a value.
    pub fn n_bytes(self) -> usize {
        self.dtype().block().1
    }

    /// The largest value.
    pub fn largest(self) -> f32 {
        match self {
            Self::F32 => f32::MAX,
            Self::F16 => f16::MAX.to_f32(),
            Self::BF16 => bf16::MAX.to_f32(),
        }
    }

    /// Values in this format, rounded to the nearest, little-endian.
    pub fn to_bytes(self, values: &[f32]) -> Vec<u8> {
        let values = values.iter();
        match self {
            Self::F32 => values.flat_map(|x| x.to_le_bytes()).collect(),
            Self::F16 => values
                .flat_map(|x| f16::from_f32(*x).to_le_bytes())
                .collect(),
            Self::BF16 => values
                .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
                .collect(),
        }
    }
}
