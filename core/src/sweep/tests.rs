//! A sweep result is read as it was written, and whatever is wrong with one is refused.

use super::*;
use crate::{Config, Sizes, direction::Direction, tensor_file::tests::replaced};

fn facts(method: Method) -> SweepFacts {
    SweepFacts {
        method,
        model: "tiny".to_owned(),
        model_sha256: "00ff".to_owned(),
        first_token: Some("<s>".to_owned()),
        task: Some("programs/07065a".to_owned()),
        templates: Vec::new(),
        train_pairs: Some(800),
        test_pairs: 1000,
        validation_pairs: None,
        known: None,
        epochs: Some(10),
        lr: Some(1e-3 * (768.0f64 / 24.0).sqrt()),
        seed: Some(u64::MAX),
        base: vec![1, 2, 3],
        source: vec![4, 5, 6],
        n_planned: 4,
        part: None,
        run: r#"{"rank":1}"#.to_owned(),
        created_by: None,
    }
}

fn cell(layer: usize, position: usize, iia: f64) -> Cell {
    Cell {
        place: Place::new(Component::BlockOutput.at(layer), Position::Index(position)),
        token: None,
        variable: Some("op5".to_owned()),
        basis: Some(Basis::new(vec![0.6, 0.8, 0.0], 1).unwrap()),
        iia,
        validation: None,
        turned: Some(2.0 / 3.0),
        unseen: Some(Unseen {
            held_out: vec!["names".to_owned()],
            pairs: 98,
            iia: 1.0 / 3.0,
            full: 0.98,
        }),
        controls: Some(Controls {
            random: 0.1 + 0.2,
            full: 1.0,
            ..Controls::default()
        }),
        metrics: Metrics {
            probability: [1.0 / 3.0, 2.0 / 3.0],
            logit_difference: Some([-4.0, 3.1234567890123]),
            kl: 1.5,
        },
        top_1: 7,
        logit: 0.1,
    }
}

fn result() -> SweepResult {
    let mut result = SweepResult::new(facts(Method::Das)).unwrap();
    result.push(cell(1, 2, 0.9)).unwrap();
    result.push(cell(0, 2, 1.0 / 7.0)).unwrap();
    result.push(cell(1, 1, 0.9)).unwrap();
    result
}

#[test]
fn file_round_trips_to_the_same_bytes() {
    let bytes = result().to_bytes();
    let read = SweepResult::from_bytes(&bytes).unwrap();
    assert_eq!(read, result());
    assert_eq!(read.to_bytes(), bytes);
    assert_eq!(FileKind::of_bytes(&bytes).unwrap(), FileKind::SweepResult);
}

#[test]
fn parts_count_from_one() {
    let part: Part = "1/8".parse().unwrap();
    assert_eq!((part.number(), part.n_parts()), (1, 8));
    for text in [
        "0/4", "5/4", "4", "/", "1/0", "0/0", "-1/2", "1/2/3", "a/b", "",
    ] {
        let error = text.parse::<Part>().unwrap_err().to_string();
        assert!(error.contains(&format!("`{text}`")), "{error}");
    }
}

