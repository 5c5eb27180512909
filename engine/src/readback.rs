//! What is read back from the device.

use burn::tensor::{Tensor, activation, backend::Backend};

use crate::{
    failure::{Failure, Result},
    protocol::Cell,
};

/// What a map says of cells: the likeliest token, and how a pair of tokens stands.
///
/// # Shapes
/// - `logits`: `[cell, d_vocab]`
pub(crate) async fn cells<B: Backend>(
    logits: Tensor<B, 2>,
    [first, second]: [u32; 2],
) -> Result<Vec<Cell>> {
    let probabilities = activation::softmax(logits.clone(), 1);
    let (probability, top) = probabilities.clone().max_dim_with_indices(1); // [cell, 1]
    let column = |x: &Tensor<B, 2>, id: u32| x.clone().narrow(1, id as usize, 1);
    let difference = column(&logits, second) - column(&logits, first);
    let columns = vec![
        top.float(),
        probability,
        difference,
        column(&probabilities, second),
    ];
    let values = read(Tensor::cat(columns, 1)).await?;
    Ok(values
        .chunks(4)
        .map(|cell| Cell {
            top: cell[0] as u32,
            probability: cell[1],
            difference: cell[2],
            second: cell[3],
        })
        .collect())
}

/// Reads a tensor back.
pub(crate) async fn read<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>> {
    let data = tensor
        .into_data_async()
        .await
        .map_err(|error| Failure::Device(error.to_string()))?;
    let values: Vec<f32> = data
        .into_vec()
        .map_err(|error| Failure::Device(format!("{error:?}")))?;
    match values.iter().all(|value| !value.is_nan()) {
        true => Ok(values),
        false => Err(Failure::Device("the device computed NaN".to_owned())),
    }
}
