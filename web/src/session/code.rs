//! "Copy as code": a Python script that does with pyvene what is on the page.
//!
//! The script needs nothing but the model: token ids, positions and the rows of directions stand in it as numbers. It
//! is made for pyvene 0.1.8 (<https://github.com/stanfordnlp/pyvene>), whose words it uses:
//!
//! | on the page | in the script |
//! |---|---|
//! | whole vector | `VanillaIntervention` |
//! | direction | `LowRankRotatedSpaceIntervention`, its rotation set to the direction's rows |
//! | strength other than 1 | a subclass of these that scales the displacement |
//! | component | pyvene's name, or the path of a module where it has no name for it (`place`) |
//! | several cards | one intervention each, all applied in one base run |
//!
//! pyvene applies interventions at one place in the order in which they are listed, each to what the one before has
//! left, and all of them read the plain source run: the page's meaning.
//!
//! Verified by running the scripts in `tests/fixtures/code/`, see `README.md` there; a test keeps them equal to what is
//! written here.

use swivel_core::{Component, Position, Site};
use swivel_engine::protocol::Answer;

use super::{Card, Session, Side, recorded};

/// Columns of a line of numbers.
const N_COLUMNS: usize = 100;
/// Characters of a prompt that are shown beside its ids.
const N_SHOWN: usize = 72;
/// Folder of the model that comes with the page.
const SOLVER: &str = "models/solver";

const IMPORTS: &str = "\
import pyvene as pv
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel
";

const IMPORTS_OF_PLAIN_RUNS: &str = "\
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel
";

