//! `bench`: what Swivel takes for a piece of work against what a peer takes, in one run on one machine.
//!
//! Each side runs in a process of its own, in turns: memory is the peak of that process, and what the machine does beside
//! hits both. Long work is measured in part and scaled; the table says so.

mod jobs;
mod roofline;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::ReportArgs;
use crate::{
    device::{self, DeviceChoice},
    interrupt,
    report::Report,
};
use jobs::Job;

/// Pairs and epochs of the reference tutorial's job.
const TUTORIAL: [f64; 2] = [800.0, 10.0];
/// Pairs, epochs and cells of the map of the IOI tutorial.
const MAP: [f64; 3] = [200.0, 10.0, 60.0];

/// Options of `bench`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// What is timed [default: all]
    #[arg(value_parser = Work::ALL.map(|(_, name)| name))]
    work: Vec<String>,
    /// Folder of a GPT-2 small; bench/peers/make_model.py writes a random one
    #[arg(long, value_name = "DIR", default_value = "bench/gpt2-random")]
    model: PathBuf,
    /// Python with the packages of bench/peers/requirements.txt; without it, our side is timed alone
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Python with TransformerLens, where that is another one
    #[arg(long, value_name = "FILE")]
    python_map: Option<PathBuf>,
    /// Folder of the peers' scripts
    #[arg(long, value_name = "DIR", default_value = "bench/peers")]
    peers: PathBuf,
    /// Times that each side runs, in turns
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Pairs that our side keeps and trains on where it is scaled; 800 is the tutorial's whole job
    #[arg(long, default_value_t = 128)]
    pairs: usize,
    /// Device of our side
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    #[command(flatten)]
    report: ReportArgs,
    /// Do one job and print its figures: what each side is, in a process of its own
    #[arg(long, hide = true)]
    job: Option<String>,
}

/// What can be timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// pyvene's tutorial "Trainable Interventions", at a layer.
    Tutorial(usize),
    /// Directions for 12 layers x the last 5 of 18 positions.
    IoiMap,
    /// Whole-value interchange at every layer and position of one pair of 18 tokens.
    InterchangeMap,
    /// The default job on the embedded solver.
    Solver,
    /// Share of a training step that makes the basis orthonormal.
    Orthogonalisation,
    /// Ceilings of the machine.
    Roofline,
}

