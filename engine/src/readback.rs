//! What is read back from the device.

use burn::tensor::{Tensor, backend::Backend};
use swivel_core::{Decoder, ids_tensor, metric::Top};

use crate::{
    failure::{Failure, Result},
    protocol::Cell,
};

/// What a map says of cells: the likeliest token, and how a pair of tokens stands.
///
/// # Shapes
/// - `normed`: `[cell, d_model]`, as the final norm gives it
pub(crate) async fn cells<B: Backend>(
    model: &Decoder<B>,
    normed: Tensor<B, 2>,
    pair: [u32; 2],
) -> Result<Vec<Cell>> {
    let [n_cells, _] = normed.dims();
    let ids = ids_tensor([pair], &normed.device()).repeat_dim(0, n_cells);
    let answers = model.read_tokens(normed, &ids);
    let Top { ids, logits } = answers.reading.top.clone(); // [cell, 1]
    let columns = vec![
        ids.float(),
        answers.reading.probabilities(logits),
        answers.logit(1) - answers.logit(0),
        answers.probability(1),
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
