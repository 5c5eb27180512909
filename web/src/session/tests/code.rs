//! The script that the page writes; that it does what the page does is verified in `tests/fixtures/code/`.

mod examples;

use swivel_core::plan::{OPERATIONS, Reads};

use super::{
    super::code::{
        python::{python_float, python_string},
        pyvene::{line, place},
    },
    *,
};
use examples::{examples, open_rank_2, set_cards, whole};

const FOLDER: &str = "tests/fixtures/code";

/// A file name that a script must not take for its own text.
const HOSTILE_NAME: &str = "it's \"two\"\nimport os \\ \u{202e}\0.safetensors";

/// Everything but the answers in the first lines, whose last digit another CPU may round otherwise.
fn program(code: &str) -> &str {
    &code[code.find("\nimport").unwrap()..]
}

#[test]
fn scripts_are_those_that_were_verified() {
    let mut engine = engine();
    let mut answers = BTreeMap::new();
    let mut codes = Vec::new();
    for (name, mut session) in examples() {
        let cards = session.choices.cards.iter();
        assert_eq!(
            session.active().count(),
            cards.filter(|card| card.is_on).count()
        );
        let answer = answer(&mut engine, &mut session);
        answers.insert(name.to_owned(), answer);
        codes.push((name, session.as_code()));
    }
    if env::var_os("SWIVEL_WRITE").is_some() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(FOLDER);
        for (name, code) in &codes {
            fs::write(folder.join(format!("{name}.py")), code).unwrap();
        }
        let json = serde_json::to_string_pretty(&answers).unwrap();
        fs::write(folder.join("answers.json"), json + "\n").unwrap();
        return;
    }
    for (name, code) in &codes {
        let expected = String::from_utf8(file(&format!("{FOLDER}/{name}.py"))).unwrap();
        assert_eq!(program(code), program(&expected), "{name}");
    }
    let expected: BTreeMap<String, Answer> =
        serde_json::from_slice(&file(&format!("{FOLDER}/answers.json"))).unwrap();
    assert!(expected.keys().eq(answers.keys()));
    for (name, answer) in &answers {
        assert!(largest_error(&expected[name], answer) < TOLERANCE, "{name}");
    }
}

/// Numbers of the list that this line of a script opens.
fn list<T: std::str::FromStr>(code: &str, opening: &str) -> Vec<T> {
    let (_, rest) = code.split_once(&format!("\n{opening}\n")).unwrap();
    let (list, _) = rest.split_once(']').unwrap();
    let numbers = list.split([',', '[', ' ', '\n']).filter(|s| !s.is_empty());
    numbers.map(|s| s.parse().ok().unwrap()).collect()
}

#[test]
fn script_has_ids_positions_and_rows_exactly() {
    let mut session = live();
    set_long_base(&mut session);
    session.choices.cards[0].place.position = Position::Index(17);
    session.choices.cards[0].source_position = Position::Index(12);
    let code = session.as_code();
    assert_eq!(list::<u32>(&code, "BASE = ["), session.choices.base.ids);
    assert_eq!(list::<u32>(&code, "SOURCE = ["), session.choices.source.ids);
    // As Python does: read as f64, then rounded.
    let rows: Vec<f64> = list(&code, "ROWS_1 = [");
    let rows: Vec<f32> = rows.into_iter().map(|value| value as f32).collect();
    assert_eq!(rows, session.directions[0].direction.rows());
    let site = session.choices.cards[0].place.site;
    let layer = site.layer;
    let swap = format!(
        "    ({{\"layer\": {layer}, \"component\": \"block_output\"}}, 17, 12, subspace(ROWS_1)),\n"
    );
    assert!(code.contains(&swap), "{code}");
    assert!(code.contains("MODEL = \"models/solver\"\n"));
    assert!(!code.contains("strength"), "needed by no swap");
    assert!(code.lines().all(|line| line.len() <= 120), "{code}");
}

#[test]
fn script_shows_only_the_answer_to_its_own_choices() {
    let (shown, none) = ("# The page showed", "# The page had no answer yet");
    let mut session = Session::of_question(recorded::PROGRAMS).unwrap();
    assert!(session.as_code().contains(shown));
    session.change(|choices| choices.cards[0].strength = 0.5);
    assert!(session.as_code().contains(none));
    session.undo();
    assert!(session.as_code().contains(shown));
    session.set_model(model());
    assert!(session.as_code().contains(none));
    answer(&mut engine(), &mut session);
    assert!(session.as_code().contains(shown));
}

#[test]
fn script_without_swaps_needs_no_pyvene() {
    let mut session = live();
    session.change(|choices| choices.cards[0].is_on = false);
    let code = session.as_code();
    assert!(!code.contains("import pyvene") && !code.contains("SWAPS"));
    assert!(code.contains("BASE = [") && code.contains("SOURCE = ["));
}

