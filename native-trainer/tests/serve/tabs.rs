//! Several tabs at one engine: they share it, and each has its newest question answered.

use std::{
    collections::BTreeMap,
    io::Read as _,
    thread,
    time::{Duration, Instant},
};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use swivel_engine::protocol::Answer as Table;
use tungstenite::{Error, Message};

use crate::{
    server::Place,
    tab::{
        Tab, check_equal, check_sound, long_question, question, recorded, recorded_pair,
        recorded_question, setting, table,
    },
};

#[test]
fn a_newer_question_takes_the_place_of_older_ones() {
    const N: u32 = 40;
    let place = Place::new();
    let server = place.serve(&[]);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut tab = Tab::open(&server);
    for number in 1..=N {
        let question = long_question(&mut rng);
        tab.send(number, &json!({ "Ask": question }));
    }
    let mut heard = BTreeMap::new();
    while heard.len() < N as usize {
        let (number, answer) = tab.hear();
        assert!(heard.insert(number, answer).is_none(), "{number} twice");
    }
    assert!(heard[&N]["Answered"].is_array(), "{}", heard[&N]);
    let is_replaced = |answer: &&Value| {
        let why = answer["Refused"].as_str();
        why.is_some_and(|why| why.contains("newer question"))
    };
    let n_replaced = heard.values().filter(is_replaced).count();
    assert!(n_replaced > 0 && n_replaced < N as usize, "{n_replaced}");

    // One that is taken back is not answered, unless it was already.
    let mut n_silent = 0;
    for number in (100..120).step_by(2) {
        let question = long_question(&mut rng);
        tab.send_text(&format!("{}[{number}]", ""));
        tab.send(number, &json!({ "Ask": question }));
        tab.send_text(&format!(" [ {number} ] "));
        tab.send(number + 1, &json!({"Ask": recorded_question(false)}));
        let (first, answer) = tab.hear();
        assert!(answer["Answered"].is_array(), "{answer}");
        match first == number {
            true => assert_eq!(tab.hear().0, number + 1),
            false => n_silent += 1,
        }
    }
    assert!(n_silent > 5, "{n_silent}");
    check_sound(server);
}

/// What tabs asked that are gone holds nobody up.
#[test]
fn closed_tabs_cost_nothing() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut tab = Tab::open(&server);
    let one = (0..5).map(|number| tab.ask(number, &long_question(&mut rng)).1);
    let one = one.fold(f64::INFINITY, f64::min);
    for turn in 0..50 {
        let mut gone = Tab::open(&server);
        gone.send(1, &json!({"Ask": long_question(&mut rng)}));
        match turn % 2 {
            0 => gone.socket.close(None).unwrap(),
            _ => drop(gone),
        }
    }
    let started = Instant::now();
    tab.ask(9, &long_question(&mut rng));
    let took = started.elapsed().as_secs_f64() * 1e3;
    assert!(took < 10.0 * one + 50.0, "{took} ms beside {one} ms");
    // All of them gave their place back.
    let tabs: Vec<Tab> = (0..60).map(|_| Tab::open(&server)).collect();
    drop(tabs);
    check_sound(server);
}

#[test]
fn one_tab_too_many_is_told_so() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mut tabs: Vec<Tab> = (0..64).map(|_| Tab::open(&server)).collect();
    let (status, why) = Tab::connect(&server, "model=solver", None).unwrap_err();
    assert!(status == 503 && why.contains("64 tabs"), "{status} {why}");
    server.check_alive();
    tabs[0].socket.close(None).unwrap();
    assert!(tabs[0].next().is_err());
    let deadline = Instant::now() + Duration::from_secs(10);
    while Tab::connect(&server, "model=solver", None).is_err() {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    drop(tabs);
    check_sound(server);
}

/// An engine at work holds the end up no more than a tab that is open.
#[test]
#[cfg(unix)]
fn ctrl_c_ends_it_under_a_tab() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    let mut tab = Tab::open(&server);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    tab.send(1, &json!({"Ask": long_question(&mut rng)}));
    let (status, took) = server.interrupt();
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_millis(1500), "{took:?}");
    while tab.next().is_ok() {}
}

#[test]
fn a_tab_that_says_nothing_any_more_is_closed() {
    let place = Place::new();
    let server = place.serve(&[]);
    let mut tab = Tab::open(&server);
    let mut silent = Tab::open(&server);
    let started = Instant::now();
    let stream = silent.socket.get_mut();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // What it is sent is read, and not answered.
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = silent.socket.get_mut().read_to_end(&mut bytes);
        (started.elapsed(), bytes.len())
    });
    // One that answers stays.
    tab.socket
        .get_mut()
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    while !reader.is_finished() && started.elapsed() < Duration::from_secs(60) {
        match tab.socket.read() {
            Ok(Message::Ping(_)) => {}
            Ok(message) => panic!("{message}"),
            Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            Err(error) => panic!("{error}"),
        }
    }
    let (took, n_bytes) = reader.join().unwrap();
    assert!((25.0..45.0).contains(&took.as_secs_f64()), "{took:?}");
    assert!(n_bytes >= 4, "no ping came");
    tab.socket
        .get_mut()
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    tab.ask(1, &recorded_question(false));
}

/// Twenty tabs at once, each with its own prompts: every answer is that of its own.
#[test]
fn many_tabs_at_once_get_their_own_answers() {
    const N_TABS: u64 = 20;
    let secs = setting("SWIVEL_SECS", 5);
    let place = Place::new();
    let server = place.serve(&[]);
    let mut first = Tab::open(&server);
    first.give_op5();
    let pairs: Vec<[Vec<u32>; 2]> = (0..N_TABS)
        .map(|idx| {
            let mut pair = recorded_pair();
            // Other words, but for the first tab's, which are recorded.
            for ids in &mut pair {
                ids[4] = (ids[4] + 7 * idx as u32) % 922;
            }
            pair
        })
        .collect();
    let expected: Vec<[Table; 2]> = pairs
        .iter()
        .map(|[base, source]| {
            [false, true].map(|is_on| table(&first.ask(2, &question([base, source], is_on)).0))
        })
        .collect();
    let recorded = table(&json!({"Answer": recorded()["answer"]}));
    check_equal(&expected[0][1], &recorded, 1e-3);
    drop(first);

    let end = Instant::now() + Duration::from_secs(secs);
    let counts: Vec<u32> = thread::scope(|scope| {
        let tabs: Vec<_> = pairs
            .iter()
            .zip(&expected)
            .map(|([base, source], expected)| {
                let server = &server;
                scope.spawn(move || {
                    let mut tab = Tab::open(server);
                    tab.give_op5();
                    let mut number = 1;
                    while Instant::now() < end {
                        for is_on in [true, false] {
                            number += 1;
                            let (answer, _) = tab.ask(number, &question([base, source], is_on));
                            check_equal(&table(&answer), &expected[usize::from(is_on)], 1e-3);
                        }
                    }
                    number
                })
            })
            .collect();
        tabs.into_iter().map(|tab| tab.join().unwrap()).collect()
    });
    let [least, most] = [counts.iter().min().unwrap(), counts.iter().max().unwrap()];
    let all: u32 = counts.iter().sum();
    println!("{all} answers to {N_TABS} tabs in {secs} s, {least} to {most} each");
    assert!(most / least < 3, "{counts:?}");
    check_sound(server);
}