impl Work {
    const ALL: [(Work, &'static str); 8] = [
        (Work::Roofline, "roofline"),
        (Work::Tutorial(11), "tutorial"),
        (Work::Tutorial(6), "tutorial-layer-6"),
        (Work::Tutorial(0), "tutorial-layer-0"),
        (Work::IoiMap, "ioi-map"),
        (Work::InterchangeMap, "interchange-map"),
        (Work::Solver, "solver"),
        (Work::Orthogonalisation, "orthogonalisation"),
    ];
}

/// Runs `bench`.
pub fn run(args: Args) -> Result<ExitCode> {
    if let Some(job) = &args.job {
        let job: Job = serde_json::from_str(job).context("--job")?;
        let figures = device::run(args.device, job)?;
        println!("{figures}");
        return Ok(ExitCode::SUCCESS);
    }
    if args.runs == 0 || args.pairs == 0 {
        bail!("--runs and --pairs must be at least 1");
    }
    let report = args.report.report();
    let bench = Bench { args, report };
    if bench.args.python.is_none() {
        report.warn("no --python: our side is timed alone");
    }
    let wanted =
        |name: &str| bench.args.work.is_empty() || bench.args.work.iter().any(|work| work == name);
    for (work, name) in Work::ALL.into_iter().filter(|(_, name)| wanted(name)) {
        interrupt::check("what was measured is above")?;
        bench.run(work, name)?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Bench {
    args: Args,
    report: Report,
}

/// A line of the table: what was measured, on both sides.
struct Row<'a> {
    what: &'a str,
    unit: &'a str,
    ours: Vec<f64>,
    peer: Vec<f64>,
    note: &'a str,
}

impl Bench {
    fn run(&self, work: Work, name: &str) -> Result<()> {
        self.report.line(format!("\n{name}"));
        match work {
            Work::Tutorial(layer) => self.tutorial(layer),
            Work::IoiMap => self.ioi_map(),
            Work::InterchangeMap => self.interchange_map(),
            Work::Solver => self.solver(),
            Work::Orthogonalisation => self.orthogonalisation(),
            Work::Roofline => self.roofline(),
        }
    }

    /// Prints a line of the table: medians, the ratio of each turn, and its spread.
    fn row(&self, row: &Row) {
        let Row {
            what,
            unit,
            ours,
            peer,
            note,
        } = row;
        let ratios: Vec<f64> = peer
            .iter()
            .zip(ours)
            .map(|(peer, ours)| peer / ours)
            .collect();
        let spread = |values: &[f64]| -> String {
            let (low, high) = (
                least(values),
                -least(&values.iter().map(|v| -v).collect::<Vec<_>>()),
            );
            format!(
                "{} ({} to {})",
                number(median(values)),
                number(low),
                number(high)
            )
        };
        let against = match ratios.is_empty() {
            true => String::new(),
            false => format!("   peer {}   ratio {}", spread(peer), spread(&ratios)),
        };
        self.report.line(format!(
            "  {what:<34} {unit:<4} ours {}{against}   {note}",
            spread(ours)
        ));
        self.report.event(&json!({
            "what": what, "unit": unit, "ours": ours, "peer": peer, "ratios": ratios, "note": note,
        }));
    }

    /// One run of our side.
    fn ours(&self, job: &Job) -> Result<Value> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args(["bench", "--device", &self.args.device.to_string(), "--job"]);
        figures(command.arg(serde_json::to_string(job)?))
    }

    /// One run of a peer's script; `None` without Python.
    fn peer(&self, script: &str, options: &[&str]) -> Result<Option<Value>> {
        let python = match script {
            "transformer_lens_map.py" => {
                self.args.python_map.as_ref().or(self.args.python.as_ref())
            }
            _ => self.args.python.as_ref(),
        };
        let Some(python) = python else {
            return Ok(None);
        };
        let mut command = Command::new(python);
        command
            .arg(self.args.peers.join(script))
            .args(options)
            .arg("--json");
        figures(&mut command).map(Some)
    }

    /// Writes random pairs for both sides; training takes as long on them as on any.
    fn pairs(&self, n_pairs: usize, n_tokens: usize) -> Result<tempfile::NamedTempFile> {
        let file = tempfile::Builder::new()
            .suffix(".jsonl")
            .tempfile()
            .context("creating a temporary file")?;
        jobs::write_pairs(file.path(), n_pairs, n_tokens)?;
        Ok(file)
    }

    fn tutorial(&self, layer: usize) -> Result<()> {
        let n_pairs = self.args.pairs;
        let pairs = self.pairs(n_pairs.max(192), 130)?;
        let pairs = pairs.path().to_string_lossy();
        let model = self.args.model.to_string_lossy();
        let epochs = TUTORIAL[1] as usize;
        let (mut whole, mut epoch, mut memory) =
            (Turns::default(), Turns::default(), Turns::default());
        let mut floor = Vec::new();
        for _ in 0..self.args.runs {
            let job = Job::Das {
                model: self.args.model.clone(),
                pairs: pairs.as_ref().into(),
                n_pairs,
                sites: vec![layer],
                positions: 129..=129,
                epochs,
                batch_size: 64,
            };
            let ours = self.ours(&job)?;
            let [load, keep, train] = ["load", "keep", "train"].map(|name| field(&ours, name));
            let scale = TUTORIAL[0] / n_pairs as f64;
            let an_epoch = train? / epochs as f64 * scale;
            let keep = keep? * scale;
            whole.ours.push(load? + keep + an_epoch * TUTORIAL[1]);
            epoch.ours.push(an_epoch);
            memory.ours.push(field(&ours, "peak_bytes")? / 1e9);
            floor.push(whole.ours[whole.ours.len() - 1] / keep);
            let layer = layer.to_string();
            let options = [
                model.as_ref(),
                &pairs,
                "--layer",
                &layer,
                "--position",
                "129",
                "--batch",
                "64",
                "--batches",
                "1",
                "--warm-up",
                "1",
            ];
            if let Some(peer) = self.peer("pyvene_das.py", &options)? {
                let a_pair = field(&peer, "seconds_per_pair")?;
                whole.peer.push(a_pair * TUTORIAL[0] * TUTORIAL[1]);
                epoch.peer.push(a_pair * TUTORIAL[0]);
                memory.peer.push(field(&peer, "peak_rss_bytes")? / 1e9);
            }
        }
        let note = match n_pairs as f64 == TUTORIAL[0] {
            true => "ours whole; the peer timed on one batch of 64 and scaled",
            false => "both sides scaled: ours by its pairs, the peer from one batch of 64",
        };
        self.row(&whole.row("800 pairs x 10 epochs, whole", "s", note));
        self.row(&epoch.row("an epoch after keeping", "s", note));
        self.row(&memory.row("peak memory", "GB", ""));
        self.row(&Row {
            what: "whole job / one pass over the data",
            unit: "",
            ours: floor,
            peer: Vec::new(),
            note: "1 is the floor",
        });
        Ok(())
    }

    fn ioi_map(&self) -> Result<()> {
        let [n_pairs, epochs, n_cells] = MAP;
        let pairs = self.pairs(n_pairs as usize, 18)?;
        let pairs = pairs.path().to_string_lossy();
        let mut whole = Turns::default();
        for _ in 0..self.args.runs {
            let ours = self.ours(&Job::Das {
                model: self.args.model.clone(),
                pairs: pairs.as_ref().into(),
                n_pairs: n_pairs as usize,
                sites: (0..12).collect(),
                positions: 13..=17,
                epochs: 1,
                batch_size: 20,
            })?;
            let [load, keep, train] = ["load", "keep", "train"].map(|name| field(&ours, name));
            whole.ours.push(load? + keep? + train? * epochs);
            let cells = "0:13,0:17,6:15,11:13,11:17";
            let model = self.args.model.to_string_lossy();
            let options = [
                model.as_ref(),
                &pairs,
                "--cells",
                cells,
                "--batch",
                "20",
                "--batches",
                "3",
                "--warm-up",
                "1",
                "--lr",
                "1e-2",
            ];
            if let Some(peer) = self.peer("pyvene_das.py", &options)? {
                let timed = peer
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![peer.clone()]);
                let mean = timed
                    .iter()
                    .map(|cell| field(cell, "seconds_per_pair"))
                    .sum::<Result<f64>>()?
                    / timed.len() as f64;
                whole.peer.push(mean * n_pairs * epochs * n_cells);
            }
        }
        self.row(&whole.row(
            "60 directions, 200 pairs x 10 epochs",
            "s",
            "ours: all cells, one epoch x 10; the peer: five cells, 3 batches each, scaled",
        ));
        Ok(())
    }

