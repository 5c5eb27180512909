//! The parts of a decoder that have weights, and how files store them.

/// A part of the decoder that has weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Token embedding.
    TokenEmbedding,
    /// Position embedding.
    PositionEmbedding,
    /// Norm before the attention.
    InputNorm,
    /// Projection to queries.
    Query,
    /// Projection to keys.
    Key,
    /// Projection to values.
    Value,
    /// Projection to queries, keys and values.
    QueryKeyValue,
    /// Norm of each query.
    QueryNorm,
    /// Norm of each key.
    KeyNorm,
    /// Projection behind the heads.
    AttentionOutput,
    /// Norm behind the attention.
    AttentionUpdateNorm,
    /// Norm before the MLP.
    MlpNorm,
    /// Projection whose values pass the activation function, in a gated MLP.
    Gate,
    /// Projection to the MLP's width.
    Up,
    /// Projection from the MLP's width.
    Down,
    /// Norm behind the MLP.
    MlpUpdateNorm,
    /// Norm before the head.
    FinalNorm,
    /// The head, where it is not tied.
    Head,
    /// What the angles of the rotation are divided by, pair by pair, where a file says so (GGUF files of Llama 3.1).
    RotationFactors,
}

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A row an output, as torch's linear layers; vectors as they are.
    Rows,
    /// A row an input, as GPT-2's `Conv1D`.
    Columns,
    /// A row an output; query, key and value of a head one after the other.
    PerHead,
    /// A row an output; the two values of a head that are rotated together are neighbours (GGUF files of Llama).
    Pairs,
    /// A norm's weight less 1.
    LessOne,
}
