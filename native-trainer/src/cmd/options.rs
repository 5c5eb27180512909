//! Options that several commands share, as typed, and the plain values that they become.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use swivel_core::{
    Component, Precision, PromptError, Tokenizer,
    cone::Storage,
    question::{
        Question, program_of,
        programs::{self, AskedProgram},
    },
    sweep::Method,
};

use crate::{
    cached::{CacheConfig, Memory},
    device::DeviceChoice,
    file_name::{stem, tag},
    input::read_text,
    learn::Learning,
    model_files::{ModelFiles, SOLVER},
    output::Existing,
    pairs::Task,
    question::{self, PROGRAMS},
    report::Report,
};

/// Headings of options in `--help`, in the order in which they are shown.
pub mod heading {
    /// What is run, where, and how its values are cached.
    pub const MODEL: &str = "Model";
    /// What is asked, and on which pairs.
    pub const QUESTION: &str = "Question";
    /// Where in the model.
    pub const PLACE: &str = "Place";
    /// How a direction is learned.
    pub const LEARNING: &str = "Learning";
    /// What is written and said.
    pub const OUTPUT: &str = "Output";
}

/// Parses the name of one of these methods.
pub fn method(of: &[Method]) -> impl TypedValueParser<Value = Method> {
    let all = Method::ALL
        .into_iter()
        .filter(|(method, ..)| of.contains(method));
    let values = all.map(|(_, name, others)| PossibleValue::new(name).aliases(others));
    let unknown = |name: String| Method::of_name(&name).ok_or("no method");
    PossibleValuesParser::new(values).try_map(unknown)
}

/// Parses the name of a number format.
pub fn precision() -> impl TypedValueParser<Value = Precision> {
    let names = Precision::ALL.map(|(_, name)| name);
    let unknown = |name: String| Precision::of_name(&name).ok_or("no number format");
    PossibleValuesParser::new(names).try_map(unknown)
}

/// Held-out pairs, where it is not said how many.
pub const TEST_PAIRS: usize = 1000;

/// Options of every command that runs a model.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::MODEL)]
pub struct Common {
    /// Model: `solver` (embedded), a folder in Hugging Face's layout, a GGUF file, or a Hub id [default: solver]
    #[arg(long, value_name = "DIR_OR_HUB_ID")]
    pub model: Option<String>,
    /// Device: auto, flex (the CPU), cuda or wgpu; cuda:1 is the second GPU
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Number format that matrices are held in: f16 and bf16 take half the memory, and what they change in the logits is said
    #[arg(long, value_name = "FORMAT", value_parser = precision(), default_value = "f32")]
    pub dtype: Precision,
}

impl Common {
    /// The model, the embedded one by default.
    pub fn model(&self) -> &str {
        self.model.as_deref().unwrap_or(SOLVER)
    }

    /// The model's files.
    ///
    /// # Errors
    /// - If there is no such model, or its files are not what they should be.
    pub fn open(&self) -> Result<ModelFiles> {
        Ok(ModelFiles::open(self.model())?.held_in(self.dtype))
    }

    /// What was chosen, as options that can be typed again.
    pub fn to_args(&self) -> Vec<String> {
        let model = self.model.as_deref().filter(|model| *model != SOLVER);
        let device = Some(&self.device).filter(|device| **device != DeviceChoice::Auto);
        let model = model.map(|model| ["--model".to_owned(), model.to_owned()]);
        let device = device.map(|device| ["--device".to_owned(), device.to_string()]);
        let dtype = Some(self.dtype).filter(|dtype| *dtype != Precision::F32);
        let dtype = dtype.map(|dtype| ["--dtype".to_owned(), dtype.name().to_owned()]);
        model
            .into_iter()
            .chain(device)
            .chain(dtype)
            .flatten()
            .collect()
    }
}

/// How a command says what it does.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::OUTPUT)]
pub struct ReportArgs {
    /// Print one JSON object a line on stdout, and text for people on stderr
    #[arg(long)]
    json: bool,
}

