//! The commands: each is `Args` as typed and `run`, which checks them, says what it will do, and does it.

pub mod apply;
pub mod bench;
pub mod cell;
pub mod data;
pub mod eval;
pub mod inspect;
pub mod merge;
pub mod plan;
pub mod pretrain;
pub mod serve;
pub mod sweep;
pub mod train;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use swivel_core::{
    Component, Gpt2Config, PlaceError, Position, PromptError, Site, Tokenizer,
    bundle::{Bundle, FileKind},
    cone::Storage,
    direction::Direction,
    task::{
        Pair,
        programs::{self, Lexicon, Program, Sampler},
    },
};

use crate::{
    device::DeviceChoice,
    experiment::{Rule, default_lr},
    model_files::SOLVER,
    output::Existing,
    report::Report,
};

/// Headings of options in `--help`, in the order in which they are shown.
pub mod heading {
    /// What is run, where, and how its values are kept.
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

/// Demonstrations in front of each query, where it is not said how many.
const SHOTS: usize = 10;

/// Options of every command that runs a model.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::MODEL)]
pub struct Common {
    /// Model: `solver` (embedded), a folder in Hugging Face's layout, or a Hub id [default: solver]
    #[arg(long, value_name = "DIR_OR_HUB_ID")]
    pub model: Option<String>,
    /// Device: auto, flex (the CPU), cuda or wgpu; cuda:1 is the second GPU
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
}

impl Common {
    /// The model, the embedded one by default.
    pub fn model(&self) -> &str {
        self.model.as_deref().unwrap_or(SOLVER)
    }

    /// What was chosen, as options that can be typed again.
    pub fn to_args(&self) -> Vec<String> {
        let model = self.model.as_deref().filter(|model| *model != SOLVER);
        let device = Some(&self.device).filter(|device| **device != DeviceChoice::Auto);
        let model = model.map(|model| ["--model".to_owned(), model.to_owned()]);
        let device = device.map(|device| ["--device".to_owned(), device.to_string()]);
        model.into_iter().chain(device).flatten().collect()
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
    /// Variable whose value is swapped: C0 to C4 or op1 to op5 [default: op5]
    #[arg(long, value_name = "NAME")]
    pub variable: Option<String>,
    /// Program of the task, by id [default: 07065a]
    #[arg(long, value_name = "ID")]
    pub program: Option<String>,
    /// Demonstrations in front of each query [default: 10]
    #[arg(long, value_name = "N")]
    pub shots: Option<usize>,
    /// Task that pairs are sampled from
    #[arg(long, default_value = "programs", value_parser = ["programs"])]
    pub task: String,
    /// List of words, lines `word - word` (synonyms) or `word` [default: the embedded solver's]
    #[arg(long, value_name = "FILE")]
    pub synonyms: Option<PathBuf>,
}

/// A task that pairs can be sampled from.
pub struct Task {
    /// The program.
    pub program: Program,
    /// Name of the variable.
    pub variable: String,
    /// Words as tokens.
    pub lexicon: Lexicon,
    shots: usize,
}

impl TaskArgs {
    /// The task for a model, with defaults for what was not given.
    pub fn resolve(
        &self,
        config: &Gpt2Config,
        tokenizer: &Tokenizer,
        defaults: (&str, &str),
    ) -> Result<Task> {
        let program = programs::program(self.program.as_deref().unwrap_or(defaults.0))?;
        let variable = self.variable.as_deref().unwrap_or(defaults.1).to_owned();
        let lexicon = match &self.synonyms {
            None => Lexicon::embedded(tokenizer)?,
            Some(path) => Lexicon::new(&read_text(path)?, tokenizer)?,
        };
        program.causal_model(&lexicon.words).variable(&variable)?;
        let shots = self.shots.unwrap_or(SHOTS);
        let n_tokens = shots.saturating_mul(12).saturating_add(10);
        if n_tokens > config.n_ctx {
            let error = PromptError::TooLong {
                found: n_tokens,
                n_ctx: config.n_ctx,
            };
            bail!("{error}; --shots {shots} is too many");
        }
        Ok(Task {
            program,
            variable,
            lexicon,
            shots,
        })
    }

