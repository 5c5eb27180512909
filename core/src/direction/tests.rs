//! A direction is read as it was written, and whatever is wrong with one is refused.

use super::*;
use crate::{Position, tensor_file::tests::replaced};

#[test]
fn probe_tells_rounding_from_another_answer() {
    let probe = Probe {
        base: vec![1],
        source: vec![2],
        source_position: None,
        top_1: 7,
        logit: 3.0,
    };
    assert!(probe.agrees(7, 3.04) && probe.agrees(7, 2.96));
    assert!(!probe.agrees(7, 3.06) && !probe.agrees(8, 3.0) && !probe.agrees(7, f32::NAN));
}

/// Of a basis at the last token of a model's second layer.
pub(crate) fn facts() -> Facts {
    Facts {
        method: "das".to_owned(),
        model: "tiny".to_owned(),
        model_sha256: "00ff".to_owned(),
        first_token: Some("<s>".to_owned()),
        place: Place::new(Component::BlockOutput.at(1), Position::LAST),
        token: Some("S#2:first+1".to_owned()),
        task: Some("programs/07065a".to_owned()),
        variable: Some("op5".to_owned()),
        templates: vec!["The {S} of".to_owned()],
        train_pairs: Some(800),
        epochs: Some(10),
        lr: Some(1e-3),
        seed: Some(u64::MAX),
        iia: 0.99,
        controls: Controls {
            random: 0.5,
            full: 1.0,
            shuffled: Some(0.49),
            mean_difference: Some(0.51),
            ..Controls::default()
        },
        measured: Measured {
            pairs: Some(100),
            validation: Some(0.98),
            turned: Some([50, 49]),
            known: Some(0.97),
            unseen: Some(Unseen {
                held_out: vec!["names".to_owned()],
                pairs: 40,
                iia: 0.9,
                full: 0.95,
            }),
            seeds: vec![0.99, 0.98],
        },
        probe: Probe {
            base: vec![1, 2],
            source: vec![3, 4],
            source_position: None,
            top_1: 5,
            logit: 1.25,
        },
        created_by: None,
    }
}

fn direction() -> Direction {
    Direction::new(vec![0.6, 0.8, 0.0, 0.0, 0.0, 1.0], 2, facts()).unwrap()
}

#[test]
fn file_round_trips_to_the_same_bytes() {
    let bytes = direction().to_bytes();
    let read = Direction::from_bytes(&bytes).unwrap();
    assert_eq!(read, direction());
    assert_eq!(read.to_bytes(), bytes);
}

#[test]
fn direction_of_a_head_round_trips_and_needs_its_head() {
    let mut direction = direction();
    direction.facts.place.site = Component::HeadQueryOutput.at(1);
    direction.facts.place.head = Some(2);
    let bytes = direction.to_bytes();
    assert_eq!(Direction::from_bytes(&bytes).unwrap(), direction);
    direction.facts.place.head = None;
    let error = Direction::from_bytes(&direction.to_bytes()).unwrap_err();
    assert!(error.to_string().contains("head"), "{error}");
}