#[test]
fn part_of_a_map_is_read_as_one() {
    let mut facts = facts(Method::Das);
    facts.part = Some("2/4".parse().unwrap());
    let mut part = SweepResult::new(facts).unwrap();
    part.push(cell(1, 2, 0.9)).unwrap();
    let bytes = part.to_bytes();
    assert_eq!(SweepResult::from_bytes(&bytes).unwrap(), part);
    let changed = replaced(&bytes, r#""part":"2/4""#, r#""part":"5/4""#);
    let error = SweepResult::from_bytes(&changed).unwrap_err().to_string();
    assert!(error.contains("`5/4`") && error.contains("I/N"), "{error}");
}

#[test]
fn every_method_round_trips() {
    for (method, ..) in Method::ALL {
        let mut result = SweepResult::new(facts(method)).unwrap();
        let mut cell = cell(0, 0, 0.5);
        if method != Method::Das {
            (cell.basis, cell.controls) = (None, None);
            cell.place.site.component = Component::HeadQueryOutput;
            cell.place.head = Some(3);
            cell.place.position = Position::LAST;
            cell.metrics.logit_difference = None;
        }
        result.push(cell).unwrap();
        assert_eq!(SweepResult::from_bytes(&result.to_bytes()).unwrap(), result);
    }
}

#[test]
fn cell_is_a_direction_of_its_own() {
    let direction = result().direction(1).unwrap();
    assert_eq!(direction.facts.place.site, Component::BlockOutput.at(0));
    assert_eq!(direction.facts.probe.source, [4, 5, 6]);
    assert_eq!((direction.rank(), direction.width()), (1, 3));
    let bytes = direction.to_bytes();
    assert_eq!(Direction::from_bytes(&bytes).unwrap(), direction);
    assert_eq!(FileKind::of_bytes(&bytes).unwrap(), FileKind::Direction);
    assert!(result().direction(3).is_err());
    let whole = SweepResult::new(facts(Method::Zero)).unwrap();
    let error = whole.direction(0).unwrap_err().to_string();
    assert!(error.contains("`zero`"), "{error}");
}

#[test]
fn best_cell_and_places_are_found() {
    let mut result = result();
    assert_eq!(result.best(), Some(0), "the first of equals");
    assert!(!result.is_complete());
    let mut other = cell(1, 0, 0.9);
    other.metrics.probability[1] = 0.7;
    other.variable = Some("op3".to_owned());
    result.push(other).unwrap();
    assert!(result.is_complete());
    assert_eq!(result.best(), Some(3), "surer of the label");
    let keys = result.map_keys();
    assert_eq!(keys.len(), 2);
    assert_eq!(result.best_in(&cell(0, 0, 0.0).map_key()), Some(0));
    assert_eq!(result.find(&keys[1], 1, 1), Some(2));
    assert_eq!(result.find(&keys[0], 1, 1), None);
    let error = result.push(cell(0, 0, 0.5)).unwrap_err().to_string();
    assert!(error.contains("5 cells"), "{error}");
}

#[test]
fn truncated_and_extended_files_are_refused() {
    let bytes = result().to_bytes();
    for len in 0..bytes.len() {
        assert!(
            SweepResult::from_bytes(&bytes[..len]).is_err(),
            "{len} bytes"
        );
    }
    assert!(SweepResult::from_bytes(&[&bytes[..], b"x"].concat()).is_err());
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut Cell), part: &str) {
    let mut cell = cell(0, 1, 0.5);
    change(&mut cell);
    let error = result().push(cell).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn hostile_cells_are_refused() {
    check_refused(|cell| cell.iia = 1.01, "iia");
    check_refused(|cell| cell.iia = f64::NAN, "NaN");
    check_refused(|cell| cell.metrics.probability[0] = -0.1, "-0.1");
    check_refused(|cell| cell.metrics.kl = f64::INFINITY, "inf");
    check_refused(|cell| cell.logit = f32::NAN, "logit");
    check_refused(
        |cell| cell.metrics.logit_difference = Some([0.0, f64::NAN]),
        "NaN",
    );
    check_refused(|cell| cell.controls = None, "controls");
    check_refused(|cell| cell.basis = None, "basis");
    check_refused(|cell| cell.place.head = Some(0), "head");
    check_refused(
        |cell| cell.place.site.component = Component::HeadKeyOutput,
        "head",
    );
    check_refused(|cell| cell.place.position = Position::Index(3), "0 to 2");
    check_refused(
        |cell| cell.basis = Some(Basis::new(vec![0.0, 1.0], 1).unwrap()),
        "[1, 3]",
    );
    // The last token is token 2.
    check_refused(|cell| cell.place.position = Position::LAST, "two cells");
    let mut facts = facts(Method::Mean);
    facts.base.clear();
    assert!(SweepResult::new(facts).is_err());
}

#[test]
fn hostile_files_are_refused() {
    let bytes = result().to_bytes();
    for (from, to, part) in [
        (
            r#""format_version":"1""#,
            r#""format_version":"2""#,
            "format_version",
        ),
        (
            r#""format":"swivel.bundle""#,
            r#""format":"swivel.bungle""#,
            "format",
        ),
        (r#""method":"das""#, r#""method":"dad""#, "dad"),
        // Without bases.
        (r#""basis.1":"#, r#""basis.7":"#, "basis"),
        (r#""n_planned":"4""#, r#""n_planned":"2""#, "3 cells"),
        (r#""base":"[1,2,3]""#, r#""base":"[1,2,-]""#, "base"),
        (r#""base":"[1,2,3]""#, r#""base":"[     ]""#, "empty"),
        (
            r#"\"component\":\"block_output\""#,
            r#"\"component\":\"block_outptu\""#,
            "block_outptu",
        ),
        (r#"\"iia\":0.9,"#, r#"\"iia\":1.9,"#, "0 to 1"),
        (r#"\"iia\":0.9,"#, r#"\"iib\":0.9,"#, "iia"),
        (r#"\"logit\":0."#, r#"\"logix\":0."#, "logit"),
        (
            r#"\"position\":\"1\""#,
            r#"\"position\":\"2\""#,
            "two cells",
        ),
        (r#""shape":[1,3]"#, r#""shape":[3,1]"#, "rank 3"),
    ] {
        let changed = replaced(&bytes, from, to);
        let error = SweepResult::from_bytes(&changed).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let mut slanted = bytes.clone();
    let last = slanted.len() - 4;
    slanted[last..].copy_from_slice(&0.5f32.to_le_bytes());
    let error = SweepResult::from_bytes(&slanted).unwrap_err().to_string();
    assert!(error.contains("not orthonormal"), "{error}");
    slanted[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = SweepResult::from_bytes(&slanted).unwrap_err().to_string();
    assert!(error.contains("NaN"), "{error}");
}

#[test]
fn map_that_does_not_fit_the_model_is_refused() {
    let sizes = r#"{"model_type": "gpt2", "n_embd": 3, "n_head": 1, "n_layer": 2, "n_positions": 8, "vocab_size": 9}"#;
    let sizes = Config::from_json(sizes.as_bytes()).unwrap().sizes;
    result().check(&sizes).unwrap();
    let check = |change: &dyn Fn(&mut Sizes), part: &str| {
        let mut sizes = sizes.clone();
        change(&mut sizes);
        let error = result().check(&sizes).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    check(&|sizes| sizes.n_layers = 1, "layer 1");
    check(&|sizes| sizes.d_model = 4, "width 3");
    check(&|sizes| sizes.d_vocab = 6, "token id 6");
    check(&|sizes| sizes.n_ctx = 2, "at most 2");
    result().check_model("00ff").unwrap();
    assert!(result().check_model("00fe").is_err());
}