impl ReportArgs {
    /// Whether programs read it.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Where output goes.
    pub fn report(&self) -> Report {
        Report::new(self.json)
    }
}

/// What a command does about a file that is there already.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::OUTPUT)]
pub struct ForceArgs {
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

impl ForceArgs {
    /// What becomes of the file.
    pub fn existing(&self) -> Existing {
        Existing::of(self.force)
    }
}

/// Options that say which task is asked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::QUESTION)]
pub struct TaskArgs {
    /// Variable whose value is swapped; `swivel task` lists those that a task has [default: the output of a program; of others the
    /// first choice that changes the answer]
    #[arg(long, value_name = "NAME")]
    pub variable: Option<String>,
    /// Program of the task, by id [default: the embedded solver's]
    #[arg(long, value_name = "ID")]
    pub program: Option<String>,
    /// Demonstrations in front of each query [default: 10]
    #[arg(long, value_name = "N")]
    pub shots: Option<usize>,
    /// Task that pairs are sampled from: programs, agreement, agreement-distractor, capitals, gender, ioi, or a task file
    #[arg(long, default_value = PROGRAMS, value_name = "NAME|FILE")]
    pub task: String,
    /// List of words, lines `word - word` (synonyms) or `word` [default: the embedded solver's]
    #[arg(long, value_name = "FILE")]
    pub synonyms: Option<PathBuf>,
}

impl TaskArgs {
    /// The task for a model.
    ///
    /// # Errors
    /// - If there is no such task, program or variable, or the model reads no prompts of that length.
    pub fn resolve(&self, files: &ModelFiles) -> Result<Task> {
        let tokenizer = files.tokenizer()?;
        let question = match self.is_program() {
            true => self.program(files.sizes().n_ctx, tokenizer)?,
            false => self.language(tokenizer)?,
        };
        let variable = match &self.variable {
            Some(variable) => variable.clone(),
            None => question.default_variable()?,
        };
        question.check_variable(&variable)?;
        Ok(Task::new(question, variable))
    }

    /// The task for a model, whatever list of variables was given: the first of them, or the one that is meant where none is named.
    ///
    /// # Errors
    /// - as [`TaskArgs::resolve`]
    pub fn resolve_any(&self, files: &ModelFiles) -> Result<Task> {
        let first = self
            .variable
            .as_deref()
            .and_then(|names| names.split(',').next());
        let one = Self {
            variable: first.map(|name| name.trim().to_owned()),
            ..self.clone()
        };
        one.resolve(files)
    }

    /// A program that a model can read.
    fn program(&self, n_ctx: usize, tokenizer: &Tokenizer) -> Result<Question> {
        let list = self.synonyms.as_deref().map(read_text).transpose()?;
        let (id, list) = (self.program.as_deref(), list.as_deref());
        let asked = AskedProgram::new(id, list, self.shots, tokenizer)?;
        let shots = asked.shots;
        let found = shots.saturating_mul(12).saturating_add(10);
        if found > n_ctx {
            let error = PromptError::TooLong { found, n_ctx };
            bail!("{error}; --shots {shots} is too many");
        }
        Ok(Question::Program(asked))
    }

    /// A task on language.
    fn language(&self, tokenizer: &Tokenizer) -> Result<Question> {
        let of_programs = [
            ("--program", self.program.is_some()),
            ("--shots", self.shots.is_some()),
            ("--synonyms", self.synonyms.is_some()),
        ];
        if let Some((name, _)) = of_programs.iter().find(|(_, is_given)| *is_given) {
            bail!(
                "{name} is for --task {PROGRAMS}; leave it out with --task {}",
                self.task
            );
        }
        question::asking(&self.task, tokenizer)
    }

    /// True if pairs are those of a program.
    pub fn is_program(&self) -> bool {
        self.task == PROGRAMS
    }

