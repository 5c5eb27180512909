//! Vectors that others keep: NumPy's arrays, Neuronpedia's JSON, control vectors in GGUF, folders that pyvene saves.
//!
//! Nothing in a file is executed: of a pickle, tensors are read and all else is refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use nalgebra::DMatrix;
use npyz::{DType, NpyFile, Order};
use serde::Deserialize;
use serde_json::Value;
use swivel_core::{Component, FileFormat, HeaderReader, Site, StoredFile, train::orthonormal};

use crate::direction_file::read_bytes;

/// Vectors of one width, and what is known of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// Row-major, `[n, width]`.
    pub rows: Vec<f32>,
    /// Values of each.
    pub width: usize,
    /// What they were in.
    pub about: String,
    /// Where they belong, where that is said.
    pub site: Option<Site>,
}

impl Vectors {
    /// Number of vectors.
    pub fn n(&self) -> usize {
        self.rows.len() / self.width
    }

    /// Orthonormal rows of the same span.
    ///
    /// # Errors
    /// - If they are not independent.
    pub fn basis(&self) -> Result<Vec<f32>> {
        let rows = orthonormal(&self.rows, self.width);
        let lengths = rows
            .chunks(self.width)
            .map(|row| row.iter().map(|x| x * x).sum::<f32>());
        ensure!(
            lengths
                .into_iter()
                .all(|length| (length - 1.0).abs() < 1e-3)
                && self.n() <= self.width,
            "the {} vectors of width {} are not independent",
            self.n(),
            self.width
        );
        Ok(rows)
    }
}

/// Reads vectors for a layer, of which a control vector has one each.
///
/// # Errors
/// - If the file is none of those, or holds no vector, or one that is no direction.
pub fn read(path: &Path, layer: Option<usize>) -> Result<Vectors> {
    let vectors = match path.is_dir() {
        true => pyvene(path, layer),
        false => file(path, layer),
    };
    let vectors = vectors.with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        !vectors.rows.is_empty(),
        "{} holds no vector",
        path.display()
    );
    if let Some(at) = vectors.rows.iter().position(|x| !x.is_finite()) {
        bail!("{}: value {at} is {}", path.display(), vectors.rows[at]);
    }
    if vectors
        .rows
        .chunks(vectors.width)
        .any(|row| row.iter().all(|x| *x == 0.0))
    {
        bail!("{}: a vector of zeros has no direction", path.display());
    }
    Ok(vectors)
}

fn file(path: &Path, layer: Option<usize>) -> Result<Vectors> {
    let bytes = read_bytes(path)?;
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        _ if bytes.starts_with(b"\x93NUMPY") => numpy(&bytes),
        _ if bytes.starts_with(b"GGUF") => control_vector(&bytes, layer),
        Some(b'{' | b'[') => json(&bytes),
        _ => bail!(
            "neither a NumPy array, nor JSON with a vector, nor a control vector in GGUF, nor a folder that pyvene saved"
        ),
    }
}

/// A NumPy array of one vector or of one a row.
fn numpy(bytes: &[u8]) -> Result<Vectors> {
    let array = || NpyFile::new(bytes).context("its header");
    let header = array()?;
    let shape: Vec<usize> = header.shape().iter().map(|n| *n as usize).collect();
    let [n, width] = match shape[..] {
        [width] => [1, width],
        [n, width] => [n, width],
        _ => bail!("expected one vector, or one a row; found an array of shape {shape:?}"),
    };
    let dtype = header.dtype();
    let descr = dtype.descr();
    // What is not there is not made room for.
    let n_values = n.checked_mul(width).filter(|n| *n <= bytes.len());
    ensure!(
        n_values.is_some(),
        "an array of shape {shape:?} in {} bytes",
        bytes.len()
    );
    let DType::Plain(_) = dtype else {
        bail!("expected an array of floats, found {descr}");
    };
    let is_by_column = header.order() == Order::Fortran && n > 1;
    let values: Vec<f32> = match descr.trim_matches(['\'', '"']) {
        "<f4" => array()?.into_vec::<f32>()?,
        "<f8" => array()?
            .into_vec::<f64>()?
            .into_iter()
            .map(|x| x as f32)
            .collect(),
        "<f2" => {
            let values = array()?.into_vec::<npyz::half::f16>()?;
            values.into_iter().map(f32::from).collect()
        }
        other => bail!("expected little-endian floats of 2, 4 or 8 bytes, found {other}"),
    };
    let rows = match is_by_column {
        false => values,
        true => (0..n * width)
            .map(|at| values[at % width * n + at / width])
            .collect(),
    };
    Ok(Vectors {
        rows,
        width: width.max(1),
        about: format!("a NumPy array of shape {shape:?}"),
        site: None,
    })
}

