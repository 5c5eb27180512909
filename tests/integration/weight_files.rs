//! What weight files hold, read range by range: values as torch has them; whatever is damaged, or would run code, is refused.

use std::collections::BTreeMap;

use burn::tensor::TensorData;
use swivel_core::{Dtype, FileFormat, HeaderReader, StoredFile, TensorError};

use crate::{
    archive::{Entry, Width, unzip, zip},
    support::{Reference, fixture},
};

/// The header of a file, read from the ranges that are wanted.
pub fn header(file: &[u8]) -> Result<StoredFile, TensorError> {
    let mut reader = HeaderReader::new(file.len() as u64);
    let mut n_ranges = 0;
    while let Some(range) = reader.wants() {
        assert!(range.end <= file.len() as u64, "{range:?}");
        assert!(range.start < range.end || file.is_empty(), "{range:?}");
        n_ranges += 1;
        assert!(n_ranges < 10 + file.len() / 46, "{n_ranges} ranges");
        reader.give(&file[range.start as usize..range.end as usize])?;
    }
    reader.finish()
}

#[track_caller]
fn check_refused(file: &[u8], cause: &str) {
    let message = header(file).unwrap_err().to_string();
    assert!(message.contains(cause), "`{cause}` is not in {message}");
}

/// A torch file with this pickle and the values of one tensor.
pub fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    let values: Vec<u8> = (0..4_u8).flat_map(|x| f32::from(x).to_le_bytes()).collect();
    let entries = [
        Entry::new("x/data.pkl", pickle),
        Entry::new("x/data/0", &values),
    ];
    zip(&entries, Width::Bits32).bytes
}

/// A pickle of a state dict `{"weight": …}` of one f32 tensor with these numbers.
pub fn one_tensor(offset: u8, shape: [u8; 2], strides: [u8; 2]) -> Vec<u8> {
    [
        b"\x80\x02}X\x06\0\0\0weightctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage",
        &b"ctorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"[..],
        &[b'K', offset, b'K', shape[0], b'K', shape[1], 0x86],
        &[b'K', strides[0], b'K', strides[1], 0x86],
        b"\x89NtRs.",
    ]
    .concat()
}

#[test]
fn values_of_torch_files_are_torchs() {
    let expected = Reference::open("torch/values.safetensors");
    for name in ["torch/state.bin", "torch/protocol_4.bin"] {
        let bytes = fixture(name);
        let rewritten = [Width::Bits32, Width::Bits64].map(|width| zip(&unzip(&bytes), width));
        for bytes in [&bytes, &rewritten[0].bytes, &rewritten[1].bytes] {
            let file = header(bytes).unwrap();
            assert_eq!(file.format, FileFormat::Torch);
            for tensor in &file.tensors {
                let range = tensor.bytes.start as usize..tensor.bytes.end as usize;
                let shape = tensor.shape.as_slice();
                let found = TensorData::new(tensor.dtype.to_f32(&bytes[range]), shape);
                assert_eq!(found, expected.floats(&tensor.name), "{}", tensor.name);
            }
            assert_eq!(file.tensors.len(), expected.names().len());
            let stored = |name: &str| file.tensor(name).unwrap().unwrap();
            assert_eq!(stored("wte.weight").bytes, stored("lm_head.weight").bytes);
            assert_eq!(stored("view").bytes.start, stored("base").bytes.start + 40);
            assert_eq!(stored("f16_view").dtype, Dtype::F16);
            assert_eq!(file.tensor("step").unwrap(), None);
            let error = file.tensor("mask").unwrap_err().to_string();
            assert!(
                error.contains("`mask`") && error.contains("BOOL"),
                "{error}"
            );
        }
    }
}

/// The same model in safetensors and as `pytorch_model.bin`.
#[test]
fn formats_hold_the_same_model() {
    let [safetensors, torch] = ["tiny/model.safetensors", "tiny.bin"].map(|name| {
        let bytes = fixture(name);
        let file = header(&bytes).unwrap();
        let tensors = file.tensors.iter().map(|tensor| {
            let range = tensor.bytes.start as usize..tensor.bytes.end as usize;
            (
                tensor.name.clone(),
                (tensor.shape.clone(), tensor.dtype.to_f32(&bytes[range])),
            )
        });
        tensors.collect::<BTreeMap<_, _>>()
    });
    assert_eq!(torch["lm_head.weight"], torch["transformer.wte.weight"]);
    for (name, tensor) in &safetensors {
        assert_eq!(torch[name], *tensor, "{name}");
    }
    assert_eq!(torch.len(), safetensors.len() + 1);
}

