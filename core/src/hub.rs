//! Names of models of the Hugging Face Hub, the addresses that they mean, and which file of a repository is taken.

use std::fmt;

/// The Hub's own address.
pub const ENDPOINT: &str = "https://huggingface.co";
/// The revision that is meant where none is named.
const MAIN: &str = "main";

/// A model of the Hub: `owner/name`, with `@revision` behind it, and `:file.gguf` where one file of the repository is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
    /// One file of the repository, by its path there.
    pub file: Option<String>,
}

impl HubId {
    /// Reads a name; `None` if it can be none of the Hub.
    pub fn parse(text: &str) -> Option<Self> {
        let (model, file) = match text.split_once(':') {
            None => (text, None),
            Some((model, file)) => (model, Some(file)),
        };
        let (repository, revision) = model.split_once('@').unwrap_or((model, MAIN));
        let (owner, name) = repository.split_once('/')?;
        let is_path = |path: &str| path.split('/').all(is_name);
        let is_known = is_name(owner) && is_name(name) && is_path(revision);
        (is_known && file.is_none_or(is_path)).then(|| Self {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
            file: file.map(str::to_owned),
        })
    }

    /// Reads an address of the Hub, as people copy it from there: of a model's page, of one of its revisions or files.
    /// `None` if it is another one.
    pub fn of_address(address: &str) -> Option<Self> {
        let path = ["https://huggingface.co/", "https://hf.co/"]
            .iter()
            .find_map(|hub| address.strip_prefix(hub))?;
        let path = path.split(['?', '#']).next()?.trim_end_matches('/');
        let mut parts = path.splitn(3, '/');
        let repository = format!("{}/{}", parts.next()?, parts.next()?);
        let text = match parts.next() {
            None => repository,
            Some(rest) => {
                let (kind, rest) = rest.split_once('/')?;
                match (kind, rest.split_once('/')) {
                    ("tree", _) => format!("{repository}@{rest}"),
                    ("blob" | "resolve", Some((revision, file))) => {
                        format!("{repository}@{revision}:{file}")
                    }
                    _ => return None,
                }
            }
        };
        Self::parse(&text)
    }

    /// The address of its files' folder on a Hub.
    pub fn folder(&self, endpoint: &str) -> String {
        let endpoint = endpoint.trim_end_matches('/');
        let revision = self.revision.replace('/', "%2F");
        format!("{endpoint}/{}/resolve/{revision}", self.repository)
    }

    /// The address at which a Hub says, as JSON, which files it has: `siblings`, each with its `rfilename`.
    pub fn listing(&self, endpoint: &str) -> String {
        let endpoint = endpoint.trim_end_matches('/');
        let revision = self.revision.replace('/', "%2F");
        format!(
            "{endpoint}/api/models/{}/revision/{revision}",
            self.repository
        )
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if self.revision != MAIN {
            write!(f, "@{}", self.revision)?;
        }
        match &self.file {
            Some(file) => write!(f, ":{file}"),
            None => Ok(()),
        }
    }
}

fn is_name(part: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(is_known)
}

/// The GGUF file that is taken where a repository has several and none is named: the one whose numbers are closest to the
/// model's own in no more than a byte each, else the smaller formats from the largest on, else one with two bytes and more.
/// Files in several parts, and those of another modality, are left out.
pub fn best_gguf<'a>(files: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const BEST_FIRST: [&str; 14] = [
        "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_1", "q4_0",
        "q3_k_m", "f16", "bf16", "f32",
    ];
    let rank = |file: &str| {
        let name = file.to_ascii_lowercase();
        let parts: Vec<&str> = name.split(['.', '-']).collect();
        let found = BEST_FIRST.iter().position(|own| parts.contains(own));
        found.unwrap_or(BEST_FIRST.len())
    };
    let is_one = |file: &&str| {
        let name = file.to_ascii_lowercase();
        name.ends_with(".gguf") && !name.contains("-of-") && !name.contains("mmproj")
    };
    let files = files.into_iter().filter(is_one);
    files.min_by_key(|file| (rank(file), file.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a name means, part by part.
    #[test]
    fn names_are_read_and_written() {
        let read = |text: &str| {
            let id = HubId::parse(text)?;
            assert_eq!(HubId::parse(&id.to_string()), Some(id.clone()));
            let HubId {
                repository,
                revision,
                file,
            } = id;
            Some([repository, revision, file.unwrap_or_default()].join(" "))
        };
        for (text, expected) in [
            ("openai-community/gpt2", Some("openai-community/gpt2 main ")),
            ("a/b@v1.0", Some("a/b v1.0 ")),
            ("a/b@refs/pr/3", Some("a/b refs/pr/3 ")),
            ("a/b:c.gguf", Some("a/b main c.gguf")),
            ("a/b@7a1f:q/c.gguf", Some("a/b 7a1f q/c.gguf")),
            ("gpt2", None),
            ("a/b/c", None),
            ("../b", None),
            ("a/.b", None),
            ("a/b@", None),
            ("a/b:", None),
            ("a/b:../c", None),
            ("a/b@../c", None),
            ("a/b c", None),
            ("https://host/a/b", None),
        ] {
            assert_eq!(read(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn addresses_of_the_hub_are_names() {
        let read = |address: &str| HubId::of_address(address).map(|id| id.to_string());
        for (address, expected) in [
            ("https://huggingface.co/a/b", Some("a/b")),
            ("https://hf.co/a/b/", Some("a/b")),
            ("https://huggingface.co/a/b?not=this", Some("a/b")),
            ("https://huggingface.co/a/b/tree/main", Some("a/b")),
            ("https://huggingface.co/a/b/tree/v2", Some("a/b@v2")),
            (
                "https://huggingface.co/a/b/blob/main/c.gguf",
                Some("a/b:c.gguf"),
            ),
            (
                "https://huggingface.co/a/b/resolve/v2/q/c.gguf?download=true",
                Some("a/b@v2:q/c.gguf"),
            ),
            ("https://huggingface.co/a", None),
            ("https://huggingface.co/datasets/a/b", None),
            ("https://example.org/a/b", None),
            ("a/b", None),
        ] {
            assert_eq!(read(address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn addresses_are_the_hubs() {
        let id = HubId::parse("a/b@refs/pr/3").unwrap();
        assert_eq!(
            id.folder("https://hub.test/"),
            "https://hub.test/a/b/resolve/refs%2Fpr%2F3"
        );
        assert_eq!(
            id.listing(ENDPOINT),
            "https://huggingface.co/api/models/a/b/revision/refs%2Fpr%2F3"
        );
    }

    #[test]
    fn the_closest_small_file_is_taken() {
        let best = |files: &[&'static str]| best_gguf(files.iter().copied());
        assert_eq!(
            best(&["README.md", "m-Q2_K.gguf", "m-Q4_K_M.gguf", "m-Q8_0.gguf"]),
            Some("m-Q8_0.gguf")
        );
        assert_eq!(
            best(&["m.f16.gguf", "m.Q4_1.gguf", "m.Q5_K_M.gguf"]),
            Some("m.Q5_K_M.gguf")
        );
        assert_eq!(best(&["m-f32.gguf", "m-F16.gguf"]), Some("m-F16.gguf"));
        assert_eq!(best(&["mmproj-f16.gguf", "m.gguf"]), Some("m.gguf"));
        assert_eq!(best(&["m-00001-of-00002.gguf", "model.safetensors"]), None);
    }
}