/// Numbers, or rows of numbers, or an object with them as `vector`, as Neuronpedia writes it.
fn json(bytes: &[u8]) -> Result<Vectors> {
    let value: Value = serde_json::from_slice(bytes)?;
    let (list, hook) = match &value {
        Value::Object(fields) => {
            let names = ["vector", "values"];
            let list = names.iter().find_map(|name| fields.get(*name));
            let hook = fields.get("hookName").or(fields.get("hook_name"));
            (list.context("expected the field `vector`, numbers")?, hook)
        }
        list => (list, None),
    };
    let row = |value: &Value| -> Result<Vec<f32>> {
        let numbers = value.as_array().context("expected a list of numbers")?;
        let numbers = numbers.iter().map(|x| x.as_f64().map(|x| x as f32));
        numbers
            .collect::<Option<_>>()
            .context("expected numbers alone")
    };
    let list = list.as_array().context("expected a list")?;
    let rows = match list.first() {
        Some(Value::Array(_)) => list.iter().map(row).collect::<Result<Vec<_>>>()?,
        _ => vec![row(&Value::Array(list.clone()))?],
    };
    let width = rows[0].len();
    ensure!(
        rows.iter().all(|row| row.len() == width),
        "its rows differ in length"
    );
    let n_features = value
        .get("index")
        .map_or(String::new(), |index| format!(", feature {index}"));
    Ok(Vectors {
        rows: rows.concat(),
        width: width.max(1),
        about: format!("JSON{n_features}"),
        site: hook.and_then(Value::as_str).and_then(site_of_hook),
    })
}

/// `blocks.6.hook_resid_post` of TransformerLens.
fn site_of_hook(hook: &str) -> Option<Site> {
    let (layer, component) = hook.strip_prefix("blocks.")?.split_once('.')?;
    let component: Component = component.parse().ok()?;
    Some(component.at(layer.parse().ok()?))
}

/// `direction.N` of a layer, as repeng and llama.cpp have it.
fn control_vector(bytes: &[u8], layer: Option<usize>) -> Result<Vectors> {
    let file = HeaderReader::read(bytes)?;
    let layers = file
        .tensors
        .iter()
        .filter_map(|tensor| tensor.name.strip_prefix("direction."));
    let mut layers: Vec<usize> = layers.filter_map(|layer| layer.parse().ok()).collect();
    layers.sort_unstable();
    let (Some(first), Some(last)) = (layers.first(), layers.last()) else {
        bail!("no control vector: it has no tensor `direction.N`");
    };
    let layer = layer.with_context(|| {
        format!("a vector for each of the layers {first} to {last}; choose one with --layer")
    })?;
    let (shape, rows) = tensor(&file, bytes, &format!("direction.{layer}"))
        .with_context(|| format!("it has the layers {first} to {last}"))?;
    Ok(Vectors {
        width: rows.len().max(1),
        rows,
        about: format!(
            "a control vector of shape {shape:?} for layer {layer}, of the layers {first} to {last}"
        ),
        site: Some(Component::BlockOutput.at(layer)),
    })
}

/// Shape and values of a tensor.
fn tensor(file: &StoredFile, bytes: &[u8], name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let stored = file
        .tensor(name)?
        .with_context(|| format!("there is no tensor `{name}`"))?;
    let range = stored.bytes.start as usize..stored.bytes.end as usize;
    let bytes = bytes
        .get(range)
        .context("the file is shorter than its header says")?;
    Ok((stored.shape.clone(), stored.dtype.to_f32(bytes)))
}

/// What pyvene writes of its interventions, of which the lists are in one order.
#[derive(Deserialize)]
struct Saved {
    representations: Vec<Value>,
    intervention_types: Vec<String>,
    sorted_keys: Vec<String>,
}