#[test]
fn buffers_of_other_numbers_do_not_make_a_file_unreadable() {
    let file = header(&fixture("tiny_no_prefix.safetensors")).unwrap();
    assert_eq!(file.format, FileFormat::Safetensors);
    assert!(file.tensor("h.0.attn.bias").unwrap().is_some());
    let error = file.tensor("h.1.attn.bias").unwrap_err().to_string();
    assert!(
        error.contains("expected f32, f16 or bf16, found U8"),
        "{error}"
    );
    assert_eq!(
        header(&fixture("gguf_blocks.gguf")).unwrap().format,
        FileFormat::Gguf
    );
}

#[test]
fn code_in_a_pickle_is_named_and_not_run() {
    for (pickle, name) in [
        (
            &b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R."[..],
            "os.system",
        ),
        (
            b"\x80\x02cbuiltins\neval\nX\x03\0\0\x001+1\x85R.",
            "builtins.eval",
        ),
        (
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
            "posix.system",
        ),
        (b"(X\x02\0\0\0idios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nX\x02\0\0\0ido.", "os.system"),
        (b"\x80\x02ctorch\nload\n.", "torch.load"),
        (
            b"\x80\x02ctorch.storage\n_load_from_bytes\n.",
            "_load_from_bytes",
        ),
        (b"\x80\x02ctorch\nFloatStorage.mro\n.", "FloatStorage.mro"),
    ] {
        check_refused(&with_pickle(pickle), name);
        let error = header(&with_pickle(pickle)).unwrap_err();
        assert!(matches!(error, TensorError::Global { .. }), "{error}");
    }
    for (pickle, cause) in [
        (&b"(icollections\nOrderedDict\n."[..], "INST"),
        (b"(ccollections\nOrderedDict\no.", "'o'"),
        (b"ccollections\nOrderedDict\n)\x81.", "0x81"),
        (b"\x82\x01.", "0x82"),
        (b"ctorch\nFloatStorage\n)R.", "other arguments"),
        (
            b"ccollections\nOrderedDict\n(K\x01tR.",
            "OrderedDict with other",
        ),
        (b"}Q.", "a storage's id"),
    ] {
        check_refused(&with_pickle(pickle), cause);
    }
    check_refused(
        &fixture("torch/module.bin"),
        "torch.nn.modules.linear.Linear",
    );
}

#[test]
fn state_dicts_that_are_not_plain_are_refused_with_the_cause() {
    let right = one_tensor(0, [2, 2], [2, 1]);
    assert_eq!(
        header(&with_pickle(&right)).unwrap().tensors[0].shape,
        [2, 2]
    );
    for (pickle, cause) in [
        (
            one_tensor(1, [2, 2], [2, 1]),
            "inside the 16 bytes of data/0",
        ),
        (
            one_tensor(0, [2, 2], [1, 2]),
            "`weight`: expected values row by row",
        ),
        (one_tensor(0, [2, 2], [0, 1]), "row by row"),
        (
            b"\x80\x02}X\x01\0\0\0m}s.".to_vec(),
            "`m` is a table of its own",
        ),
        (
            b"}(X\x01\0\0\0mNX\x01\0\0\0mNu.".to_vec(),
            "`m` is there twice",
        ),
        (b"}X\x01\0\0\0m]s.".to_vec(), "`m`: expected a tensor"),
        (b"}K\x01Ns.".to_vec(), "names of tensors as text"),
        (b"].".to_vec(), "a table of tensors"),
        (b"".to_vec(), "more bytes"),
        (b".".to_vec(), "a value on the stack"),
        (b"t.".to_vec(), "a value on the stack"),
        (b"N(u.".to_vec(), "a table and pairs for it"),
        (b"h\x01.".to_vec(), "a value that was kept"),
        (b"\x8a\x09\0\0\0\0\0\0\0\0\x01.".to_vec(), "at most 8 bytes"),
        (b"X\xff\xff\xff\xff.".to_vec(), "more bytes"),
        (b"X\x01\0\0\0\xff.".to_vec(), "UTF-8"),
        (right[..right.len() - 1].to_vec(), "more bytes"),
    ] {
        check_refused(&with_pickle(&pickle), cause);
    }
    check_refused(
        &fixture("torch/transposed.bin"),
        "`weight`: expected values row by row",
    );
    check_refused(&fixture("torch/negated.bin"), "negated");
    check_refused(
        &fixture("torch/nested.bin"),
        "`model` is a table of its own",
    );
    check_refused(&fixture("torch/old.bin"), "or as safetensors");
}