    /// The task that a direction was learned on, and its variable, where no others were named.
    pub fn of_direction(self, task: Option<&str>, variable: Option<&str>) -> Self {
        let is_own = self.is_program() && self.program.is_none();
        let Some(task) = task.filter(|_| is_own) else {
            return self;
        };
        let (name, program) = match program_of(task) {
            Some(id) => (PROGRAMS, Some(id.to_owned())),
            None => (task, None),
        };
        Self {
            task: name.to_owned(),
            program,
            variable: self.variable.or_else(|| variable.map(str::to_owned)),
            ..self
        }
    }

    /// Name of an option that was given, for a command line on which none of them means anything.
    pub fn given(&self) -> Option<&'static str> {
        let Self {
            task,
            program,
            variable,
            shots,
            synonyms,
        } = self;
        [
            ("--task", task != PROGRAMS),
            ("--program", program.is_some()),
            ("--variable", variable.is_some()),
            ("--shots", shots.is_some()),
            ("--synonyms", synonyms.is_some()),
        ]
        .into_iter()
        .find_map(|(name, is_given)| is_given.then_some(name))
    }

    /// What prompts look like, as options that can be typed again.
    pub fn to_args(&self) -> Vec<String> {
        let shots = self
            .shots
            .map(|shots| ["--shots".to_owned(), shots.to_string()]);
        let synonyms = (self.synonyms.as_ref())
            .map(|path| ["--synonyms".to_owned(), path.display().to_string()]);
        let task = Some(&self.task).filter(|task| *task != PROGRAMS);
        let task = task.map(|task| ["--task".to_owned(), task.clone()]);
        task.into_iter()
            .chain(shots)
            .chain(synonyms)
            .flatten()
            .collect()
    }

    /// What in the name of a file tells its prompts from others of the same variable.
    pub fn tags(&self) -> Vec<String> {
        let shots = tag(
            "shots",
            self.shots.unwrap_or(programs::SHOTS),
            programs::SHOTS,
        );
        let words = self
            .synonyms
            .as_ref()
            .map(|path| format!("words-{}", stem(path)));
        shots.into_iter().chain(words).collect()
    }
}

/// Options that say how the activation cache stores its values.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::MODEL)]
pub struct CacheArgs {
    /// Number format of cached values: f16 takes half the memory, and costs a few thousandths in the logits
    #[arg(long, default_value = "f32", value_parser = ["f32", "f16"], alias = "keep")]
    cache_dtype: String,
    /// Most memory for cached values, GB; more go to a temporary file [default: half of what is free]
    #[arg(long, value_name = "GB")]
    memory: Option<f64>,
}

impl CacheArgs {
    /// How values are cached.
    ///
    /// # Errors
    /// - If the amount of memory is none.
    pub fn resolve(&self) -> Result<CacheConfig> {
        let storage = match self.cache_dtype.as_str() {
            "f16" => Storage::F16,
            _ => Storage::F32,
        };
        let memory = match self.memory {
            None => Memory::HalfOfFree,
            Some(gb) if gb >= 0.0 && gb.is_finite() => Memory::Bytes((gb * 1e9) as u64),
            Some(gb) => bail!("--memory is {gb}; expected a number of GB, 0 or more"),
        };
        Ok(CacheConfig { storage, memory })
    }

    /// What in the name of a file tells how values were cached.
    pub fn tags(&self) -> Option<String> {
        tag("", self.cache_dtype.as_str(), "f32")
    }
}

/// Pairs that pick, where it is not said how many.
const VALIDATION_PAIRS: usize = 200;

/// Options that say on what a direction is measured.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::QUESTION)]
pub struct HonestArgs {
    /// Pairs beside those of training and test, on which progress is measured
    #[arg(long, default_value_t = VALIDATION_PAIRS)]
    pub validation_pairs: usize,
    /// Hold out a quarter of these tables' rows, or of the `templates`, from training; `all` are all tables of 8 rows or more. The
    /// score on what training did not see is said beside the score
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    pub hold_out: Vec<String>,
    /// Keep pairs whose base or source prompt the model answers wrong by itself
    #[arg(long)]
    pub keep_wrong: bool,
    /// Learn it by so many seeds, from --seed on, and say how the scores spread; the file is the first one's
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = heading::LEARNING)]
    pub seeds: u64,
}