    fn interchange_map(&self) -> Result<()> {
        let pairs = self.pairs(1, 18)?;
        let pairs = pairs.path().to_string_lossy();
        let written = tempfile::NamedTempFile::new().context("creating a temporary file")?;
        let written = written.path().to_string_lossy();
        let model = self.args.model.to_string_lossy();
        let options = [
            model.as_ref(),
            &pairs,
            "--runs",
            "1",
            "--out",
            written.as_ref(),
        ];
        let mut map = Turns::default();
        let mut differences = Vec::new();
        for _ in 0..self.args.runs {
            let ours = self.ours(&Job::Map {
                model: self.args.model.clone(),
                pairs: pairs.as_ref().into(),
            })?;
            map.ours.push(field(&ours, "seconds")?);
            if let Some(peer) = self.peer("transformer_lens_map.py", &options)? {
                map.peer.push(field(&peer, "seconds")?);
                let text = std::fs::read_to_string(written.as_ref()).context("reading its map")?;
                let theirs: Value = serde_json::from_str(&text).context("reading its map")?;
                let [ours, theirs] = [&ours, &theirs].map(|map| numbers(&map["probability"]));
                differences.push(largest_difference(&ours, &theirs)?);
            }
        }
        self.row(&map.row(
            "12 layers x 18 positions, one pair",
            "s",
            "whole, without loading",
        ));
        if !differences.is_empty() {
            self.row(&Row {
                what: "relative difference of its numbers",
                unit: "",
                ours: differences,
                peer: Vec::new(),
                note: "largest of the label's probabilities",
            });
        }
        Ok(())
    }

    fn solver(&self) -> Result<()> {
        let folder = tempfile::tempdir().context("creating a temporary folder")?;
        let out = folder.path().join("direction.safetensors");
        let mut seconds = Vec::new();
        for _ in 0..self.args.runs {
            let program = std::env::current_exe().context("finding this program")?;
            let mut command = Command::new(program);
            command
                .args([
                    "train",
                    "--json",
                    "--device",
                    &self.args.device.to_string(),
                    "--out",
                ])
                .arg(&out);
            let done = figures(&mut command)?;
            seconds.push(field(&done, "seconds_caching")? + field(&done, "seconds_training")?);
        }
        self.row(&Row {
            what: "the default job, keeping + training",
            unit: "s",
            ours: seconds,
            peer: Vec::new(),
            note: "1,800 pairs, 10 epochs",
        });
        Ok(())
    }

