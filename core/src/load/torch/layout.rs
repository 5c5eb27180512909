//! Where the values of a tensor lie among those of its entry.

use super::{pickle::Tensor, wrong};
use crate::load::{Dtype, StoredTensor, TensorError};

/// The tensor, its bytes counted from the start of an entry of `n_bytes` bytes.
///
/// # Errors
/// - [`TensorError::Torch`] if its values lie neither row by row nor, of a matrix, column by column, or not inside the entry.
pub fn stored(
    name: &str,
    tensor: &Tensor<'_>,
    dtype: Dtype,
    n_bytes: u64,
) -> Result<StoredTensor, TensorError> {
    let what = || format!("tensor `{name}`");
    let sizes = &tensor.shape;
    let n_values = sizes.iter().try_fold(1_u64, |n, size| n.checked_mul(*size));
    if n_values != Some(0) && !is_row_major(sizes, &tensor.strides) && !is_by_column(tensor) {
        let found = format!("shape {sizes:?} with strides {:?}", tensor.strides);
        return Err(wrong(what(), BY_ROW, found));
    }
    let (_, n_each) = dtype.block();
    let start = tensor.offset.checked_mul(n_each as u64);
    let n_own = n_values.and_then(|n| dtype.n_bytes(n));
    let end = start.zip(n_own).and_then(|(start, n)| start.checked_add(n));
    let shape = sizes.iter().map(|size| usize::try_from(*size).ok());
    match (start, end, shape.collect()) {
        (Some(start), Some(end), Some(shape)) if end <= n_bytes => Ok(StoredTensor {
            name: name.to_owned(),
            shape,
            dtype,
            bytes: start..end,
        }),
        _ => {
            let expected = format!("values inside the {n_bytes} bytes of data/{}", tensor.key);
            let found = format!(
                "shape {sizes:?} of {} from value {} on",
                dtype.name(),
                tensor.offset
            );
            Err(wrong(what(), expected, found))
        }
    }
}

/// What a model's tensors are to be.
const BY_ROW: &str = "values row by row; save it after `.contiguous()`";

/// The error where a tensor that lies column by column is to lie row by row.
pub fn refused_by_column(name: &str) -> TensorError {
    wrong(format!("tensor `{name}`"), BY_ROW, "column by column")
}

/// True of a matrix whose values lie column by column without holes, and not row by row.
pub fn is_by_column(tensor: &Tensor<'_>) -> bool {
    let (sizes, strides) = (&tensor.shape, &tensor.strides);
    let is_column =
        sizes.len() == 2 && strides.len() == 2 && strides[0] == 1 && strides[1] == sizes[0];
    is_column && !is_row_major(sizes, strides)
}

/// True if the values of such a tensor lie row by row without holes; the stride of a dimension of size 1 is never used.
fn is_row_major(sizes: &[u64], strides: &[u64]) -> bool {
    let mut next = Some(1_u64);
    let mut dimensions = sizes.iter().zip(strides).rev();
    sizes.len() == strides.len()
        && dimensions.all(|(size, stride)| {
            let fits = *size == 1 || Some(*stride) == next;
            next = next.and_then(|n| n.checked_mul(*size));
            fits
        })
}
