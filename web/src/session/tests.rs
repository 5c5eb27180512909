//! What tests of the session share: the solver, its engine, and a page on both.

mod answers;
mod cards;
mod choices;
mod code;
mod example;
mod flips;
mod full;
mod jobs;
mod kept;
mod learned;
mod links;
mod text;

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::Flex;
use futures_executor::block_on;
use swivel_core::{
    Component, Config, Decoder, Position, Recorder, Weights,
    direction::Direction,
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
    plan::Operation,
};

use super::{recorded::largest_error, *};
use swivel_engine::{
    Engine, Failure,
    protocol::{Read, Request, Response},
};

fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn config() -> Config {
    Config::from_json(&file("models/solver/config.json")).unwrap()
}

fn model() -> Model {
    let tokenizer = Tokenizer::from_json(&file("models/solver/tokenizer.json")).unwrap();
    let weights = file("models/solver/model.safetensors");
    Model {
        name: "solver".to_owned(),
        family: "gpt2",
        sizes: config().sizes,
        sha256: Weights::new(&[&weights]).unwrap().sha256().to_owned(),
        choices: task::choices(&tokenizer),
        program: AskedProgram::new(None, None, None, &tokenizer)
            .ok()
            .map(Arc::new),
        tokenizer,
        end_tokens: Vec::new(),
    }
}

fn engine() -> Engine<Flex> {
    let weights = file("models/solver/model.safetensors");
    let weights = Weights::new(&[&weights]).unwrap();
    Engine::load(&config(), &weights, Default::default()).unwrap()
}

/// The same model without the engine.
fn gpt2() -> Decoder<Flex> {
    let weights = file("models/solver/model.safetensors");
    let weights = Weights::new(&[&weights]).unwrap();
    Decoder::load(&config(), &weights, &Default::default()).unwrap()
}

/// One prompt as a batch.
fn batch(ids: &[u32]) -> Tensor<Flex, 2, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let shape = [1, ids.len()];
    Tensor::from_data(TensorData::new(ids, shape), &Default::default())
}

fn live() -> Session {
    let mut session = Session::of_question(recorded::PROGRAMS).unwrap();
    session.set_model(model());
    session
}

/// Base and source that differ in length.
fn set_long_base(session: &mut Session) {
    session.shots = 1;
    session.new_pair(2).unwrap();
    let source = session.choices.source.ids.clone();
    session.shots = 3;
    session.new_pair(1).unwrap();
    let base = session.choices.base.ids.clone();
    session.set_prompts(&Prompts { base, source }).unwrap();
}

/// Gives the engine the directions that a question names, as a host does.
fn give(engine: &mut Engine<Flex>, session: &Session, request: &Request) {
    for planned in &request.plan.interventions {
        let name = planned.op.direction.as_deref();
        if let Some(file) = name.and_then(|name| session.direction_file(name)) {
            assert_eq!(engine.take_direction(file).unwrap(), name.unwrap());
        }
    }
}

fn handle(
    engine: &mut Engine<Flex>,
    session: &Session,
    request: &Request,
) -> Result<Response, Failure> {
    give(engine, session, request);
    block_on(engine.handle(0, request, &always))
}

/// Swaps the whole value at a cell.
fn arm(session: &mut Session, component: Component, cell: Cursor) {
    session.arm_cell(Operation::INTERCHANGE, (component, None), cell);
}

async fn always() -> bool {
    true
}

/// Answers everything that the page asks for.
fn settle(engine: &mut Engine<Flex>, session: &mut Session) {
    while let Some(job) = session.next_job() {
        assert!(session.wants(&job));
        match handle(engine, session, &job.request) {
            Ok(response) => session.take(&job, response, 1.0),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn answer(engine: &mut Engine<Flex>, session: &mut Session) -> Answer {
    settle(engine, session);
    session.answer.clone().unwrap().0
}

/// f32 sums in another order, and JSON's decimal digits.
const TOLERANCE: f32 = 1e-4;