const PLAIN_RUNS: &str = "
model = GPT2LMHeadModel.from_pretrained(MODEL).float().eval()
base, source = torch.tensor([BASE]), torch.tensor([SOURCE])
with torch.no_grad():
    runs = {\"base\": model(base).logits[0, -1], \"source\": model(source).logits[0, -1]}
";

const SCALED: &str = "

class Scaled:
    \"\"\"Goes a part of the way to what the swap gives (strength below 1), or beyond (above 1).\"\"\"

    def forward(self, base, source, subspaces=None, **kwargs):
        swapped = super().forward(base.clone(), source, subspaces)
        return base + self.strength * (swapped - base)
";

/// An operation on whole values: its name in a plan, pyvene's class, the script's function, and what it says of it. A new
/// operation is a line here.
const OPERATIONS: [(&str, &str, &str, &str); 4] = [
    (
        "interchange",
        "VanillaIntervention",
        "whole",
        "The source's whole vector takes the place of the base's.",
    ),
    (
        "zero",
        "ZeroIntervention",
        "zero",
        "The vector becomes zero.",
    ),
    (
        "add",
        "AdditionIntervention",
        "add",
        "The source's vector is added.",
    ),
    (
        "subtract",
        "SubtractionIntervention",
        "subtract",
        "The source's vector is subtracted.",
    ),
];

const SUBSPACE: &str = "

def subspace(rows):
    \"\"\"The part of the vector inside the span of these rows is the source's; the rest stays the base's.\"\"\"
    rows = torch.tensor(rows, dtype=torch.float32)  # [rank, width], orthonormal
    rank, width = rows.shape
    swap = pv.LowRankRotatedSpaceIntervention(embed_dim=width, low_rank_dimension=rank)
    swap.rotate_layer.weight = rows.T
    return swap
";

const SUBSPACE_SCALED: &str = "

class ScaledSubspace(Scaled, pv.LowRankRotatedSpaceIntervention):
    pass


def subspace(rows, strength=1.0):
    \"\"\"The part of the vector inside the span of these rows is the source's; the rest stays the base's.\"\"\"
    rows = torch.tensor(rows, dtype=torch.float32)  # [rank, width], orthonormal
    rank, width = rows.shape
    swap = ScaledSubspace(embed_dim=width, low_rank_dimension=rank)
    swap.rotate_layer.weight = rows.T
    swap.strength = strength
    return swap
";

const INTERVENED_RUN: &str = "
model = GPT2LMHeadModel.from_pretrained(MODEL).float().eval()
base, source = torch.tensor([BASE]), torch.tensor([SOURCE])
intervenable = pv.IntervenableModel(
    [{**place, \"intervention\": swap} for place, _, _, swap in SWAPS], model=model
)
# One list a swap, in it one a prompt, in it the tokens.
read = [[[token]] for _, _, token, _ in SWAPS]
written = [[[token]] for _, token, _, _ in SWAPS]
with torch.no_grad():
    _, intervened = intervenable(
        base={\"input_ids\": base},
        sources=[{\"input_ids\": source}],
        unit_locations={\"sources->base\": (read, written)},
    )
    runs = {
        \"base\": model(base).logits[0, -1],
        \"intervened\": intervened.logits[0, -1],
        \"source\": model(source).logits[0, -1],
    }
";

const PRINT: &str = "
tokenizer = AutoTokenizer.from_pretrained(MODEL)
for name, logits in runs.items():
    print(f\"{name}: probability, token id, token\")
    for probability, token in zip(*logits.softmax(-1).topk(5)):
        text = tokenizer.decode([token.item()], clean_up_tokenization_spaces=False)
        print(f\"  {probability:.4f} {token:6d}  {text!r}\")
";

/// A card that is on, as the script has it.
struct Swap {
    /// What it is, for people.
    title: String,
    /// Fields of a dict that say where.
    place: String,
    /// Name of its operation in a plan.
    operation: &'static str,
    /// Rows of the subspace and their number, where it is in one.
    basis: Option<(Vec<f32>, usize)>,
    strength: f32,
    /// Tokens that are written in the base and read in the source.
    tokens: [usize; 2],
}

impl Session {
    /// A Python script that does the same with pyvene and prints the answers; the page's own stand in its first lines.
    pub fn as_code(&self) -> String {
        let (mut swaps, mut left_out) = (Vec::new(), Vec::new());
        for card in self.active() {
            match self.swap(card) {
                Some(swap) => swaps.push(swap),
                None => left_out.push(format!("{}, {}", self.card_title(card), card.place)),
            }
        }
        let mut code = self.head();
        for card in left_out {
            code.push_str(&format!(
                "# NOT in this script, pyvene has no such place: {card}\n"
            ));
        }
        code.push_str(match swaps.is_empty() {
            true => IMPORTS_OF_PLAIN_RUNS,
            false => IMPORTS,
        });
        code.push_str(&self.inputs());
        match swaps.is_empty() {
            true => code.push_str(PLAIN_RUNS),
            false => {
                code.push_str(&definitions(&swaps));
                code.push_str(INTERVENED_RUN);
            }
        }
        code.push_str(PRINT);
        code
    }

    fn swap(&self, card: &Card) -> Option<Swap> {
        let mut title = python_string(&self.card_title(card));
        let opened = card.direction.map(|idx| &self.directions[idx]);
        if let Some(opened) = opened {
            title = format!("{title}, from {}", python_string(&opened.name));
        }
        let token = |position: Position, side: Side| {
            let n_tokens = self.choices.prompt(side).ids.len();
            position.resolve(n_tokens).ok()
        };
        let written = token(card.place.position, Side::Base)?;
        let read = match card.operation.op.reads_source() {
            true => token(card.source_position, Side::Source)?,
            false => written,
        };
        Some(Swap {
            title,
            place: place(card.place.site)?,
            operation: card.operation.name,
            basis: opened.map(|opened| (opened.direction.rows().to_vec(), opened.direction.rank())),
            strength: card.strength,
            tokens: [written, read],
        })
    }

    /// What to install, and what the page showed.
    fn head(&self) -> String {
        let mut head = "\
# What is on Swivel's page, done with pyvene. Install and run (its remark about nnsight can be ignored):
#
#     pip install torch transformers==4.57.3 pyvene==0.1.8
#     python FILE
#
"
        .to_owned();
        match self.answer_of_choices() {
            Some(answer) => head.push_str(&self.shown(answer)),
            None => head.push_str("# The page had no answer yet to compare with.\n"),
        }
        head.push('\n');
        head
    }

    /// The answer on the page, where it is the answer to what is chosen now.
    fn answer_of_choices(&self) -> Option<&Answer> {
        let belongs = match self.model {
            Some(_) => self.is_current,
            None => self.is_recorded && self.undo.is_empty(),
        };
        self.answer
            .as_ref()
            .filter(|_| belongs)
            .map(|(answer, _)| answer)
    }

    /// The page's table of answers.
    fn shown(&self, answer: &Answer) -> String {
        let mut shown = "\
# The page showed these probabilities of the next token:
#
#   base    intervened  source  token id  token
"
        .to_owned();
        for row in &answer.rows {
            let [base, intervened, source] = row.scores.map(|score| score.probability);
            let (id, text) = (row.id, python_string(&self.token(row.id)));
            shown.push_str(&format!(
                "#   {base:.4}  {intervened:<10.4}  {source:.4}  {id:<8}  {text}\n"
            ));
        }
        shown
    }

    /// Model and prompts.
    fn inputs(&self) -> String {
        let recorded = recorded::example().map_or(String::new(), |example| example.model_sha256);
        let (name, sha256) = match &self.model {
            Some(model) if model.sha256 != recorded => (model.name.as_str(), &model.sha256),
            _ => (SOLVER, &recorded),
        };
        let mut inputs = format!(
            "
# A folder in Hugging Face's layout (its path from where this is run), or a hub id.
# SHA-256 of the weights that the page ran: {sha256}
MODEL = {}
",
            python_string(name)
        );
        for (side, role) in [
            (Side::Base, "The run that is changed"),
            (Side::Source, "The run that values are taken from"),
        ] {
            let (prompt, name) = (self.choices.prompt(side), side.name().to_uppercase());
            let text = end_of(&prompt.text);
            let ids = wrapped(prompt.ids.iter().map(u32::to_string), 4);
            inputs.push_str(&format!("\n# {role}: {text}\n{name} = [\n{ids}]\n"));
        }
        inputs
    }
}

/// Rows of the directions, the functions that are needed, and the list of swaps.
fn definitions(swaps: &[Swap]) -> String {
    let mut code = String::new();
    let mut bases: Vec<&(Vec<f32>, usize)> = Vec::new();
    for basis in swaps.iter().filter_map(|swap| swap.basis.as_ref()) {
        if bases.contains(&basis) {
            continue;
        }
        bases.push(basis);
        let (rows, rank) = basis;
        let number = bases.len();
        code.push_str(&format!(
            "\n# Orthonormal rows of a direction.\nROWS_{number} = [\n"
        ));
        for row in rows.chunks(rows.len() / (*rank).max(1)) {
            let values = wrapped(row.iter().copied().map(python_float), 8);
            code.push_str(&format!("    [\n{values}    ],\n"));
        }
        code.push_str("]\n");
    }
    if swaps.iter().any(|swap| swap.strength != 1.0) {
        code.push_str(SCALED);
    }
    for (name, class, function, about) in OPERATIONS {
        let own = swaps.iter().filter(|swap| swap.operation == name);
        let is_scaled = own.clone().any(|swap| swap.strength != 1.0);
        if own.count() > 0 {
            code.push_str(&definition(class, function, about, is_scaled));
        }
    }
    let mut parts = swaps.iter().filter(|swap| swap.basis.is_some());
    if parts.clone().any(|swap| swap.strength != 1.0) {
        code.push_str(SUBSPACE_SCALED);
    } else if parts.next().is_some() {
        code.push_str(SUBSPACE);
    }
    code.push_str(
        "

# Place in the model, token of the base that is written, token of the source that is read (from 0), and what is done.
# Swaps at one place are done one after the other in this order; all of them read the plain source run.
SWAPS = [
",
    );
    for swap in swaps {
        let Swap { title, place, .. } = swap;
        let strength = match swap.strength {
            1.0 => None,
            strength => Some(format!("strength={}", python_float(strength))),
        };
        let rows = swap.basis.as_ref().and_then(|basis| {
            let idx = bases.iter().position(|own| *own == basis)?;
            Some(format!("ROWS_{}", idx + 1))
        });
        let own = OPERATIONS.iter().find(|(name, ..)| *name == swap.operation);
        let function = own.map_or("subspace", |(_, _, function, _)| function);
        let arguments: Vec<String> = rows.into_iter().chain(strength).collect();
        let [written, read] = swap.tokens;
        code.push_str(&format!(
            "    # {title}\n    ({place}, {written}, {read}, {function}({})),\n",
            arguments.join(", ")
        ));
    }
    code.push_str("]\n");
    code
}

/// A function that makes pyvene's intervention of an operation on whole values.
fn definition(class: &str, function: &str, about: &str, is_scaled: bool) -> String {
    if !is_scaled {
        return format!(
            "

def {function}():
    \"\"\"{about}\"\"\"
    return pv.{class}()
"
        );
    }
    let (first, rest) = function.split_at(1);
    let scaled = format!("Scaled{}{rest}", first.to_uppercase());
    format!(
        "

class {scaled}(Scaled, pv.{class}):
    pass


def {function}(strength=1.0):
    \"\"\"{about}\"\"\"
    swap = {scaled}()
    swap.strength = strength
    return swap
"
    )
}

/// Fields of pyvene's dict for a site: its own name of the component, or the path of a module and which side of it.
/// `None` where values are per head.
pub(super) fn place(site: Site) -> Option<String> {
    use Component::*;
    let layer = site.layer;
    let path = match site.component {
        BlockInput | AttentionInput | QueryOutput | KeyOutput | ValueOutput
        | AttentionValueOutput | AttentionOutput | MlpInput | MlpActivation | MlpOutput
        | BlockOutput => {
            let name = site.component.name();
            return Some(format!("{{\"layer\": {layer}, \"component\": \"{name}\"}}"));
        }
        Embedding => "drop.output".to_owned(),
        BlockMiddle => format!("h[{layer}].ln_2.input"),
        MlpPreActivation => format!("h[{layer}].mlp.c_fc.output"),
        FinalNorm => "ln_f.output".to_owned(),
        HeadQueryOutput
        | HeadKeyOutput
        | HeadValueOutput
        | AttentionScore
        | AttentionWeight
        | HeadAttentionValueOutput => return None,
    };
    Some(format!("{{\"component\": \"transformer.{path}\"}}"))
}

/// The end of a prompt, which says most about it.
fn end_of(text: &str) -> String {
    let n_chars = text.chars().count();
    match n_chars.checked_sub(N_SHOWN) {
        None | Some(0) => python_string(text),
        Some(n_cut) => {
            let end: String = text.chars().skip(n_cut).collect();
            format!("... {}", python_string(&end))
        }
    }
}

/// Items with commas in lines of at most [`N_COLUMNS`].
fn wrapped(items: impl Iterator<Item = String>, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for item in items {
        if !line.is_empty() && indent + line.len() + item.len() + 2 > N_COLUMNS {
            lines.push_str(&format!("{:indent$}{line}\n", ""));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&item);
        line.push(',');
    }
    if !line.is_empty() {
        lines.push_str(&format!("{:indent$}{line}\n", ""));
    }
    lines
}

/// A number that Python reads as exactly this f32: Python reads an f64, which is then rounded.
pub(super) fn python_float(value: f32) -> String {
    let short = format!("{value:?}");
    match short.parse::<f64>() {
        Ok(read) if read.is_finite() && read as f32 == value => short,
        _ if value.is_finite() => format!("{:?}", f64::from(value)),
        _ => format!("float(\"{value}\")"),
    }
}

/// A string literal of Python on one line; what could be taken for something else is escaped.
pub(super) fn python_string(text: &str) -> String {
    let mut literal = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            ' ' => literal.push(c),
            c if c.is_ascii_graphic() || c.is_alphanumeric() => literal.push(c),
            c if u32::from(c) < 0x100 => literal.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x10000 => literal.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => literal.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    literal.push('"');
    literal
}