/// A subspace that pyvene saved: `config.json` and `intkey_KEY.bin`.
fn pyvene(folder: &Path, layer: Option<usize>) -> Result<Vectors> {
    let config = fs::read(folder.join("config.json")).context("config.json")?;
    let saved: Saved =
        serde_json::from_slice(&config).context("config.json is none of pyvene's")?;
    let sites = saved.representations.iter().map(site_of_representation);
    let sites = sites.collect::<Result<Vec<_>>>()?;
    let fits = |site: &Site| layer.is_none_or(|layer| site.layer == layer);
    let mut own = sites.iter().enumerate().filter(|(_, site)| fits(site));
    let names: Vec<String> = sites.iter().map(ToString::to_string).collect();
    let (Some((idx, site)), None) = (own.next(), own.next()) else {
        bail!("it holds {}; --layer chooses one of them", names.join(", "));
    };
    let kind = saved.intervention_types.get(idx).map_or("", String::as_str);
    let kind = kind
        .trim_end_matches("'>")
        .rsplit('.')
        .next()
        .unwrap_or_default();
    let key = saved
        .sorted_keys
        .get(idx)
        .context("config.json names fewer keys than places")?;
    ensure!(
        !key.contains(['/', '\\']),
        "a key of config.json names a file elsewhere: {key:?}"
    );
    let file = PathBuf::from(format!("intkey_{key}.bin"));
    let bytes = read_bytes(&folder.join(&file))?;
    let stored = HeaderReader::of(&bytes).and_then(HeaderReader::finish_in_any_order);
    let stored = stored.with_context(|| file.display().to_string())?;
    ensure!(
        stored.format == FileFormat::Torch,
        "{} is no torch file",
        file.display()
    );
    let matrix = |name: &str| -> Result<DMatrix<f64>> {
        let name = format!("rotate_layer.parametrizations.weight.{name}");
        let (shape, values) = tensor(&stored, &bytes, &name)?;
        let values = values.into_iter().map(f64::from);
        match shape[..] {
            [n, m] if n > 0 && m > 0 => Ok(match stored.by_column.contains(&name) {
                true => DMatrix::from_iterator(n, m, values),
                false => DMatrix::from_row_iterator(n, m, values),
            }),
            _ => bail!("`{name}` has shape {shape:?}; expected a matrix"),
        }
    };
    match kind {
        "LowRankRotatedSpaceIntervention" | "RotatedSpaceIntervention" => {}
        other => bail!(
            "it holds a {other}; LowRankRotatedSpaceIntervention and RotatedSpaceIntervention are read"
        ),
    }
    let (original, base) = (matrix("original")?, matrix("0.base")?);
    let (width, rank) = original.shape();
    ensure!(
        base.shape() == (width, width) && rank <= width,
        "its rotation has the shapes {:?} and {:?}",
        original.shape(),
        base.shape()
    );
    let turned = match rank < width {
        true => base * reflected(&original),
        false => {
            let below = original.lower_triangle();
            base * (&below - below.transpose()).exp()
        }
    };
    Ok(Vectors {
        // Stored by column: the rows of its transpose, one after the other.
        rows: turned.iter().map(|x| *x as f32).collect(),
        width,
        about: format!("pyvene's {kind}"),
        site: Some(*site),
    })
}

/// The product of the Householder reflections whose vectors are below the diagonal, times the signs on it, as torch keeps a
/// rotation that is not square (`torch.linalg.householder_product`).
fn reflected(original: &DMatrix<f64>) -> DMatrix<f64> {
    let (width, rank) = original.shape();
    let mut product = DMatrix::identity(width, rank);
    for column in (0..rank).rev() {
        let mut reflector = original.columns(column, 1).into_owned();
        reflector.rows_mut(0, column).fill(0.0);
        reflector[column] = 1.0;
        let tau = 2.0 / reflector.norm_squared();
        let along = reflector.transpose() * &product;
        product -= reflector * along * tau;
    }
    for column in 0..rank {
        // As torch does, which takes whole numbers of it.
        let sign = original[(column, column)].trunc();
        product.column_mut(column).scale_mut(sign);
    }
    product
}

/// A place as pyvene lists it: layer, component, unit, then what is not needed.
fn site_of_representation(value: &Value) -> Result<Site> {
    let fields = value
        .as_array()
        .context("config.json lists places in another way")?;
    let text = |idx: usize| fields.get(idx).and_then(Value::as_str).unwrap_or_default();
    let layer = fields.first().and_then(Value::as_u64);
    let layer = layer.context("config.json has a place without a layer")?;
    ensure!(
        text(2) == "pos",
        "unit `{}`; subspaces of tokens, unit `pos`, are read",
        text(2)
    );
    let component: Component = text(1).parse()?;
    Ok(component.at(layer as usize))
}

#[cfg(test)]
mod tests {
    use std::env;

