//! What is said of a text that is no prompt of a question.

/// What of a text is not as the question's prompts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What, as it goes on behind the prompt's name.
    pub text: String,
    /// What mends it, and the whole new text.
    pub mended: Option<(String, String)>,
}
