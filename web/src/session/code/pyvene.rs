//! What pyvene has for operations and places, and the parts of a script that use it.

use swivel_core::{Component, Site, plan::Operation};

use super::python::{python_float, wrapped};

/// Columns of a script's line of code.
const N_COLUMNS: usize = 120;

const IMPORTS: &str = "\
import pyvene as pv
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
";

const SCALED: &str = "

class Scaled:
    \"\"\"Goes a part of the way to what the swap gives (strength below 1), or beyond (above 1).\"\"\"

    def forward(self, base, source, subspaces=None, **kwargs):
        swapped = super().forward(base.clone(), source, subspaces)
        return base + self.strength * (swapped - base)
";

const IN_ROW: &str = "

class InRow(pv.Intervention):
    \"\"\"A swap of what one token looks at: a row of attention weights, of which pyvene takes all rows of a head.\"\"\"

    def __init__(self, swap, written, read):
        super().__init__(keep_last_dim=True)
        self.swap, self.written, self.read = swap, written, read
        self.is_source_constant = read is None

    def forward(self, base, source, subspaces=None, **kwargs):
        # [prompt, head, token that looks, token that is looked at]
        source = None if source is None else source[..., self.read, :]
        base[..., self.written, :] = self.swap(base[..., self.written, :], source)
        return base
";

const MEAN: &str = "

class Mean(pv.VanillaIntervention):
    \"\"\"A swap with what the source has on average.\"\"\"

    def forward(self, base, source, subspaces=None, **kwargs):
        return super().forward(base, source.mean(-2, keepdim=True).expand_as(base), subspaces)
";

const GAUSSIAN: &str = "

def gaussian(seed, token, head, width):
    \"\"\"Noise that is a function of seed, token, head and place in the vector: SplitMix64 and Box-Muller.\"\"\"
    mask = 2**64 - 1

    def mixed(state):
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        return state ^ (state >> 31)

    state = mixed(mixed(mixed(seed) ^ token) ^ (0 if head is None else head + 1))
    values = []
    while len(values) < width:
        uniform = []
        for _ in range(2):
            state = (state + 0x9E3779B97F4A7C15) & mask
            uniform.append(((mixed(state) >> 11) + 1) / 2**53)
        radius, angle = math.sqrt(-2 * math.log(uniform[0])), math.tau * uniform[1]
        values += [radius * math.cos(angle), radius * math.sin(angle)]
    return values[:width]
";

const UNITS: &str = "

def tokens(where):
    return list(where) if isinstance(where, (list, range)) else [where]


def units(where):
    \"\"\"pyvene's unit locations in one prompt: a token, heads and a token of theirs, or heads.\"\"\"
    if isinstance(where, tuple):
        heads, token = where
        return [[heads], [tokens(token)]]
    return [tokens(where)]
";

/// An operation of a plan in pyvene.
pub struct Line {
    /// Its name in a plan.
    pub name: &'static str,
    /// Class of pyvene, or of the script; of a learned operation, one that has a `rotate_layer`.
    class: &'static str,
    /// The script's function that makes one.
    function: &'static str,
    /// What that says of it.
    about: &'static str,
}

/// The operations of a plan that pyvene can do. A new one is a line here.
static LINES: [Line; 8] = [
    Line {
        name: "interchange",
        class: "pv.VanillaIntervention",
        function: "whole",
        about: "The source's whole vector takes the place of the base's.",
    },
    Line {
        name: "zero",
        class: "pv.ZeroIntervention",
        function: "zero",
        about: "The vector becomes zero.",
    },
    Line {
        name: "mean",
        class: "Mean",
        function: "mean",
        about: "The mean of the source's vectors at all of its tokens takes the place of the base's.",
    },
    Line {
        name: "noise",
        class: "pv.AdditionIntervention",
        function: "noise",
        about: "Gaussian noise is added; pyvene's own has a fixed shape.",
    },
    Line {
        name: "scale",
        class: "pv.ZeroIntervention",
        function: "scale",
        about: "The vector is multiplied: a part of the way to zero, or away from it.",
    },
    Line {
        name: "add",
        class: "pv.AdditionIntervention",
        function: "add",
        about: "The source's vector is added.",
    },
    Line {
        name: "subtract",
        class: "pv.SubtractionIntervention",
        function: "subtract",
        about: "The source's vector is subtracted.",
    },
    Line {
        name: "low_rank",
        class: "pv.LowRankRotatedSpaceIntervention",
        function: "subspace",
        about: "The part of the vector inside the span of these rows is the source's; the rest stays the base's.",
    },
];

