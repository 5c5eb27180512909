//! Prompts are typed and remarked on; what was chosen is undone and redone.

use super::{super::lint::Level, *};

#[test]
fn undo_brings_everything_back() {
    let mut session = live();
    let before = session.choices.clone();
    session.type_prompt(Side::Base, "milk,milk").unwrap();
    session.swap_prompts();
    session.change(|choices| choices.cards[1].is_on = true);
    let after = session.choices.clone();
    assert_eq!(session.has_history(), [true, false]);
    while session.undo() {}
    assert_eq!(session.choices, before);
    while session.redo() {}
    assert_eq!(session.choices, after);
    assert_eq!(session.has_history(), [true, false]);
}

#[test]
fn keystrokes_are_one_change() {
    let mut session = live();
    let before = session.choices.clone();
    for text in ["m", "mi", "milk"] {
        session.type_prompt(Side::Base, text).unwrap();
    }
    assert!(session.undo());
    assert_eq!(session.choices, before);
}

#[test]
fn prompts_are_never_trimmed() {
    let mut session = live();
    session.type_prompt(Side::Base, "  milk \n").unwrap();
    let base = &session.choices.base;
    assert_eq!(base.text, "  milk \n");
    assert_eq!(base.pieces.concat(), "  milk \n");
    assert_eq!(look::visible(&base.pieces.concat()), "␣␣milk␣⏎");
}

#[test]
fn notes_name_the_fault_and_mend_it() {
    let mut session = live();
    assert!(session.notes().iter().all(|note| note.level == Level::Good));
    for (text, fault, label) in [
        ("", "base is empty", None),
        ("a,b,c,d,e", "no line of the task", Some("add “=”")),
        (
            "milk,milkk,milk,milk,milk=",
            "“milkk”, which the model never saw",
            Some("use “milk”"),
        ),
        (
            "milk,milk,milk,milk,milk= ",
            "ends with a space",
            Some("remove it"),
        ),
        (
            &"milk,".repeat(200),
            "at most 256",
            Some("keep the last 256"),
        ),
    ] {
        session.type_prompt(Side::Base, text).unwrap();
        let notes = session.notes();
        let note = notes.iter().find(|note| note.text.contains(fault));
        let note = note.unwrap_or_else(|| panic!("{text}: {notes:?}"));
        assert_eq!(note.fix.as_ref().map(|fix| fix.label.as_str()), label);
        if let Some(fix) = &note.fix {
            session.type_prompt(fix.side, &fix.text).unwrap();
            assert!(
                session
                    .notes()
                    .iter()
                    .all(|note| !note.text.contains(fault))
            );
        }
    }
    session.type_prompt(Side::Base, "milk").unwrap();
    let notes = session.notes();
    assert!(
        notes
            .iter()
            .any(|note| note.text.contains("1 and 10 tokens"))
    );
}

#[test]
fn token_that_the_tokenizer_puts_first_is_told_from_a_typed_one() {
    let mut session = live();
    assert!(!session.is_added(Side::Base));
    let tokenizer = file("tests/fixtures/tokenizers/gemma.json");
    session.set_model(Model {
        tokenizer: Tokenizer::from_json(&tokenizer).unwrap(),
        program: None,
        ..model()
    });
    session.type_prompt(Side::Base, "the river\n\n").unwrap();
    session.type_prompt(Side::Source, "<bos>the river").unwrap();
    assert_eq!(Side::BOTH.map(|side| session.is_added(side)), [true, false]);
    let base = &session.choices.base;
    let looks = (0..base.ids.len()).filter_map(|at| session.look_at(Side::Base, at));
    let quoted: Vec<_> = looks.map(|look| look.quoted()).collect();
    assert_eq!(quoted[0], "“<bos>” (a special token: a text begins)");
    assert_eq!(quoted.last().unwrap(), "“⏎⏎” (nothing but 2 line breaks)");
    let [byte, space] = [110, 334].map(|id| session.look(id));
    assert_eq!((&byte.text[..], byte.sort), ("‹0x62›", Sort::Bytes));
    assert_eq!((&space.text[..], space.sort), ("␣", Sort::Blank));
}
