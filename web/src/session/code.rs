//! "Copy as code": a Python script that does with pyvene what is on the page.
//!
//! The script needs nothing but the model: token ids, positions and the rows of directions stand in it as numbers. It
//! is made for pyvene 0.1.8 (<https://github.com/stanfordnlp/pyvene>), whose words it uses:
//!
//! | on the page | in the script |
//! |---|---|
//! | whole vector | `VanillaIntervention` |
//! | direction | `LowRankRotatedSpaceIntervention`, its rotation set to the direction's rows |
//! | zero, add, subtract | `ZeroIntervention`, `AdditionIntervention`, `SubtractionIntervention` |
//! | strength other than 1 | a subclass of these that scales the displacement |
//! | component | pyvene's name, or the path of a module where it has no name for it (`place`) |
//! | one head or all of them | unit `h.pos`: heads and a token |
//! | attention weights | heads as units, which are whole patterns, and a class that changes one token's row |
//! | attention scores | nothing; the script says so |
//! | several cards | one intervention each, all applied in one base run |
//!
//! pyvene applies interventions at one place in the order in which they are listed, each to what the one before has
//! left, and all of them read the plain source run: the page's meaning. Where two of its components are views of one
//! tensor, as the queries of all heads and of one, the list is put into the model's order.
//!
//! Verified by running the scripts in `tests/fixtures/code/`, see `README.md` there; a test keeps them equal to what is
//! written here.

pub(super) mod python;
pub(super) mod pyvene;

use swivel_core::{Position, plan::Reads};
use swivel_engine::protocol::Answer;

use self::{
    python::{end_of, python_string, wrapped},
    pyvene::{Swap, definitions, imports, line, order, place, runs},
};
use super::{Card, Session, Side, recorded};

const PRINT: &str = "
tokenizer = AutoTokenizer.from_pretrained(MODEL)
for name, logits in runs.items():
    print(f\"{name}: probability, token id, token\")
    for probability, token in zip(*logits.softmax(-1).topk(5)):
        text = tokenizer.decode([token.item()], clean_up_tokenization_spaces=False)
        print(f\"  {probability:.4f} {token:6d}  {text!r}\")
";

impl Session {
    /// A Python script that does the same with pyvene and prints the answers; the page's own stand in its first lines.
    pub fn as_code(&self) -> String {
        let (mut swaps, mut left_out) = (Vec::new(), Vec::new());
        for card in self.active() {
            match self.swap(card) {
                Ok(swap) => swaps.push(swap),
                Err(why) => left_out.push((card, why)),
            }
        }
        swaps.sort_by_key(order);
        let mut code = self.head();
        for (card, why) in left_out {
            let (title, place) = (python_string(&self.card_title(card)), card.place);
            code.push_str(&format!(
                "# NOT in this script: {title}, {place}:\n# {why}.\n"
            ));
        }
        code.push_str(&imports(&swaps));
        code.push_str(&self.inputs());
        if !swaps.is_empty() {
            code.push_str(&definitions(&swaps));
        }
        code.push_str(&runs(&swaps));
        code.push_str(PRINT);
        code
    }

    /// The card as a swap, or why pyvene cannot do it.
    fn swap(&self, card: &Card) -> Result<Swap, &'static str> {
        let is_gpt2 = match &self.model {
            Some(model) => model.family == "gpt2",
            None => self.has_program(),
        };
        if !is_gpt2 {
            return Err("pyvene's places are written for GPT-2 only");
        }
        let mut title = python_string(&self.card_title(card));
        let opened = card.direction.map(|idx| &self.directions[idx]);
        if let Some(opened) = opened {
            title = format!("{title}, from {}", python_string(&opened.name));
        }
        let token = |position: Position, side: Side| {
            let n_tokens = self.choices.prompt(side).ids.len();
            let token = position.resolve(n_tokens);
            token.map_err(|_| "the prompt has no such token")
        };
        let site = card.place.site;
        let heads = match (card.place.head, &self.model) {
            _ if !site.component.is_per_head() => None,
            (Some(head), _) => Some(vec![head]),
            (None, Some(model)) => {
                let n_heads = site.component.n_heads(&model.sizes);
                n_heads.map(|n_heads| (0..n_heads).collect())
            }
            (None, None) => {
                return Err("how many heads there are is known when the model is there");
            }
        };
        let read = match card.operation.reads {
            Reads::Source => Some(vec![token(card.source_position, Side::Source)?]),
            Reads::Mean => Some((0..self.choices.source.ids.len()).collect()),
            Reads::Nothing | Reads::Noise | Reads::Input => None,
        };
        let noise = match (card.operation.reads, &self.model) {
            (Reads::Noise, _) if site.component.is_over_tokens() => {
                return Err("noise on what one token looks at is not written for pyvene");
            }
            (Reads::Noise, Some(model)) => {
                let width = site.component.width(&model.sizes).unwrap_or(0);
                Some((card.seed, width))
            }
            _ => None,
        };
        Ok(Swap {
            title,
            site,
            place: place(site)?,
            line: match (line(card.operation), card.operation.reads) {
                (Some(line), _) if opened.is_some() == card.operation.is_learned() => line,
                (Some(_), _) => return Err("pyvene does this to whole values only"),
                (None, Reads::Input) => {
                    return Err(
                        "pyvene takes what a module reads from a plain run, not from the one that is changed",
                    );
                }
                (None, _) => return Err("it is not written for pyvene yet"),
            },
            basis: opened.map(|opened| (opened.direction.rows().to_vec(), opened.direction.rank())),
            strength: card.strength,
            factor: card.factor,
            noise,
            heads,
            written: token(card.place.position, Side::Base)?,
            read,
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
        let recorded = recorded::example(self.question);
        let recorded = recorded.map_or(String::new(), |example| example.model_sha256);
        let asked = recorded::QUESTIONS[self.question].model;
        let (name, sha256) = match &self.model {
            Some(model) if model.sha256 != recorded => (model.name.as_str(), &model.sha256),
            _ => (asked, &recorded),
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