/// What pyvene has for an operation.
pub fn line(operation: &Operation) -> Option<&'static Line> {
    LINES.iter().find(|line| line.name == operation.name)
}

/// A card that is on, as the script has it.
pub struct Swap {
    /// What it is, for people.
    pub title: String,
    /// Layer and component.
    pub site: Site,
    /// Fields of a dict that say where.
    pub place: String,
    /// What is done.
    pub line: &'static Line,
    /// Rows of the subspace and their number, where it is in one.
    pub basis: Option<(Vec<f32>, usize)>,
    /// 1 is the full operation.
    pub strength: f32,
    /// What the vector is multiplied by, of an operation that does so.
    pub factor: Option<f32>,
    /// Seed of the noise and width of the vector, where there is noise.
    pub noise: Option<(u64, usize)>,
    /// Heads, where values are per head.
    pub heads: Option<Vec<usize>>,
    /// Token of the base that is written.
    pub written: usize,
    /// Tokens of the source that are read, where some are.
    pub read: Option<Vec<usize>>,
}

impl Swap {
    fn is_scaled(&self) -> bool {
        self.strength != 1.0 || self.factor.is_some()
    }

    /// True if it is done to one row of a head's attention weights.
    fn is_row(&self) -> bool {
        self.site.component == Component::AttentionWeight
    }

    /// What [`UNITS`] takes: where it is done, at some tokens.
    fn units(&self, tokens: Option<&[usize]>) -> String {
        let tokens = match tokens {
            None => return "None".to_owned(),
            Some([token]) => token.to_string(),
            Some(tokens) => format!("range({})", tokens.len()),
        };
        match &self.heads {
            Some(heads) if self.is_row() => format!("{heads:?}"),
            Some(heads) => format!("({heads:?}, {tokens})"),
            None => tokens,
        }
    }

    /// The expression that makes pyvene's intervention.
    fn intervention(&self, rows: Option<String>) -> String {
        let strength =
            (self.strength != 1.0).then(|| format!("strength={}", python_float(self.strength)));
        let factor = self.factor.map(python_float);
        let noise = self.noise.map(|(seed, width)| {
            let heads = match &self.heads {
                None => "None".to_owned(),
                Some(heads) => format!("{heads:?}"),
            };
            format!("{seed}, {}, {heads}, {width}", self.written)
        });
        let arguments = rows.into_iter().chain(factor).chain(noise).chain(strength);
        let arguments: Vec<String> = arguments.collect();
        let swap = format!("{}({})", self.line.function, arguments.join(", "));
        match (self.is_row(), self.read.as_deref()) {
            (false, _) => swap,
            (true, Some([read, ..])) => format!("InRow({swap}, {}, {read})", self.written),
            (true, _) => format!("InRow({swap}, {}, None)", self.written),
        }
    }
}

/// Orders swaps as the model computes them where two components are views of one tensor: pyvene goes by the list.
pub fn order(swap: &Swap) -> u8 {
    use Component::*;
    match swap.site.component {
        HeadAttentionValueOutput => 0,
        HeadQueryOutput | HeadKeyOutput | HeadValueOutput => 2,
        _ => 1,
    }
}

/// The modules that a script needs.
pub fn imports(swaps: &[Swap]) -> String {
    let without_pyvene = IMPORTS.find("import torch").unwrap_or(0);
    let imports = match swaps.is_empty() {
        true => &IMPORTS[without_pyvene..],
        false => IMPORTS,
    };
    match swaps.iter().any(|swap| swap.noise.is_some()) {
        true => format!("import math\n\n{imports}"),
        false => imports.to_owned(),
    }
}