#[test]
fn outside_text_stays_inside_its_literal() {
    for (text, literal) in [
        ("plain", r#""plain""#),
        ("it's \"so\"", r#""it's \"so\"""#),
        ("a\\", r#""a\\""#),
        ("a\nb\rc\td", r#""a\nb\rc\td""#),
        ("\0\u{7f}\u{85}", r#""\x00\x7f\x85""#),
        ("\u{2028}\u{202e}é水", r#""\u2028\u202eé水""#),
        ("🐕", r#""\U0001f415""#),
    ] {
        assert_eq!(python_string(text), literal);
    }
    let mut session = live();
    let idx = open_rank_2(&mut session);
    // Its title is its file's name where it says nothing about its task.
    let mut facts = session.directions[idx].direction.facts.clone();
    facts.task = None;
    facts.variable = Some("\"\"\"\nimport os".to_owned());
    let rows = session.directions[idx].direction.rows().to_vec();
    session.directions[idx].direction = Arc::new(Direction::new(rows, 2, facts).unwrap());
    session.change(|choices| choices.cards.last_mut().unwrap().is_on = true);
    session
        .type_prompt(Side::Base, "milk\nimport os\r\"")
        .unwrap();
    if let Some(model) = &mut session.model {
        model.name = "a\"\nimport os\n\"b".to_owned();
        model.sha256 = "0".to_owned();
    }
    let code = session.as_code();
    assert!(
        !code.lines().any(|line| line.starts_with("import os")),
        "{code}"
    );
    assert!(code.contains(r#"MODEL = "a\"\nimport os\n\"b""#));
    assert!(code.contains(r#"# The run that is changed: "milk\nimport os\r\"""#));
    assert!(code.contains(&format!(
        "    # {name}, from {name}\n",
        name = python_string(HOSTILE_NAME)
    )));
}

#[test]
fn numbers_are_read_back_exactly() {
    // The second is a float whose shortest digits, read as f64 and then rounded, are its neighbor.
    for value in [0.1, 7.038531e-26, -0.0, 1e-45, f32::MAX, 1.3, -1.0 / 3.0] {
        let text = python_float(value);
        let read = text.parse::<f64>().unwrap() as f32;
        assert_eq!(read.to_bits(), value.to_bits(), "{text}");
    }
    assert_eq!(python_float(f32::INFINITY), "float(\"inf\")");
}

#[test]
fn every_component_but_scores_has_a_place() {
    for (component, name, _) in Component::ALL {
        // GPT-2 lacks the others.
        let has_none = component == Component::AttentionScore || !live().has(component);
        assert_eq!(place(component.at(0)).is_err(), has_none, "{name}");
    }
}

#[test]
fn every_operation_is_written() {
    let is_written = |own: &&Operation| {
        let is_other = own.is_learned() && *own != Operation::LOW_RANK;
        own.op.is_some() && own.reads != Reads::Input && !is_other
    };
    for operation in OPERATIONS.iter().filter(is_written) {
        assert!(
            line(operation).is_some(),
            "`{operation}` needs a line in web/src/session/code/pyvene.rs"
        );
        let mut session = live();
        let card = whole(Component::BlockOutput, 1, [Position::LAST; 2], 0.5);
        let card = Card {
            direction: operation.is_learned().then_some(0),
            strength: card.strength,
            ..Card::new(operation, card.place, card.source_position)
        };
        set_cards(&mut session, vec![card]);
        let code = session.as_code();
        assert!(code.contains("strength=0.5)),\n]\n"), "{code}");
        assert!(!code.contains("NOT in this script"), "{code}");
    }
}

#[test]
fn script_says_which_cards_it_lacks() {
    let mut session = live();
    let last = [Position::LAST; 2];
    let score = whole(Component::AttentionScore, 1, last, 1.0);
    let key = whole(Component::HeadKeyOutput, 1, last, 1.0);
    set_cards(&mut session, vec![score, key]);
    let skipped = Card::new(
        "skip".parse().unwrap(),
        whole(Component::MlpOutput, 1, last, 1.0).place,
        last[0],
    );
    let lacked = |session: &Session| {
        let code = session.as_code();
        code.matches("# NOT in this script: \"whole ").count()
    };
    assert!(session.as_code().contains(
        "# NOT in this script: \"whole attention_score\", layer 1 attention_score, last token:\n# pyvene "
    ));
    assert_eq!(lacked(&session), 1);
    session.model = None;
    assert_eq!(lacked(&session), 2);
    let mut session = live();
    set_cards(&mut session, vec![skipped]);
    assert!(session.as_code().contains(
        "# NOT in this script: \"skip the mlp_output\", layer 1 mlp_output, last token:\n# pyvene takes "
    ));
}
