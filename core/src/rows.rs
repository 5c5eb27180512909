//! Rows of a batch as rows of a matrix: how cached values are selected and stored.

use burn::tensor::{Int, Tensor, backend::Backend};

/// # Shapes
/// - `x`: `[batch, …]`; result: `[batch, …]`, flat
pub(crate) fn as_rows<B: Backend, const D: usize>(x: &Tensor<B, D>) -> Tensor<B, 2> {
    x.clone().reshape([x.dims()[0] as i32, -1])
}

/// Other rows of the shape of `like`.
pub(crate) fn from_rows<B: Backend, const D: usize>(
    like: &Tensor<B, D>,
    rows: Option<Tensor<B, 2>>,
) -> Tensor<B, D> {
    let Some(rows) = rows else {
        panic!("fewer values than are cached of a run");
    };
    let mut shape = like.dims();
    shape[0] = rows.dims()[0];
    rows.reshape(shape)
}

pub(crate) fn n_bytes<B: Backend, const D: usize>(x: &Tensor<B, D>) -> usize {
    x.dims().iter().product::<usize>() * x.dtype().size()
}

/// Some of the rows, in the given order.
pub(crate) fn select_rows<B: Backend, const D: usize>(
    x: Tensor<B, D>,
    rows: &Tensor<B, 1, Int>,
) -> Tensor<B, D> {
    let selected = as_rows(&x).select(0, rows.clone()); // backends copy rows of a matrix at once
    from_rows(&x, Some(selected))
}