    fn orthogonalisation(&self) -> Result<()> {
        let pairs = self.pairs(64, 130)?;
        let figures = self.ours(&Job::Orthogonalisation {
            model: self.args.model.clone(),
            pairs: pairs.path().into(),
            ranks: vec![1, 4, 16],
            runs: self.args.runs.max(3),
        })?;
        for (rank, shares) in figures.as_object().into_iter().flatten() {
            let shares = shares
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_f64)
                .collect();
            let what = format!("share of a step at layer 11, rank {rank}");
            self.row(&Row {
                what: &what,
                unit: "",
                ours: shares,
                peer: Vec::new(),
                note: "basis and its gradient",
            });
        }
        Ok(())
    }

    fn roofline(&self) -> Result<()> {
        let pairs = self.pairs(self.args.pairs.min(64), 130)?;
        let (mut products, mut copies) = (Vec::new(), Vec::new());
        let mut shares = [Vec::new(), Vec::new()];
        for _ in 0..self.args.runs {
            let ceilings = self.ours(&Job::Ceilings)?;
            let [product, copy] = ["flops", "bytes"].map(|name| field(&ceilings, name));
            let (product, copy) = (product?, copy?);
            products.push(product / 1e9);
            copies.push(copy / 1e9);
            let n_pairs = self.args.pairs.min(64);
            let ours = self.ours(&Job::Das {
                model: self.args.model.clone(),
                pairs: pairs.path().into(),
                n_pairs,
                sites: vec![11],
                positions: 129..=129,
                epochs: 3,
                batch_size: 64,
            })?;
            let needed = roofline::Needed::tutorial(11, 130);
            let keep = needed.keep_flops * n_pairs as f64 / product;
            let step = (needed.step_flops * n_pairs as f64 / product).max(needed.step_bytes / copy);
            shares[0].push(keep / field(&ours, "keep")?);
            shares[1].push(step * 3.0 / field(&ours, "train")?);
        }
        self.row(&Row {
            what: "matrix product, 1,024 rows",
            unit: "GFLOP/s",
            ours: products,
            peer: Vec::new(),
            note: "ceiling",
        });
        self.row(&Row {
            what: "copy",
            unit: "GB/s",
            ours: copies,
            peer: Vec::new(),
            note: "ceiling, bytes read and written",
        });
        let [keep, step] = shares;
        self.row(&Row {
            what: "keeping at layer 11",
            unit: "",
            ours: keep,
            peer: Vec::new(),
            note: "share of the ceiling that is reached",
        });
        self.row(&Row {
            what: "a training step of 64 pairs",
            unit: "",
            ours: step,
            peer: Vec::new(),
            note: "share of the ceiling that is reached",
        });
        Ok(())
    }
}

/// Figures of both sides, turn by turn.
#[derive(Default)]
struct Turns {
    ours: Vec<f64>,
    peer: Vec<f64>,
}

impl Turns {
    fn row<'a>(self, what: &'a str, unit: &'a str, note: &'a str) -> Row<'a> {
        Row {
            what,
            unit,
            ours: self.ours,
            peer: self.peer,
            note,
        }
    }
}

/// Runs a program and reads the JSON on its last lines: one object, or several as an array.
fn figures(command: &mut Command) -> Result<Value> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("starting {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let cause = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{name} failed: {}",
            cause.trim().lines().last().unwrap_or("it said nothing")
        );
    }
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let cells: Vec<Value> = lines
        .iter()
        .filter(|line| line.get("seconds_per_pair").is_some())
        .cloned()
        .collect();
    match (cells.len(), lines.last()) {
        (0 | 1, Some(last)) => Ok(last.clone()),
        (_, Some(_)) => Ok(Value::Array(cells)),
        (_, None) => bail!("{name} printed no figures"),
    }
}

fn field(figures: &Value, name: &str) -> Result<f64> {
    let value = figures.get(name).and_then(Value::as_f64);
    value.with_context(|| format!("no `{name}` in {figures}"))
}

/// The numbers of nested arrays.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(numbers).collect(),
        value => value.as_f64().into_iter().collect(),
    }
}

fn largest_difference(ours: &[f64], theirs: &[f64]) -> Result<f64> {
    if ours.len() != theirs.len() || ours.is_empty() {
        bail!("{} cells against the peer's {}", ours.len(), theirs.len());
    }
    let differences = ours.iter().zip(theirs).map(|(a, b)| ((a - b) / b).abs());
    Ok(differences.fold(0.0, f64::max))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        v if v >= 1e-3 || v == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}