/// Rows of the directions, the functions that are needed, and the list of swaps.
pub fn definitions(swaps: &[Swap]) -> String {
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
    if swaps.iter().any(Swap::is_scaled) {
        code.push_str(SCALED);
    }
    if swaps.iter().any(|swap| swap.line.class == "Mean") {
        code.push_str(MEAN);
    }
    if swaps.iter().any(|swap| swap.noise.is_some()) {
        code.push_str(GAUSSIAN);
    }
    for line in &LINES {
        let own = swaps.iter().filter(|swap| swap.line.name == line.name);
        let own: Vec<&Swap> = own.collect();
        if !own.is_empty() {
            code.push_str(&definition(line, &own));
        }
    }
    if swaps.iter().any(Swap::is_row) {
        code.push_str(IN_ROW);
    }
    let has_heads = swaps.iter().any(|swap| swap.heads.is_some());
    if takes_units(swaps) {
        code.push_str(UNITS);
    }
    code.push_str(
        "

# Place in the model, token of the base that is written, token of the source that is read (from 0), and what is done.
# Swaps at one place are done one after the other in this order; all of them read the plain source run.
",
    );
    if has_heads {
        code.push_str(
            "# Heads (from 0) stand before their token; those of attention weights stand alone.\n",
        );
    }
    if swaps.iter().any(|swap| swap.read.is_none()) {
        code.push_str("# None where nothing is read.\n");
    }
    code.push_str("SWAPS = [\n");
    for swap in swaps {
        let rows = swap.basis.as_ref().and_then(|basis| {
            let idx = bases.iter().position(|own| *own == basis)?;
            Some(format!("ROWS_{}", idx + 1))
        });
        let written = swap.units(Some(&[swap.written]));
        let read = swap.units(swap.read.as_deref());
        let fields = [swap.place.clone(), written, read, swap.intervention(rows)];
        let line = format!("    ({}),", fields.join(", "));
        let line = match line.len() <= N_COLUMNS {
            true => line,
            false => format!("    (\n        {},\n    ),", fields.join(",\n        ")),
        };
        code.push_str(&format!("    # {}\n{line}\n", swap.title));
    }
    code.push_str("]\n");
    code
}

/// True if places are not single tokens alone.
fn takes_units(swaps: &[Swap]) -> bool {
    let is_list = |read: &Vec<usize>| read.len() > 1;
    let mut all = swaps.iter();
    all.any(|swap| swap.heads.is_some() || swap.read.as_ref().is_some_and(is_list))
}

/// A function that makes pyvene's intervention of an operation, for these swaps.
fn definition(line: &Line, swaps: &[&Swap]) -> String {
    let Line {
        class,
        function,
        about,
        ..
    } = line;
    let is_scaled = swaps.iter().any(|swap| swap.is_scaled());
    let is_learned = swaps.iter().any(|swap| swap.basis.is_some());
    let in_several_heads = |swap: &&Swap| swap.heads.as_ref().is_some_and(|heads| heads.len() > 1);

    let mut code = String::new();
    let mut made = (*class).to_owned();
    if is_scaled {
        let (first, rest) = function.split_at(1);
        let scaled = format!("Scaled{}{rest}", first.to_uppercase());
        code.push_str(&format!("\n\nclass {scaled}(Scaled, {class}):\n    pass\n"));
        made = scaled;
    }
    let has_factor = swaps.iter().any(|swap| swap.factor.is_some());
    let is_noise = swaps.iter().any(|swap| swap.noise.is_some());
    let parameters = [
        (is_learned, "rows"),
        (has_factor, "factor"),
        (is_noise, "seed, token, heads, width"),
        (is_scaled, "strength=1.0"),
    ];
    let parameters = parameters.iter().filter(|(is_there, _)| *is_there);
    let parameters: Vec<&str> = parameters.map(|(_, name)| *name).collect();
    let parameters = parameters.join(", ");
    code.push_str(&format!(
        "\n\ndef {function}({parameters}):\n    \"\"\"{about}\"\"\"\n"
    ));
    let mut sizes = "";
    if is_learned {
        code.push_str(
            "    rows = torch.tensor(rows, dtype=torch.float32)  # [rank, width], orthonormal
    rank, width = rows.shape
",
        );
        // Without `keep_last_dim` pyvene puts the heads' vectors together to one.
        sizes = match swaps.iter().any(in_several_heads) {
            true => "embed_dim=width, low_rank_dimension=rank, keep_last_dim=True",
            false => "embed_dim=width, low_rank_dimension=rank",
        };
    }
    if is_noise {
        code.push_str(
            "    values = torch.tensor([[gaussian(seed, token, head, width)] for head in heads or [None]])
    values = values[None] if heads else values  # [1, head, 1, width] or [1, 1, width]
",
        );
        sizes = "source_representation=values";
    }
    if !is_learned && !is_scaled && !is_noise {
        code.push_str(&format!("    return {made}()\n"));
        return code;
    }
    code.push_str(&format!("    swap = {made}({sizes})\n"));
    if is_learned {
        code.push_str("    swap.rotate_layer.weight = rows.T\n");
    }
    if is_scaled {
        code.push_str(match has_factor {
            true => "    swap.strength = strength * (1.0 - factor)\n",
            false => "    swap.strength = strength\n",
        });
    }
    code.push_str("    return swap\n");
    code
}