    /// Name of an option that was given, for a command line on which none of them means anything.
    pub fn given(&self) -> Option<&'static str> {
        let Self {
            task: _,
            program,
            variable,
            shots,
            synonyms,
        } = self;
        [
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
        shots.into_iter().chain(synonyms).flatten().collect()
    }

    /// What in the name of a file tells its prompts from others of the same variable.
    pub fn tags(&self) -> Vec<String> {
        let shots = tag("shots", self.shots.unwrap_or(SHOTS), SHOTS);
        let words = self
            .synonyms
            .as_ref()
            .map(|path| format!("words-{}", stem(path)));
        shots.into_iter().chain(words).collect()
    }
}

/// Part of a file's name that says a setting, where it is another one than the default.
pub fn tag<T: PartialEq + fmt::Display>(name: &str, value: T, default: T) -> Option<String> {
    (value != default).then(|| format!("{name}{value}"))
}

/// Name of a file without folder and extension.
pub fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What files are called by of a model's name: the last part of a folder's path or of a Hub id.
pub fn short_name(model: &str) -> &str {
    let model = model.trim_end_matches(['/', '\\']);
    model.rsplit(['/', '\\']).next().unwrap_or_default()
}

impl Task {
    /// A sampler that never gives a pair twice.
    pub fn sampler(&self) -> Result<Sampler<'_>> {
        Ok(Sampler::new(
            &self.program,
            &self.lexicon,
            &self.variable,
            self.shots,
        )?)
    }

    /// Seeds of the training pairs and of the held-out pairs that belong to a seed.
    pub fn seeds(seed: u64) -> [u64; 2] {
        [seed.wrapping_mul(2), seed.wrapping_mul(2).wrapping_add(1)]
    }

    /// `programs/07065a`.
    pub fn name(&self) -> String {
        format!("programs/{}", self.program.id)
    }
}

/// Reads a direction file.
pub fn read_direction(path: &Path) -> Result<Direction> {
    match Opened::read(path)? {
        Opened::Direction(direction) => Ok(direction),
        Opened::Map(_) => bail!(
            "{} is a map; `inspect MAP --cell NAME --out FILE` takes one of its cells out as a direction file",
            path.display()
        ),
    }
}

/// A file with one direction or with many.
pub enum Opened {
    /// A direction file.
    Direction(Direction),
    /// A bundle.
    Map(Bundle),
}

impl Opened {
    /// Reads either.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_direction_bytes(path)?;
        let opened = FileKind::of_bytes(&bytes).and_then(|kind| match kind {
            FileKind::Direction => Direction::from_bytes(&bytes).map(Self::Direction),
            FileKind::Bundle => Bundle::from_bytes(&bytes).map(Self::Map),
        });
        opened.with_context(|| reading_direction(path))
    }
}

/// The bytes of a direction file.
pub fn read_direction_bytes(path: &Path) -> Result<Vec<u8>> {
    /// A direction is a few KB; this bounds what a wrong path can cost.
    const MOST_BYTES: u64 = 1 << 30;
    let cannot = || reading_direction(path);
    let n_bytes = std::fs::metadata(path).with_context(cannot)?.len();
    if n_bytes > MOST_BYTES {
        bail!(
            "{} is {n_bytes} bytes long; a direction file has a few thousand",
            path.display()
        );
    }
    std::fs::read(path).with_context(cannot)
}

fn reading_direction(path: &Path) -> String {
    format!("reading direction file {}", path.display())
}

/// True if a direction was learned on these weights, which scores and the probe need.
///
/// # Errors
/// - If it was not, and other weights are not accepted.
pub fn check_weights(
    direction: &Direction,
    sha256: &str,
    any_model: bool,
    report: Report,
) -> Result<bool> {
    match direction.check_model(sha256) {
        Ok(()) => Ok(true),
        Err(error) if any_model => {
            report.warn(error.to_string());
            Ok(false)
        }
        Err(error) => bail!("{error}; --any-model accepts it"),
    }
}

/// Reads a text file.
pub fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Options that say how kept values are stored.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::MODEL)]
pub struct KeepArgs {
    /// Number format of kept values: f16 takes half the memory, and costs a few thousandths in the logits
    #[arg(long, default_value = "f32", value_parser = ["f32", "f16"])]
    keep: String,
    /// Most memory for kept values, GB; more go to a temporary file [default: half of what is free]
    #[arg(long, value_name = "GB")]
    memory: Option<f64>,
}

