//! Tasks on language: what comes of a pair is what a reader of its text would say, whatever is wrong with a file is refused at its
//! place, and no file does harm.

mod files;

use std::collections::HashSet;

use swivel_core::{
    Tokenizer,
    question::{Asked, AskedPair, Form, TaskSampler, shipped},
};

use crate::tokenizers::gpt2;

/// What a reader of a prompt's text says of it.
struct Read {
    /// Its own answer.
    answer: String,
    /// The answer if the variable had the value of another prompt.
    swapped: String,
    /// Text of the token at each named place, and how often it stands before that in the prompt.
    places: Vec<(&'static str, String)>,
}

/// The words of a prompt without its marks.
fn words(text: &str) -> Vec<&str> {
    let marks = |c: char| c == ',' || c == '.';
    text.split(' ')
        .map(|word| word.trim_matches(marks))
        .collect()
}

/// The two names of a sentence about giving, the one that is repeated, and the thing.
fn giving(text: &str) -> [&str; 4] {
    let words = words(text);
    let and = words.iter().position(|word| *word == "and").unwrap();
    let (a, b) = (words[and - 1], words[and + 1]);
    let repeats = |word: &&&str| **word == a || **word == b;
    let s = words[and + 2..].iter().find(repeats).unwrap();
    [a, b, s, words[words.len() - 2]]
}

fn ioi(base: &str, source: &str) -> Read {
    let [a, b, s, thing] = giving(base);
    let [source_a, _, source_s, _] = giving(source);
    let other = |is_first: bool| if is_first { b } else { a }.to_owned();
    Read {
        answer: other(s == a),
        swapped: other(source_s == source_a),
        places: vec![
            ("A", a.to_owned()),
            ("B", b.to_owned()),
            ("S", s.to_owned()),
            ("thing", thing.to_owned()),
            ("last", "to".to_owned()),
        ],
    }
}

fn agreement(base: &str, source: &str) -> Read {
    // Nouns that do not take an s.
    let is_plural =
        |noun: &str| noun.ends_with('s') || ["women", "men", "children"].contains(&noun);
    let verb = |text: &str| {
        let subject = words(text)[1];
        if is_plural(subject) { "are" } else { "is" }.to_owned()
    };
    let words = words(base);
    Read {
        answer: verb(base),
        swapped: verb(source),
        places: vec![
            ("subject", words[1].to_owned()),
            ("last", words[words.len() - 1].to_owned()),
        ],
    }
}

/// One pair of them, read as text, says what the sampler says.
fn check(tokenizer: &Tokenizer, task: &swivel_core::question::Task, pair: &AskedPair, read: &Read) {
    let AskedPair {
        base,
        label,
        base_label,
        ..
    } = pair;
    let text = |id: u32| tokenizer.token(id);
    assert_eq!(
        text(*base_label),
        format!(" {}", read.answer),
        "{}",
        base.written.text
    );
    assert_eq!(
        text(*label),
        format!(" {}", read.swapped),
        "{}",
        base.written.text
    );
    assert_eq!(tokenizer.decode(&base.tokens.ids), base.written.text);
    for (name, word) in &read.places {
        let position = place(task, name, base);
        let first = match *name {
            "last" => position,
            _ => place(task, &format!("{name}:first"), base),
        };
        let found = tokenizer.decode(&base.tokens.ids[first..=position]);
        assert_eq!(found.trim_start(), word, "{name} of {}", base.written.text);
        // Of a name that stands there twice, S is the second.
        if *name == "S" {
            let before = base.tokens.ids[..position]
                .iter()
                .filter(|id| text(**id).trim() == word);
            assert_eq!(before.count(), 1);
        }
    }
}

fn place(task: &swivel_core::question::Task, name: &str, asked: &Asked) -> usize {
    let name = name.parse().unwrap();
    task.token(&name, &asked.written, &asked.tokens).unwrap()
}

/// 10,000 pairs of a task, with none twice, halves as they should be.
fn check_task(name: &str, variable: &str, read: impl Fn(&str, &str) -> Read) {
    let (tokenizer, task) = (gpt2(), shipped::task(name).unwrap().unwrap());
    let mut sampler = TaskSampler::new(&task, &tokenizer, variable).unwrap();
    let train = sampler.pairs(6000, 0).unwrap();
    let test = sampler.pairs(4000, 1).unwrap();
    let templates: Vec<String> = task.templates().map(str::to_owned).collect();
    let form = Form::of_templates(&templates).unwrap();
    let mut seen = HashSet::new();
    for pairs in [&train, &test] {
        for (idx, pair) in pairs.iter().enumerate() {
            let texts = [&pair.base, &pair.source].map(|asked| asked.written.text.clone());
            let read = read(&texts[0], &texts[1]);
            check(&tokenizer, &task, pair, &read);
            // From the templates alone, which a direction file has, the same tokens are found.
            for (name, _) in &read.places {
                let found = form.token(&name.parse().unwrap(), &pair.base.tokens);
                assert_eq!(
                    found,
                    Some(place(&task, name, &pair.base)),
                    "{name} of {}",
                    texts[0]
                );
            }
            assert_eq!(pair.label != pair.base_label, idx < pairs.len() / 2);
            assert!(seen.insert(texts), "a pair is there twice");
        }
    }
    // A function of the seed.
    let mut again = TaskSampler::new(&task, &tokenizer, variable).unwrap();
    assert_eq!(again.pairs(50, 0).unwrap()[..25], train[..25]);
}

#[test]
fn ioi_is_what_a_reader_says() {
    check_task("ioi", "order", ioi);
}

#[test]
fn agreement_is_what_a_reader_says() {
    check_task("agreement", "number", agreement);
    check_task("agreement-distractor", "number", agreement);
}

#[test]
fn gender_is_what_a_reader_says() {
    let json: serde_json::Value =
        serde_json::from_str(include_str!("../../core/src/question/shipped/gender.json")).unwrap();
    let rows = json["tables"]["names"].as_array().unwrap().clone();
    let pronoun = move |text: &str| {
        let row = rows
            .iter()
            .find(|row| row["text"] == words(text)[0])
            .unwrap();
        if row["gender"] == "female" {
            "she"
        } else {
            "he"
        }
        .to_owned()
    };
    check_task("gender", "name.gender", |base, source| Read {
        answer: pronoun(base),
        swapped: pronoun(source),
        places: vec![("name", words(base)[0].to_owned())],
    });
}

#[test]
fn capitals_are_what_a_reader_says() {
    let json: serde_json::Value = serde_json::from_str(include_str!(
        "../../core/src/question/shipped/capitals.json"
    ))
    .unwrap();
    let rows = json["tables"]["countries"].as_array().unwrap().clone();
    let row = |text: &str| {
        let words = words(text);
        let is_there = |row: &&serde_json::Value| words.contains(&row["text"].as_str().unwrap());
        rows.iter().find(is_there).unwrap().clone()
    };
    let (tokenizer, task) = (gpt2(), shipped::task("capitals").unwrap().unwrap());
    let mut sampler = TaskSampler::new(&task, &tokenizer, "country").unwrap();
    // All that there are but a few: two templates, and each of 37 countries with each other one.
    for pair in sampler.pairs(2600, 0).unwrap() {
        assert_ne!(pair.label, pair.base_label);
        let [base, source] = [&pair.base, &pair.source].map(|asked| row(&asked.written.text));
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let read = Read {
            answer: text(&base["capital"]),
            swapped: text(&source["capital"]),
            places: vec![("country", text(&base["text"]))],
        };
        check(&tokenizer, &task, &pair, &read);
    }
}