/// The runs of base and source and, with swaps, of the base with them.
pub fn runs(swaps: &[Swap]) -> String {
    if swaps.is_empty() {
        return "
model = AutoModelForCausalLM.from_pretrained(MODEL).float().eval()
base, source = torch.tensor([BASE]), torch.tensor([SOURCE])
with torch.no_grad():
    runs = {\"base\": model(base).logits[0, -1], \"source\": model(source).logits[0, -1]}
"
        .to_owned();
    }
    let is_any = |has: fn(&Swap) -> bool| swaps.iter().any(has);
    let (eager, attention) = match is_any(Swap::is_row) {
        true => (
            "# Eager, since otherwise there are no attention weights and pyvene changes nothing.\n",
            ", attn_implementation=\"eager\"",
        ),
        false => ("", ""),
    };
    let [about, units, name] = match takes_units(swaps) {
        true => ["One item a swap.", "units(where)", "where"],
        false => [
            "One list a swap, in it one a prompt, in it the tokens.",
            "[[token]]",
            "token",
        ],
    };
    let sources = match is_any(|swap| swap.read.is_none()) {
        true => {
            let item = "{\"input_ids\": source}";
            format!("[{item} if read is not None else None for _, _, read, _ in SWAPS]")
        }
        false => "[{\"input_ids\": source}]".to_owned(),
    };
    format!(
        "
{eager}model = AutoModelForCausalLM.from_pretrained(MODEL{attention}).float().eval()
base, source = torch.tensor([BASE]), torch.tensor([SOURCE])
intervenable = pv.IntervenableModel(
    [{{**place, \"intervention\": swap}} for place, _, _, swap in SWAPS], model=model
)
# {about}
read = [{units} for _, _, {name}, _ in SWAPS]
written = [{units} for _, {name}, _, _ in SWAPS]
with torch.no_grad():
    _, intervened = intervenable(
        base={{\"input_ids\": base}},
        sources={sources},
        unit_locations={{\"sources->base\": (read, written)}},
    )
    runs = {{
        \"base\": model(base).logits[0, -1],
        \"intervened\": intervened.logits[0, -1],
        \"source\": model(source).logits[0, -1],
    }}
"
    )
}

/// Fields of pyvene's dict for a site: its own name of the component, or the path of a module and which side of it.
///
/// # Errors
/// If pyvene has no such place: why.
pub fn place(site: Site) -> Result<String, &'static str> {
    use Component::*;
    let layer = site.layer;
    let name = site.component.name();
    let path = match site.component {
        BlockInput | AttentionInput | QueryOutput | KeyOutput | ValueOutput | AttentionWeight
        | AttentionValueOutput | AttentionOutput | MlpInput | MlpActivation | MlpOutput
        | BlockOutput => {
            return Ok(format!("{{\"layer\": {layer}, \"component\": \"{name}\"}}"));
        }
        HeadQueryOutput | HeadKeyOutput | HeadValueOutput | HeadAttentionValueOutput => {
            return Ok(format!(
                "{{\"layer\": {layer}, \"component\": \"{name}\", \"unit\": \"h.pos\"}}"
            ));
        }
        AttentionScore => {
            return Err("pyvene changes what modules take or give, which scores are not");
        }
        AttentionUpdate | MlpGated | MlpUpdate => return Err("GPT-2 has no such module"),
        Embedding => "drop.output".to_owned(),
        BlockMiddle => format!("h[{layer}].ln_2.input"),
        MlpPreActivation => format!("h[{layer}].mlp.c_fc.output"),
        FinalNorm => "ln_f.output".to_owned(),
    };
    Ok(format!("{{\"component\": \"transformer.{path}\"}}"))
}