impl KeepArgs {
    /// Number format of kept values.
    pub fn storage(&self) -> Storage {
        match self.keep.as_str() {
            "f16" => Storage::F16,
            _ => Storage::F32,
        }
    }

    /// What in the name of a file tells how values were kept.
    pub fn tags(&self) -> Option<String> {
        let default = "f32";
        (self.keep != default).then(|| self.keep.clone())
    }

    /// Refuses an amount of memory that is none.
    pub fn check(&self) -> Result<()> {
        self.memory().map(|_| ())
    }

    /// Most bytes of kept values in memory.
    pub fn memory(&self) -> Result<u64> {
        match self.memory {
            None => {
                let mut system = sysinfo::System::new();
                system.refresh_memory();
                Ok(system.available_memory() / 2)
            }
            Some(gb) if gb >= 0.0 && gb.is_finite() => Ok((gb * 1e9) as u64),
            Some(gb) => bail!("--memory is {gb}; expected a number of GB, 0 or more"),
        }
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
    pub epochs: usize,
    /// Pairs a step
    #[arg(long, default_value_t = BATCH_SIZE)]
    pub batch_size: usize,
    /// Highest learning rate [default: 1e-3 at width 768, and in proportion to 1/sqrt(width)]
    #[arg(long)]
    pub lr: Option<f64>,
}

impl LearnArgs {
    /// Refuses numbers that nothing can be learned with.
    pub fn check(&self) -> Result<()> {
        check_counts(&[("--epochs", self.epochs), ("--batch-size", self.batch_size)])?;
        match self.lr {
            Some(lr) if !(lr.is_finite() && lr > 0.0) => {
                bail!("--lr is {lr}; expected a number above 0")
            }
            _ => Ok(()),
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

    /// The rule at a place of this width.
    pub fn rule(&self, width: usize, shuffle: bool, seed: u64) -> Rule {
        Rule {
            epochs: self.epochs,
            batch_size: self.batch_size,
            lr: self.lr.unwrap_or_else(|| default_lr(width)),
            shuffle,
            seed,
        }
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

/// The site of these names, in a model of these sizes, and its head where it is per head.
pub fn parse_site(
    component: &str,
    layer: &str,
    head: Option<usize>,
    config: &Gpt2Config,
) -> Result<(Site, Option<usize>)> {
    let component: Component = component.parse()?;
    let last = config.n_layers - 1;
    let layer = match layer {
        "last" => last,
        layer => match layer.parse() {
            Ok(layer) => layer,
            Err(_) => bail!("unknown layer `{layer}`; expected 0 to {last}, or `last`"),
        },
    };
    let site = component.at(layer);
    width_at(site, config)?;
    check_head(site, head, config)?;
    Ok((site, head))
}

/// Number of values at a site, where it has directions of its own.
pub fn width_at(site: Site, config: &Gpt2Config) -> Result<usize> {
    let component = site.component;
    component.width(config).with_context(|| {
        format!(
            "{component} has no directions of its own: it is as wide as the prompt is long; choose another component"
        )
    })
}

/// Checks that the model has the site, and that a head is named where it is per head, and only there.
pub fn check_head(site: Site, head: Option<usize>, config: &Gpt2Config) -> Result<()> {
    let component = site.check(config)?.component;
    match (component.is_per_head(), head) {
        (true, None) => bail!(
            "{component} is per head; say which with --head, 0 to {}",
            config.n_heads - 1
        ),
        (false, Some(_)) => bail!("{component} is not per head; leave --head out"),
        (true, Some(head)) if head >= config.n_heads => Err(PlaceError::HeadOutside {
            head,
            last: config.n_heads - 1,
        }
        .into()),
        _ => Ok(()),
    }
}

/// Moves the intervened position of pairs, on both sides.
pub fn place(pairs: &mut [Pair], position: Position) -> Result<()> {
    for pair in pairs {
        pair.base_position = position.resolve(pair.base.len())?;
        pair.source_position = position.resolve(pair.source.len())?;
    }
    Ok(())
}