impl HonestArgs {
    /// # Errors
    /// - If a number is none.
    pub fn check(&self) -> Result<()> {
        check_counts(&[("--seeds", self.seeds as usize)])
    }

    /// Name of an option that was given, for pairs from files, which are as they are.
    pub fn given(&self) -> Option<&'static str> {
        (!self.hold_out.is_empty()).then_some("--hold-out")
    }

    /// What in the name of a file tells what was measured.
    pub fn tags(&self) -> Vec<String> {
        let held_out = (!self.hold_out.is_empty()).then(|| self.hold_out.join("+"));
        let tags = [
            held_out.map(|what| format!("without-{what}")),
            tag("validation", self.validation_pairs, VALIDATION_PAIRS),
            self.keep_wrong.then(|| "wrong".to_owned()),
            tag("seeds", self.seeds, 1),
        ];
        tags.into_iter().flatten().collect()
    }
}

/// Passes over the training pairs, where it is not said how many.
const EPOCHS: usize = 10;
/// Pairs a step, where it is not said how many.
const BATCH_SIZE: usize = 64;

/// Options that say how a direction is learned.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::LEARNING)]
pub struct LearnArgs {
    /// Passes over the training pairs
    #[arg(long, default_value_t = EPOCHS)]
    epochs: usize,
    /// Pairs a step
    #[arg(long, default_value_t = BATCH_SIZE)]
    batch_size: usize,
    /// Highest learning rate [default: 1e-3 at width 768, and in proportion to 1/sqrt(width)]
    #[arg(long)]
    lr: Option<f64>,
}

impl LearnArgs {
    /// How directions are learned.
    ///
    /// # Errors
    /// - If nothing can be learned with these numbers.
    pub fn resolve(&self, shuffle: bool, seed: u64) -> Result<Learning> {
        let Self {
            epochs,
            batch_size,
            lr,
        } = *self;
        check_counts(&[("--epochs", epochs), ("--batch-size", batch_size)])?;
        match lr {
            Some(lr) if !(lr.is_finite() && lr > 0.0) => {
                bail!("--lr is {lr}; expected a number above 0")
            }
            _ => Ok(Learning {
                epochs,
                batch_size,
                lr,
                shuffle,
                seed,
            }),
        }
    }

    /// What in the name of a file tells how it was learned.
    pub fn tags(&self) -> Vec<String> {
        let Self {
            epochs,
            batch_size,
            lr,
        } = self;
        let tags = [
            tag("epochs", *epochs, EPOCHS),
            tag("batch", *batch_size, BATCH_SIZE),
            lr.map(|lr| format!("lr{lr}")),
        ];
        tags.into_iter().flatten().collect()
    }
}

/// Refuses an option that says which pairs to sample, beside one that names a file of pairs.
pub fn refuse_beside(given: Option<&str>, data: &str) -> Result<()> {
    match given {
        Some(name) => {
            bail!("{name} says which pairs to sample, and {data} has them already; leave one out")
        }
        None => Ok(()),
    }
}

/// Refuses options of which there must be one at least.
pub fn check_counts(counts: &[(&str, usize)]) -> Result<()> {
    match counts.iter().find(|(_, count)| *count == 0) {
        Some((name, _)) => bail!("{name} is 0; expected at least 1"),
        None => Ok(()),
    }
}

/// What `--help` ends with: the names that `--component` takes, and examples.
pub fn help_end(examples: &[&str]) -> String {
    let names = Component::ALL.map(|(_, name, _)| name).join(", ");
    format!(
        "Components: {names}. TransformerLens' names (resid_post, mlp_out, z …) are understood, too.\n\n{}",
        self::examples(examples)
    )
}

/// Examples at the end of `--help`.
pub fn examples(examples: &[&str]) -> String {
    format!("Examples:\n  {}", examples.join("\n  "))
}
