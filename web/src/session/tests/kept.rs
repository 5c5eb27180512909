//! Numbers that a person keeps: all of them, with all digits, and what they are of.

use super::{
    super::kept::Kept::{Answer as Answers, Flips, Inside, Program, Text},
    *,
};

/// Lines behind the caption, the names of the columns first.
fn lines(csv: &str) -> Vec<&str> {
    csv.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn each_part_of_the_page_has_its_numbers() {
    let (mut session, mut engine) = (live(), engine());
    settle(&mut engine, &mut session);
    let n_cells = session.n_layers() * session.choices.base.ids.len();
    let answer = session.answer.clone().unwrap().0;
    let csv = session.csv(Answers);
    assert_eq!(lines(&csv).len(), 1 + answer.rows.len());
    let row = &answer.rows[0];
    let expected = format!(
        "{},{},{},",
        session.token(row.id),
        row.id,
        row.scores[0].logit
    );
    assert!(lines(&csv)[1].starts_with(&expected), "{csv}");
    // Model, prompts and what is on stand in front.
    let caption: Vec<&str> = csv.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(caption.len(), 4);
    assert!(caption[0].contains("model solver, weights "), "{csv}");
    assert!(caption[1].contains(&session.choices.base.text), "{csv}");
    assert!(caption[3].contains("op5, the output of 07065a"), "{csv}");
    assert_eq!(session.kept_name(Inside), "solver-logit-lens");
    assert_eq!(lines(&session.csv(Inside)).len(), 1 + n_cells);
    assert_eq!(lines(&session.csv(Program)).len(), 1 + 10);

    session.picture = Picture::Attention;
    settle(&mut engine, &mut session);
    assert!(lines(&session.csv(Inside)).len() > 1);
    session.picture = Picture::Map;
    assert_eq!(lines(&session.csv(Inside)).len(), 1);
    let at = (Component::BlockOutput, None);
    assert!(session.wants_small_map(Operation::INTERCHANGE, at));
    session.start_map(Operation::INTERCHANGE, at, 0.0);
    assert!(!session.wants_small_map(Operation::INTERCHANGE, at));
    assert!(session.wants_small_map(Operation::ZERO, at));
    settle(&mut engine, &mut session);
    // In the last layer, only the last token can change the answer.
    let n_tokens = session.choices.base.ids.len();
    assert_eq!(
        lines(&session.csv(Inside)).len(),
        1 + n_cells - (n_tokens - 1)
    );
    assert_eq!(session.kept_name(Inside), "solver-map");

    assert_eq!(lines(&session.csv(Flips)).len(), 1);
    session.start_flips(0.0).unwrap();
    settle(&mut engine, &mut session);
    let csv = session.csv(Flips);
    assert_eq!(lines(&csv).len(), 1 + crate::session::flips::N_PAIRS);
    // Prompts have commas.
    assert!(lines(&csv)[1].starts_with('"'), "{csv}");
    assert_eq!(lines(&session.csv(Text)).len(), 1);
}

#[test]
fn whatever_prompts_say_the_file_stays_one() {
    let (mut session, mut engine) = (live(), engine());
    session
        .type_prompt(Side::Base, "milk\n\"rug\",taxi,milk,milk=")
        .unwrap();
    settle(&mut engine, &mut session);
    let csv = session.csv(Inside);
    let n_quotes = csv.matches('"').count();
    assert_eq!(n_quotes % 2, 0);
    assert_eq!(csv.lines().filter(|line| line.starts_with('#')).count(), 4);
    session.rename_model("../a b/c:d.gguf".to_owned());
    assert_eq!(session.kept_name(Answers), "c-d-answers");
}