    use safetensors::SafeTensors;
    use tempfile::TempDir;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
        root.join(name)
    }

    fn read_file(bytes: &[u8], layer: Option<usize>) -> Result<Vectors> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("vector");
        fs::write(&path, bytes).unwrap();
        read(&path, layer)
    }

    fn npy(header: &str, values: &[u8]) -> Vec<u8> {
        let header = format!("{header}\n");
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), values].concat()
    }

    fn bytes_of(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    /// A control vector of llama.cpp with `direction.1` and `direction.3`, of two values each.
    fn gguf() -> Vec<u8> {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend(2u64.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        for (name, offset) in [("direction.1", 0u64), ("direction.3", 32)] {
            file.extend((name.len() as u64).to_le_bytes());
            file.extend(name.as_bytes());
            file.extend(1u32.to_le_bytes());
            file.extend(2u64.to_le_bytes());
            file.extend(0u32.to_le_bytes());
            file.extend(offset.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(bytes_of(&[1.0, 2.0]));
        file.resize(file.len() + 24, 0);
        file.extend(bytes_of(&[3.0, 4.0]));
        file
    }

    #[test]
    fn folders_of_pyvene_hold_the_rows_that_it_swaps() {
        let bytes = fs::read(fixture("pyvene/saved/rows.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for kind in ["low_rank", "rotated"] {
            let found = read(&fixture(&format!("pyvene/saved/{kind}")), None).unwrap();
            assert_eq!(found.site, Some(Component::BlockOutput.at(1)));
            let expected = file.tensor(&format!("saved.{kind}")).unwrap();
            assert_eq!(expected.shape(), [found.n(), found.width]);
            let expected = expected.data().chunks(4);
            let expected = expected.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            for (found, expected) in found.rows.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{kind}: {found}, {expected}"
                );
            }
            // Orthonormal as they are.
            let basis = found.basis().unwrap();
            let apart = basis.iter().zip(&found.rows).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f32::max) < 1e-5);
        }
        let refused = read(&fixture("pyvene/saved/boundless"), None).unwrap_err();
        assert!(format!("{refused:#}").contains("Boundless"), "{refused:#}");
        let refused = read(&fixture("pyvene/saved/low_rank"), Some(2)).unwrap_err();
        assert!(
            format!("{refused:#}").contains("layer 1 block_output"),
            "{refused:#}"
        );
    }

    #[test]
    fn vectors_are_read_from_every_format() {
        let f4 = npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
            &bytes_of(&[1.0, -2.0, 0.5]),
        );
        assert_eq!(read_file(&f4, None).unwrap().rows, [1.0, -2.0, 0.5]);
        let by_column = npy(
            "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3), }",
            &[1.0f64, 4.0, 2.0, 5.0, 3.0, 6.0]
                .map(f64::to_le_bytes)
                .concat(),
        );
        let found = read_file(&by_column, None).unwrap();
        assert_eq!(
            (found.rows, found.width),
            (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3)
        );
        let json = br#"{"modelId": "gemma-2-2b", "index": "7", "hookName": "blocks.20.hook_resid_post", "vector": [1, 2.5]}"#;
        let found = read_file(json, None).unwrap();
        assert_eq!(
            (found.rows, found.site),
            (vec![1.0, 2.5], Some(Component::BlockOutput.at(20)))
        );
        assert_eq!(read_file(b" [[1, 2], [3, 4]]", None).unwrap().n(), 2);
        assert_eq!(read_file(&gguf(), Some(3)).unwrap().rows, [3.0, 4.0]);
    }

    #[test]
    fn what_is_no_vector_is_refused_with_the_cause() {
        let huge = npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9), }",
            b"",
        );
        let whole = npy(
            "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), }",
            &[1, 0, 0, 0],
        );
        let cases: [(&[u8], &str); 12] = [
            (b"", "neither"),
            (b"PK\x03\x04", "neither"),
            (&huge, "99999999999"),
            (&whole, "<i4"),
            (b"{}", "`vector`"),
            (b"[]", "no vector"),
            (b"[1, \"x\"]", "numbers alone"),
            (b"[[1, 2], [3]]", "differ in length"),
            (b"[0, 0]", "zeros"),
            (b"[1e39, 1]", "inf"),
            (b"[1, 2", "EOF"),
            (&gguf(), "--layer"),
        ];
        for (bytes, cause) in cases {
            let refused = format!("{:#}", read_file(bytes, None).unwrap_err());
            assert!(refused.contains(cause), "`{cause}` is not in: {refused}");
        }
        let dependent = read_file(b"[[1, 2], [2, 4]]", None).unwrap();
        assert!(
            dependent
                .basis()
                .unwrap_err()
                .to_string()
                .contains("not independent")
        );
    }

    /// Cut off anywhere, and with any byte changed, a file is read or refused.
    #[test]
    fn damaged_files_do_no_harm() {
        let array = npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
            &bytes_of(&[1.0, -2.0, 0.5, 3.0]),
        );
        for file in [
            array,
            gguf(),
            br#"{"vector": [[1, 2.5], [2, -1e3]]}"#.to_vec(),
        ] {
            for at in 0..file.len() {
                let _ = read_file(&file[..at], Some(1));
                for flip in [1, 0x80, 0xff] {
                    let mut changed = file.clone();
                    changed[at] ^= flip;
                    let _ = read_file(&changed, Some(1));
                }
            }
        }
    }
}
