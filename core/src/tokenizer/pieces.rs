//! SentencePiece's pieces as a BPE: which two pieces make a third, the best first.
//!
//! SentencePiece joins the two neighbors whose joint piece has the best score (Kudo and Richardson 2018,
//! <https://arxiv.org/abs/1808.06226>). Every split of a piece into two others is a merge, in the order of the score of the piece,
//! as `generate_merges` of transformers' `convert_slow_tokenizer.py` has it. Only normal pieces are joined: what the user of
//! SentencePiece defined stands in text as it is, and bytes stand for what has no piece.

use std::{cmp::Reverse, collections::HashMap};

/// A piece that may be joined from others.
pub(super) struct Piece<'a> {
    /// Its text, `▁` for a space.
    pub text: &'a str,
    /// The higher, the earlier it is joined.
    pub score: f64,
    /// Its token.
    pub id: u32,
}

/// A merge, without its texts.
struct Merge {
    score: f64,
    /// Characters of the two sides.
    n_chars: [usize; 2],
    /// Tokens of the whole and of its sides.
    ids: [u32; 3],
    /// The whole's place among the pieces, and where it is cut.
    at: (usize, usize),
}

/// All merges of these pieces, best first.
pub(super) fn merges(pieces: &[Piece<'_>]) -> Vec<(String, String)> {
    let ids: HashMap<&str, u32> = pieces.iter().map(|piece| (piece.text, piece.id)).collect();
    let mut merges = Vec::new();
    for (idx, Piece { text, score, id }) in pieces.iter().enumerate() {
        let n_chars = text.chars().count();
        for (n_left, (cut, _)) in text.char_indices().enumerate().skip(1) {
            let (left, right) = text.split_at(cut);
            if let (Some(left), Some(right)) = (ids.get(left), ids.get(right)) {
                merges.push(Merge {
                    score: *score,
                    n_chars: [n_left, n_chars - n_left],
                    ids: [*id, *left, *right],
                    at: (idx, cut),
                });
            }
        }
    }
    merges.sort_unstable_by(|a, b| {
        let order = b.score.total_cmp(&a.score);
        order.then_with(|| (Reverse(a.n_chars), a.ids).cmp(&(Reverse(b.n_chars), b.ids)))
    });
    let texts = merges.iter().map(|Merge { at: (idx, cut), .. }| {
        let (left, right) = pieces[*idx].text.split_at(*cut);
        (left.to_owned(), right.to_owned())
    });
    texts.collect()
}