#[test]
fn damaged_archives_are_refused_with_the_cause() {
    let pickle = one_tensor(0, [2, 2], [2, 1]);
    let order = |order: &[u8]| {
        zip(
            &[
                Entry::new("x/data.pkl", &pickle),
                Entry::new("x/byteorder", order),
            ],
            Width::Bits32,
        )
    };
    let packed = |name: &str| {
        let mut entries = unzip(&with_pickle(&pickle));
        let packed = entries.iter_mut().find(|entry| entry.name == name);
        packed.unwrap().method = 8;
        zip(&entries, Width::Bits32).bytes
    };
    let mut twice = unzip(&with_pickle(&pickle));
    twice.extend(twice.clone());
    let whole = with_pickle(&pickle);
    let mut moved = whole.clone();
    moved.splice(4..4, [0; 8]);
    for (bytes, cause) in [
        (
            order(b"big").bytes,
            "byte order: expected little, found big",
        ),
        (order(&[0; 17]).bytes, "found 17 bytes"),
        (order(b"little").bytes, "an entry data/0"),
        (
            packed("x/data.pkl"),
            "`x/data.pkl`: expected bytes as they are",
        ),
        (packed("x/data/0"), "`x/data/0`: expected bytes as they are"),
        (zip(&twice, Width::Bits32).bytes, "it twice"),
        (
            zip(&[Entry::new("x.npy", b"")], Width::Bits64).bytes,
            "an entry data.pkl",
        ),
        (whole[..whole.len() - 1].to_vec(), "it was cut"),
        (whole[..100].to_vec(), "it was cut"),
        (moved, "entry 0 of the directory"),
        (zip(&[], Width::Bits64).bytes, "header too large"),
    ] {
        check_refused(&bytes, cause);
    }
}

#[test]
fn damaged_safetensors_are_refused_with_the_cause() {
    let file = |json: &str, n_values: usize| {
        let length = (json.len() as u64).to_le_bytes();
        [&length[..], json.as_bytes(), &vec![0; n_values]].concat()
    };
    let one = r#""x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}"#;
    assert_eq!(
        header(&file(&format!("{{{one}}}"), 4))
            .unwrap()
            .tensors
            .len(),
        1
    );
    let mut long = file("{}", 0);
    long[..8].copy_from_slice(&(2_u64 << 30).to_le_bytes());
    let empty = r#""x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}"#;
    for (bytes, cause) in [
        (long, "header too large"),
        (file("{}", 0)[..7].to_vec(), "header too small"),
        (Vec::new(), "header too small"),
        (vec![0; 8], "header too small"),
        (file("{}", 0)[..9].to_vec(), "has 10 bytes, but there are 9"),
        (file(&format!("{{{one}}}"), 3), "but there are 72"),
        (file(&format!("{{{one}}}"), 5), "but there are 74"),
        (
            file(&format!("{{{one}, {empty}}}"), 4),
            "`x` is there twice",
        ),
        (
            file(&format!("{{{one}}}").replace("[0, 4]", "[1, 5]"), 5),
            "offset for tensor `x`",
        ),
        (
            file(&format!("{{{one}}}").replace("[1]", "[2]"), 4),
            "invalid shape",
        ),
        (
            file(&format!("{{{one}}}").replace("F32", "Q4"), 4),
            "unknown variant",
        ),
        (
            file(r#"{"__metadata__": {}, "__metadata__": {}}"#, 0),
            "duplicate field",
        ),
        (file("[]", 0), "a table of tensors"),
        (
            b"<html></html>".to_vec(),
            "a web page or another text in HTML",
        ),
        (b"version https://git-lfs".to_vec(), "a pointer of Git LFS"),
        (b"{\"error\": 404}".to_vec(), "it is a text"),
        (vec![0xff; 20], "header too large"),
    ] {
        check_refused(&bytes, cause);
    }
}

#[test]
fn reader_takes_what_it_wants_and_no_other_bytes() {
    let file = fixture("torch/state.bin");
    let mut reader = HeaderReader::new(file.len() as u64);
    let error = reader.give(&file[..3]).unwrap_err().to_string();
    assert!(
        error.contains("expected bytes 0 to 8 of the file, found 3"),
        "{error}"
    );
    reader.give(&file[..8]).unwrap();
    assert!(matches!(
        reader.finish(),
        Err(TensorError::Bytes { found: 0, .. })
    ));
}
