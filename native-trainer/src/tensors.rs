//! Labels to the device, token ids and numbers back.

use anyhow::Result;
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

/// Labels as a tensor.
pub fn label_ids<B: Backend>(labels: &[u32], device: &B::Device) -> Tensor<B, 1, Int> {
    let ids: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
    let n = ids.len();
    Tensor::from_data(TensorData::new(ids, [n]), device)
}

/// Reads token ids back from the device.
pub fn read_ids<B: Backend>(ids: Tensor<B, 1, Int>) -> Result<Vec<u32>> {
    let ids = ids.into_data().convert::<i64>().to_vec::<i64>();
    let ids =
        ids.map_err(|error| anyhow::anyhow!("reading token ids from the device: {error:?}"))?;
    Ok(ids.into_iter().map(|id| id as u32).collect())
}

/// Reads numbers back from the device.
pub fn read_floats<B: Backend, const D: usize>(values: Tensor<B, D>) -> Result<Vec<f32>> {
    let values = values.into_data().convert::<f32>().to_vec::<f32>();
    values.map_err(|error| anyhow::anyhow!("reading numbers from the device: {error:?}"))
}