#[test]
fn truncated_and_extended_files_are_refused() {
    let bytes = direction().to_bytes();
    for len in 0..bytes.len() {
        assert!(Direction::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(Direction::from_bytes(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn hostile_basis_is_refused() {
    let new = |basis: &[f32], rank| {
        Direction::new(basis.to_vec(), rank, facts())
            .unwrap_err()
            .to_string()
    };
    assert!(new(&[0.6, 0.9], 1).contains("not orthonormal"));
    assert!(new(&[f32::NAN, 1.0], 1).contains("NaN"));
    assert!(new(&[1.0, 0.0, 1.0, 0.0], 2).contains("not orthonormal"));
    assert!(new(&[1.0, 0.0, 1.0], 2).contains("rank 2"));
    assert!(new(&[], 0).contains("rank 0"));
}

/// Of three values, one of each kind.
fn features() -> Vec<(Features, Option<Vec<f32>>, Form)> {
    let basis = |rank: usize| {
        let rows = [0.6, 0.8, 0.0, 0.0, 0.0, 1.0, -0.8, 0.6, 0.0];
        Basis::new(rows[..3 * rank].to_vec(), rank).unwrap()
    };
    let latents = Latents {
        encoder: (0..6).map(|x| x as f32).collect(),
        encoder_bias: vec![0.5, -0.5],
        decoder: (0..6).map(|x| -x as f32).collect(),
        decoder_bias: vec![1.0, 2.0, 3.0],
        threshold: None,
    };
    let jumping = Latents {
        threshold: Some(vec![0.1, 0.2]),
        ..latents.clone()
    };
    let standardized = Features::Standardized {
        basis: basis(2),
        mean: vec![1.0, 0.0, -1.0],
        std: vec![0.5, 1.0, 2.0],
    };
    let mask = Some(vec![0.0, 0.25, 1.0]);
    vec![
        (Features::Subspace(basis(2)), None, Form::LowRank),
        (Features::Subspace(basis(3)), None, Form::Rotated),
        (
            Features::Subspace(basis(3)),
            mask.clone(),
            Form::MaskedRotated,
        ),
        (Features::Values(3), mask, Form::Masked),
        (standardized, None, Form::Pca),
        (Features::Autoencoder(latents), None, Form::Autoencoder),
        (
            Features::Autoencoder(jumping),
            Some(vec![0.0, 1.0]),
            Form::JumpRelu,
        ),
    ]
}

#[test]
fn features_of_every_kind_round_trip_and_are_refused_cut_off() {
    for (features, mask, form) in features() {
        let direction = Direction::of_features(features, mask, facts()).unwrap();
        assert_eq!(direction.form(), form);
        assert_eq!(direction.width(), 3);
        let bytes = direction.to_bytes();
        let read = Direction::from_bytes(&bytes).unwrap();
        assert_eq!(read, direction);
        assert_eq!(read.to_bytes(), bytes);
        for len in 0..bytes.len() {
            assert!(
                Direction::from_bytes(&bytes[..len]).is_err(),
                "{form:?}: {len} bytes"
            );
        }
    }
}

#[test]
fn features_that_cannot_be_are_refused_with_their_tensor() {
    let refused = |features: Features, mask: Option<Vec<f32>>| {
        let direction = Direction::of_features(features, mask, facts());
        direction.unwrap_err().to_string()
    };
    let all = features();
    let values = || Features::Values(3);
    assert!(refused(values(), Some(vec![0.0, 1.5, 1.0])).contains("mask"));
    assert!(refused(values(), Some(vec![0.0, f32::NAN, 1.0])).contains("mask"));
    assert!(refused(values(), Some(vec![0.0, 1.0])).contains("mask"));
    assert!(refused(Features::Values(0), None).contains("rank 0"));
    let (Features::Standardized { basis, mean, std }, ..) = all[4].clone() else {
        panic!("principal components");
    };
    for (mean, std, name) in [
        (mean.clone(), vec![1.0, 0.0, 1.0], "std"),
        (mean.clone(), vec![1.0, -1.0, 1.0], "std"),
        (vec![0.0; 2], std.clone(), "mean"),
        (vec![f32::INFINITY, 0.0, 0.0], std.clone(), "mean"),
    ] {
        let basis = basis.clone();
        let said = refused(Features::Standardized { basis, mean, std }, None);
        assert!(said.contains(name), "{said}");
    }
    let (Features::Autoencoder(latents), ..) = all[6].clone() else {
        panic!("an autoencoder");
    };
    let change = |name: &str, change: fn(&mut Latents)| {
        let mut latents = latents.clone();
        change(&mut latents);
        let said = refused(Features::Autoencoder(latents), None);
        assert!(said.contains(name), "{said}");
    };
    change("encoder.weight", |own| own.encoder.truncate(5));
    change("decoder.weight", |own| own.decoder.push(0.0));
    change("threshold", |own| own.threshold = Some(vec![0.0]));
    change("encoder.bias", |own| own.encoder_bias[1] = f32::NAN);
    // A matrix that lies the other way round is of another shape.
    let bytes = Direction::of_features(all[5].0.clone(), None, facts())
        .unwrap()
        .to_bytes();
    let turned = replaced(&bytes, "[3,2]", "[2,3]");
    let said = Direction::from_bytes(&turned).unwrap_err().to_string();
    assert!(said.contains("encoder.weight"), "{said}");
}

#[test]
fn unknown_version_and_missing_fields_are_refused() {
    for (from, to, name) in [
        (
            r#""format_version":"1""#,
            r#""format_version":"2""#,
            "format_version",
        ),
        (
            r#""format":"swivel.direction""#,
            r#""format":"swivel.directiom""#,
            "format",
        ),
        (r#""layer":"1""#, r#""layer":"x""#, "layer"),
        (r#""position":"last""#, r#""position":"lost""#, "position"),
        (r#""iia":"0.99""#, r#""iib":"0.99""#, "iia"),
        (r#""method":"das""#, r#""method":"dad""#, "method"),
    ] {
        let changed = replaced(&direction().to_bytes(), from, to);
        let error = Direction::from_bytes(&changed).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn method_is_also_read_by_the_name_that_pyvene_has_for_it() {
    let mut older = direction();
    older.facts.method = LOW_RANK.to_owned();
    let read = Direction::from_bytes(&older.to_bytes()).unwrap();
    assert_eq!(read, direction());
}
